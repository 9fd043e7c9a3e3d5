"""The code that runs inside a session. Standard library and Pillow alone; every import in here is relative.

The package is shipped to a session as an archive named by its content hash (`pipeline.pool.engine_bundle`), under the
package name `transforms_<hash>`, so that two versions can live in one session. The host imports the parameter classes
and `protocol` from here too, without Pillow: a module of this package imports `PIL` inside functions only.
"""
