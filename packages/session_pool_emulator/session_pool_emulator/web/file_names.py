"""Validation of file names and folder paths below `/mnt/data`."""

from __future__ import annotations

from session_pool_emulator.web.responses import ApiError, bad_request

ROOT = "/mnt/data"
_ALLOWED_PUNCTUATION = set("-_ .@$&=;,#%^()")
_MAX_NAME_BYTES = 255


def parse_file_name(name: str) -> str:
    """Validate a file name and remove a leading `/mnt/data/`.

    Raises:
        ApiError: 400 if the name is empty, too long, or contains a character that the service does not allow.
    """
    name = name.removeprefix(f"{ROOT}/")
    if name in ("", ".", "..") or not _is_valid(name):
        raise _invalid_path(name, "file name contains characters that are not allowed")
    return name


def parse_folder(path: str | None) -> list[str]:
    """Split a folder path, absolute or relative to `/mnt/data`, into the names below `/mnt/data`.

    Raises:
        ApiError: 400 if a name is invalid. Folder names must not contain a dot.
    """
    path = path or ""
    relative = path.removeprefix(ROOT) if path == ROOT or path.startswith(f"{ROOT}/") else path
    names = [name for name in relative.split("/") if name]
    if "." in path.replace("%2E", ".") or not all(map(_is_valid, names)):
        raise _invalid_path(path, "path cannot contain any reserved file path characters")
    return names


def _is_valid(name: str) -> bool:
    """Return whether all characters are allowed and the name has at most 255 bytes in UTF-8."""
    return len(name.encode("utf-8", "surrogatepass")) <= _MAX_NAME_BYTES and all(map(_is_allowed, name))


def _is_allowed(character: str) -> bool:
    return character.isalnum() or character in _ALLOWED_PUNCTUATION or (character > "\x7f" and character.isprintable())


def _invalid_path(path: str, reason: str) -> ApiError:
    return bad_request(f"File Path '{path}' is invalid because '{reason}'.", code="FilePathInvalid", target="path")
