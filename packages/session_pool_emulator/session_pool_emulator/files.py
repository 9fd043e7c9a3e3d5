"""The files of one session, reached from outside through a descriptor of its `/mnt/data`.

What lies there was put there by code that is not trusted. So nothing is ever reached by a path of this machine, no
symbolic link is followed, and nothing but regular files is opened.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

_PARTIAL = ".upload-in-progress-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: it could be a pipe
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRIES, _DEPTH = 10_000, 32
_NO_SUCH = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EACCES)


class NoSuchFile(Exception):  # noqa: N818 - says what is, as FileNotFoundError does
    """There is no regular file, or no directory, of that name."""


class NoRoom(Exception):  # noqa: N818
    """The session's quota is used up."""


@dataclass(frozen=True)
class Entry:
    """A file or a directory; `folder` is relative to the root of the session's files, "" for the root itself."""

    name: str
    folder: str
    is_directory: bool
    size: int
    modified_at: datetime


class Files:
    """Owns `fd`. Paths are lists of names below it."""

    def __init__(self, fd: int, uid: int | None) -> None:
        self._fd = fd
        self._uid = uid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)

    def entries(self, folder: list[str], *, recursive: bool) -> list[Entry]:
        """What `folder` holds, by name; symbolic links and devices are left out. Raises NoSuchFile."""
        with self._folder(folder) as fd:
            entries = list(_scan(fd, "", recursive=recursive, depth=0))
        return sorted(entries[:_ENTRIES], key=lambda entry: (entry.folder, entry.name))

    def stat(self, folder: list[str], name: str) -> Entry:
        """One file or directory. Raises NoSuchFile."""
        with self._folder(folder) as fd, _translated():
            entry = _entry(name, "", os.stat(name, dir_fd=fd, follow_symlinks=False))
        if entry is None:
            raise NoSuchFile(name)
        return entry

    def open(self, folder: list[str], name: str) -> tuple[int, Entry]:
        """A descriptor to read the file from, which is the caller's, and what it is. Raises NoSuchFile."""
        with self._folder(folder) as directory, _translated():
            fd = os.open(name, _READ, dir_fd=directory)
        entry = _entry(name, "", os.fstat(fd))
        if entry is None or entry.is_directory:
            os.close(fd)
            raise NoSuchFile(name)
        return fd, entry

    def delete(self, folder: list[str], name: str) -> None:
        """Remove a file. Raises NoSuchFile."""
        with self._folder(folder) as fd, _translated():
            os.unlink(name, dir_fd=fd)

    @contextmanager
    def create(self, folder: list[str], name: str) -> Iterator[int]:
        """A descriptor to write to; the file appears under `name`, whole, when the block ends well. Raises NoRoom."""
        partial = _PARTIAL + secrets.token_hex(8)
        with self._folder(folder, create=True) as directory, _translated():
            fd = os.open(partial, _WRITE, 0o644, dir_fd=directory)
            try:
                yield fd
                self._give_away(fd)
                os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(partial, dir_fd=directory)
                raise
            finally:
                os.close(fd)

    def _give_away(self, fd: int) -> None:
        if self._uid is not None:
            os.fchown(fd, self._uid, self._uid)

    @contextmanager
    def _folder(self, parts: list[str], *, create: bool = False) -> Iterator[int]:
        fd = os.open(".", _DIRECTORY, dir_fd=self._fd)  # not a duplicate: that would share the reading position
        try:
            for part in parts:
                fd, above = self._step(fd, part, create=create), fd
                os.close(above)
            yield fd
        finally:
            os.close(fd)

    def _step(self, fd: int, part: str, *, create: bool) -> int:
        with _translated():
            if create:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=fd)
                    if self._uid is not None:
                        os.chown(part, self._uid, self._uid, dir_fd=fd, follow_symlinks=False)
            return os.open(part, _DIRECTORY, dir_fd=fd)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoRoom("the session's quota is used up") from error
        if error.errno in (*_NO_SUCH, errno.ENAMETOOLONG):
            raise NoSuchFile(str(error.filename)) from error
        raise


def _scan(fd: int, folder: str, *, recursive: bool, depth: int) -> Iterator[Entry]:
    with os.scandir(fd) as found:
        items = [item for item, _ in zip(found, range(_ENTRIES), strict=False)]
    for item in items:
        with suppress(OSError):
            entry = _entry(item.name, folder, item.stat(follow_symlinks=False))
            if entry is None or item.name.startswith(_PARTIAL):
                continue
            yield entry
            if recursive and entry.is_directory and depth < _DEPTH:
                yield from _below(fd, item.name, folder, depth)


def _below(fd: int, name: str, folder: str, depth: int) -> Iterator[Entry]:
    inner = os.open(name, _DIRECTORY, dir_fd=fd)
    try:
        yield from _scan(inner, f"{folder}/{name}".lstrip("/"), recursive=True, depth=depth + 1)
    finally:
        os.close(inner)


def _entry(name: str, folder: str, status: os.stat_result) -> Entry | None:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return None
    modified_at = datetime.fromtimestamp(max(0, min(status.st_mtime, 2**33)), UTC)
    readable = [os.fsencode(text).decode("utf-8", "replace") for text in (name, folder)]
    return Entry(readable[0], readable[1], stat.S_ISDIR(status.st_mode), status.st_size, modified_at)
