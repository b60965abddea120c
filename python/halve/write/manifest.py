"""Which files a conversion may have to remove, written down before it makes or replaces them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from halve._native.wire import elide_file
from halve.errors import ModelError

__all__ = ["Entry", "Manifest", "identify", "model_mentions", "settle", "skeleton_of"]

_NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file by its name relative to the target's folder and by its identity there."""

    name: str
    inode: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Files beside `model` that are to go unless it uses them: the data of a result that may not
    be committed, and that of the model that it replaces. `folders` were made for them.
    """

    model: str
    files: tuple[Entry, ...] = ()
    folders: tuple[str, ...] = ()

    def save(self, staging: Path) -> None:
        """Write it into the temporary folder, whole or not at all."""
        record = {
            "model": self.model,
            "files": [[entry.name, entry.inode] for entry in self.files],
            "folders": list(self.folders),
        }
        draft = staging / (_NAME + ".new")
        draft.write_text(json.dumps(record), encoding="utf-8", errors="surrogateescape")
        draft.replace(staging / _NAME)

    @classmethod
    def load(cls, staging: Path) -> Manifest | None:
        """Read it; None where there is none (its process had not made a file yet)."""
        try:
            text = (staging / _NAME).read_text(encoding="utf-8", errors="surrogateescape")
            record = json.loads(text)
            files = tuple(Entry(str(name), int(inode)) for name, inode in record["files"])
            return cls(str(record["model"]), files, tuple(map(str, record["folders"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def identify(path: Path, name: str) -> Entry | None:
    """The entry for the file at `path` under `name`; None where there is no such file."""
    try:
        return Entry(name, path.lstat().st_ino)
    except OSError:
        return None


def settle(manifest: Manifest, folder: Path) -> None:
    """Remove the files of `manifest` that its model, as it is now, does not use.

    A file of that name which is not the one noted down is left alone. So is every file where the
    model cannot be read.
    """
    if not manifest.files:
        return
    try:
        skeleton = skeleton_of(folder / manifest.model)
    except OSError:
        return
    for entry in manifest.files:
        path = folder / entry.name
        if not model_mentions(skeleton, entry.name) and identify(path, entry.name) == entry:
            path.unlink(missing_ok=True)
    for name in reversed(manifest.folders):
        _remove_empty(folder / name)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # in use


def skeleton_of(model: Path) -> bytes:
    """The model file without its payload; empty where it is missing or not a model.

    Raises:
        OSError: there is a file that cannot be read.
    """
    try:
        fd = os.open(model, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return b""
    try:
        return elide_file(fd, os.fstat(fd).st_size, str(model))[0]
    except ModelError:
        return b""
    finally:
        os.close(fd)


def model_mentions(skeleton: bytes, name: str) -> bool:
    """Whether the name of a data file occurs in a model: never a false no."""
    return os.fsencode(name) in skeleton
