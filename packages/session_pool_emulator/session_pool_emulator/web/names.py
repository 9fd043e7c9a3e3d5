"""Which names files and folders may have, and where they lie below `/mnt/data`."""

from __future__ import annotations

from session_pool_emulator.web.errors import ApiError, bad_request

ROOT = "/mnt/data"
_MARKS = set("-_ .@$&=;,#%^()")
_NAME_BYTES = 255


def file_name(name: str) -> str:
    """`name` again, if a file may be called that; a leading `/mnt/data/` goes away first. Raises ApiError."""
    name = name.removeprefix(f"{ROOT}/")
    if name in ("", ".", "..") or not _fits(name) or not all(map(_allowed, name)):
        raise _invalid(name, "file name contains characters that are not allowed")
    return name


def folder(path: str | None) -> list[str]:
    """The names that lead from `/mnt/data` to the folder `path`, which may be given from there or in full."""
    path = path or ""
    if "." in path.replace("%2E", "."):
        raise _invalid(path, "path cannot contain any reserved file path characters")
    inner = path.removeprefix(ROOT) if path == ROOT or path.startswith(f"{ROOT}/") else path
    parts = [part for part in inner.split("/") if part]
    if not all(_fits(part) and all(map(_allowed, part)) for part in parts):
        raise _invalid(path, "path cannot contain any reserved file path characters")
    return parts


def _allowed(character: str) -> bool:
    return character.isalnum() or character in _MARKS or (character > "\x7f" and character.isprintable())


def _fits(name: str) -> bool:
    return len(name.encode("utf-8", "surrogatepass")) <= _NAME_BYTES


def _invalid(path: str, why: str) -> ApiError:
    return bad_request(f"File Path '{path}' is invalid because '{why}'.", code="FilePathInvalid", target="path")
