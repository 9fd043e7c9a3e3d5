"""The engine: the code that decodes, transforms and encodes images inside a session.

It needs the standard library and Pillow; pillow_heif is optional. All its imports are relative. The host uploads the
package to a session as an archive named by its content (`pipeline.pool.engine_bundle`), under the package name
`engine_<hash>`, so two versions can live in one session.

The host imports the parameter classes and `protocol` from here as well, without Pillow. The modules of
Pillow are therefore attributes of `pil`, which imports each one at its first use.

Modules at the root import none of the folders. `decode` and `encode` build on `transforms`, and `execution` on all.
"""
