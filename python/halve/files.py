"""Small files written whole or not at all.

1. A text is written beside its place under a name of its own, locked while it is written, and then
   renamed: what was there stays until the new file is whole.
2. A process that dies leaves such a file behind, unlocked. The next one that writes in that folder
   removes it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked there, and nothing removed
    fcntl = None  # type: ignore[assignment]

from halve.errors import OptionError, OutputError

__all__ = ["given_path", "remove_leftovers", "write_text"]

_PREFIX = ".halve-tmp-"


def given_path(path: str | os.PathLike[str], *, what: str) -> Path:
    """`path` as a Path; `what` names it in an error ("the model").

    Raises:
        OptionError: it is the empty text, which a Path would take for the current folder.
    """
    if not os.fspath(path):
        raise OptionError(f"the path of {what} is ''; allowed: the name of a file or folder")
    return Path(path)


def write_text(path: Path, text: str, *, what: str, encoding: str = "utf-8") -> None:
    """Write a text file, whole or not at all; `what` names it in an error ("report").

    Raises:
        OutputError: the file cannot be written; one that was there is untouched.
    """
    try:
        remove_leftovers(path.parent)
        with _temporary(path.parent, encoding) as file:
            file.write(text)
            file.flush()
            Path(file.name).replace(path)
    except OSError as error:
        raise OutputError(
            f"{what} {path} cannot be written: {error.strerror or error}; name a file in a folder "
            "with room that you may write to"
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Remove the files of `write_text` in a folder that no process is writing any more."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):  # another process was quicker, or may not
                    _remove_unlocked(Path(entry))


def _remove_unlocked(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        if _lock(fd):
            path.unlink()
    finally:
        os.close(fd)


@contextlib.contextmanager
def _temporary(folder: Path, encoding: str) -> Iterator[TextIO]:
    """A new file, locked; gone afterwards where it was not renamed."""
    with _create(folder, encoding) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _create(folder: Path, encoding: str) -> TextIO:
    while True:
        path = folder / f"{_PREFIX}{os.urandom(8).hex()}.part"
        file = path.open("x", encoding=encoding)
        _lock(file.fileno())
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another process removed it before it was locked


def _lock(fd: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
