"""The engine: the code that decodes, transforms and encodes images inside a session.

It needs the standard library and Pillow; pillow_heif and cv2 are optional. All its imports are relative. The host
uploads the package to a session as an archive named by its content (`pipeline.pool.engine_bundle`), under the package
name `engine_<hash>`, so two versions can live in one session.

The host imports the parameter classes and `protocol` from here as well, without Pillow. The modules of
Pillow are therefore attributes of `pil`, which imports each one at its first use.

Folders, from the lowest to the highest:

- `containers` walks the parts of a file: chunks, segments, boxes and directories.
- `color` has color spaces by numbers, profiles built from them, and tone mapping.
- `carried` finds the information that a source carries besides its pixels.
- `transforms` has the transforms of recipes.
- `decode` checks and decodes the source.
- `encode` writes renditions and lists what they do not carry over.
- `execution` runs jobs.
"""
