"""Locks that end with the process that holds them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked there
    fcntl = None  # type: ignore[assignment]

__all__ = ["file_lock", "folder_lock", "try_lock", "unlock"]


def try_lock(folder: Path) -> int | None:
    """Lock a folder and return its descriptor, or None where another process holds it, where it
    is gone, or where folders cannot be locked.
    """
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    if _flock(fd, wait=False) and _is_still(folder, fd):
        return fd
    os.close(fd)
    return None


def unlock(fd: int) -> None:
    """Give back a lock of `try_lock`."""
    os.close(fd)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, after waiting for it; without effect where folders have none."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        _flock(fd, wait=True)
        yield
    finally:
        os.close(fd)


@contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Hold a file's lock without waiting for it: False where another run has it; True, without
    effect, where files have none.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        yield not _is_held(file.fileno())


def _is_held(fd: int) -> bool:
    """Whether another descriptor has the lock, which is this one's otherwise."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _flock(fd: int, *, wait: bool) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _is_still(folder: Path, fd: int) -> bool:
    """Whether `folder` was not removed between opening and locking it."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(fd))
    except OSError:
        return False
