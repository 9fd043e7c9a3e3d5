"""Access to the files of one session through a descriptor of its `/mnt/data`.

Untrusted code controls the contents of that folder. Therefore this module uses no path of the host, follows no symbolic
link and opens regular files only.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

_PARTIAL_PREFIX = ".upload-in-progress-"
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a named pipe would block
_OPEN_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_ENTRIES, _MAX_DEPTH = 10_000, 32
_NOT_FOUND = (
    errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EACCES, errno.ENAMETOOLONG
)  # fmt: skip


class SessionFileNotFoundError(Exception):
    """Raised if no regular file, or no folder, has the given name."""


class StorageFullError(Exception):
    """Raised if a write exceeds the quota of the session."""


@dataclass(frozen=True)
class FileEntry:
    """File or folder. `size` is in bytes. `folder` is the parent, relative to the listed folder, or empty."""

    name: str
    folder: str
    is_directory: bool
    size: int
    modified_at: datetime


class SessionFiles:
    """Files below an open directory. Folder arguments are lists of the names that lead to the folder."""

    def __init__(self, fd: int, uid: int | None) -> None:
        """Take ownership of the directory descriptor `fd`. New files belong to the user `uid`, if it is not None."""
        self._fd = fd
        self._uid = uid

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

    def list_folder(self, folder: list[str], *, recursive: bool) -> list[FileEntry]:
        """List regular files and folders, sorted by folder and name; at most 10,000 entries, 32 levels deep.

        Raises:
            SessionFileNotFoundError: The folder does not exist.
        """
        with self._open_folder(folder) as fd:
            entries = list(_scan(fd, "", recursive=recursive, depth=0))
        return sorted(entries[:_MAX_ENTRIES], key=lambda entry: (entry.folder, entry.name))

    def stat(self, folder: list[str], name: str) -> FileEntry:
        """Describe one file or folder.

        Raises:
            SessionFileNotFoundError: It does not exist.
        """
        with self._open_folder(folder) as fd, _map_os_errors():
            entry = _to_entry(name, "", os.stat(name, dir_fd=fd, follow_symlinks=False))
        if entry is None:
            raise SessionFileNotFoundError(name)
        return entry

    def open(self, folder: list[str], name: str) -> tuple[int, FileEntry]:
        """Open a file for reading; return its descriptor and its description. The caller closes the descriptor.

        Raises:
            SessionFileNotFoundError: The file does not exist.
        """
        with self._open_folder(folder) as directory, _map_os_errors():
            fd = os.open(name, _OPEN_READ, dir_fd=directory)
        entry = _to_entry(name, "", os.fstat(fd))
        if entry is None or entry.is_directory:
            os.close(fd)
            raise SessionFileNotFoundError(name)
        return fd, entry

    def delete(self, folder: list[str], name: str) -> None:
        """Delete a file.

        Raises:
            SessionFileNotFoundError: The file does not exist.
        """
        with self._open_folder(folder) as fd, _map_os_errors():
            os.unlink(name, dir_fd=fd)

    @contextmanager
    def create(self, folder: list[str], name: str) -> Iterator[int]:
        """Yield a descriptor to write a file to. The complete file appears under `name` at the end of the block.

        If the block raises, no file appears. Missing folders are created.

        Raises:
            StorageFullError: The quota of the session is used up.
        """
        partial = _PARTIAL_PREFIX + secrets.token_hex(8)
        with self._open_folder(folder, create=True) as directory, _map_os_errors():
            fd = os.open(partial, _OPEN_WRITE, 0o644, dir_fd=directory)
            try:
                yield fd
                if self._uid is not None:
                    os.fchown(fd, self._uid, self._uid)
                os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(partial, dir_fd=directory)
                raise
            finally:
                os.close(fd)

    @contextmanager
    def _open_folder(self, names: list[str], *, create: bool = False) -> Iterator[int]:
        """Yield a descriptor of a folder; open one level at a time so that no symbolic link is followed."""
        fd = os.open(".", _OPEN_FOLDER, dir_fd=self._fd)  # os.dup would share the read position of the directory
        try:
            for name in names:
                fd, parent = self._open_subfolder(fd, name, create=create), fd
                os.close(parent)
            yield fd
        finally:
            os.close(fd)

    def _open_subfolder(self, fd: int, name: str, *, create: bool) -> int:
        """Open the folder `name` in the folder `fd`, after creating it if necessary."""
        with _map_os_errors():
            if create:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=fd)
                    if self._uid is not None:
                        os.chown(name, self._uid, self._uid, dir_fd=fd, follow_symlinks=False)
            return os.open(name, _OPEN_FOLDER, dir_fd=fd)


@contextmanager
def _map_os_errors() -> Iterator[None]:
    """Convert errors of the operating system to the errors of this module."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFullError("the quota of the session is used up") from error
        if error.errno in _NOT_FOUND:
            raise SessionFileNotFoundError(str(error.filename)) from error
        raise


def _scan(fd: int, folder: str, *, recursive: bool, depth: int) -> Iterator[FileEntry]:
    """Yield the entries of the folder `fd`, without incomplete uploads."""
    with os.scandir(fd) as scanned:
        items = [item for item, _ in zip(scanned, range(_MAX_ENTRIES), strict=False)]
    for item in items:
        with suppress(OSError):
            entry = _to_entry(item.name, folder, item.stat(follow_symlinks=False))
            if entry is None or item.name.startswith(_PARTIAL_PREFIX):
                continue
            yield entry
            if recursive and entry.is_directory and depth < _MAX_DEPTH:
                yield from _scan_subfolder(fd, item.name, folder, depth)


def _scan_subfolder(fd: int, name: str, folder: str, depth: int) -> Iterator[FileEntry]:
    """Yield the entries of the folder `name` in the folder `fd`."""
    subfolder = os.open(name, _OPEN_FOLDER, dir_fd=fd)
    try:
        yield from _scan(subfolder, f"{folder}/{name}".lstrip("/"), recursive=True, depth=depth + 1)
    finally:
        os.close(subfolder)


def _to_entry(name: str, folder: str, status: os.stat_result) -> FileEntry | None:
    """Describe a regular file or a folder; return None for everything else."""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return None
    modified_at = datetime.fromtimestamp(max(0, min(status.st_mtime, 2**33)), UTC)
    name, folder = (os.fsencode(text).decode("utf-8", "replace") for text in (name, folder))
    return FileEntry(name, folder, stat.S_ISDIR(status.st_mode), status.st_size, modified_at)
