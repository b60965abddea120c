"""All or nothing: files are made in a temporary folder, and the model's rename commits them.

1. A conversion works in one `.halve-tmp-*` folder beside its target, locked while it lives.
2. The manifest in it names every file that may have to go before that file gets its place.
3. Data files get new names, by a link that fails where the name is taken.
4. The model is renamed into place last; before that the target is as it was, after that it is new.
5. Whatever the manifest names and the target does not use is removed: at the end, after an error,
   or, where the process died, by the next conversion in this folder.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from halve.errors import OutputError
from halve.files import remove_leftovers
from halve.write.layout import is_data_name
from halve.write.locks import folder_lock, try_lock, unlock
from halve.write.manifest import Entry, Manifest, identify, model_mentions, settle, skeleton_of
from halve.write.payload import varint

__all__ = ["Staging", "clear_leftovers"]

_PREFIX = ".halve-tmp-"
_MODEL = "model"
# No model file is larger, so a larger file cannot refer to data.
_LARGEST_MODEL_BYTES = (1 << 31) - 1
# How long another process may hold the lock of a folder that it takes for a leftover.
_LOCK_TRIES, _LOCK_PAUSE_S = 20, 0.01
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
_NO_LINKS = (errno.EPERM, errno.EMLINK, *_UNSUPPORTED)


class Staging:
    """A conversion's temporary folder, as a context.

    On leaving, the target's folder holds what it held before, or after `commit` the new files in
    place of the old ones.

    Raises:
        OutputError: the folder cannot be made, or files in it cannot be moved.
    """

    def __init__(self, target: Path) -> None:
        """Make the folder beside `target`, a resolved path."""
        self._target = target
        self._manifest = Manifest(target.name)
        with _explained(target.parent):
            self._warnings = clear_leftovers(target.parent)
            self._folder, self._lock = _make_folder(target.parent)

    def __enter__(self) -> Staging:
        """Nothing more to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what is not wanted: rule 5."""
        try:
            with _explained(self._target.parent):
                _clear(self._folder, self._target.parent)
        finally:
            if self._lock is not None:
                unlock(self._lock)

    def create(self, number: int | None = None) -> Path:
        """An empty file for the data file of that number, or for the model (None).

        Its permissions are those of any new file. One that is there is emptied.
        """
        path = self.place_of(number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        with _explained(self._target.parent):
            os.close(os.open(path, flags, 0o666))
        return path

    def copy(self, model: Path) -> None:
        """Copy a model that has no data files, to be committed."""
        place = self.create()
        with _explained(self._target.parent):
            try:
                shutil.copyfile(model, place)
            except OSError as error:  # which names the model, whatever failed
                error.filename = str(self._target)
                raise

    def place_of(self, number: int | None) -> Path:
        """Where the data file of that number, or the model (None), is before it is published."""
        return self._folder / (_MODEL if number is None else f"data-{number}")

    def publish(self, names: Iterable[str]) -> bool:
        """Give data file i the i-th of `names`; False where one of them is taken (rules 2, 3).

        After False the files are back, to be published under other names.
        """
        files = {name: self.place_of(number) for number, name in enumerate(names)}
        with _explained(self._target.parent):
            for path in files.values():
                _flush(path)
            self._note(files)
            return _place_all(files, self._target.parent)

    def _note(self, files: dict[str, Path]) -> None:
        entries = tuple(Entry(name, path.lstat().st_ino) for name, path in files.items())
        folders = self._manifest.folders + _missing_folders(self._target.parent, files)
        self._manifest = replace(self._manifest, files=entries, folders=folders)
        self._manifest.save(self._folder)
        for name in folders:
            (self._target.parent / name).mkdir(exist_ok=True)

    def commit(self) -> None:
        """Put the model in its place (rule 4); published data files now belong to it."""
        folder = self._target.parent
        model = self.place_of(None)
        with _explained(folder), folder_lock(folder):
            _flush(model)
            old = self._replaced_data()
            self._manifest = replace(self._manifest, files=self._manifest.files + old)
            self._manifest.save(self._folder)
            model.replace(self._target)
            _flush(folder)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be removed, in words."""
        return tuple(self._warnings)

    def _replaced_data(self) -> tuple[Entry, ...]:
        try:
            return _replaced_data(self._target)
        except OSError as error:
            self._warnings.append(
                f"{self._target}: data files of the replaced model stay, since another file that "
                f"may use them cannot be read: {error}"
            )
            return ()


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        place = error.filename or folder
        raise OutputError(
            f"{place}: cannot be written: {error.strerror or error}; free space, correct the "
            "permissions or choose another output"
        ) from error


def _make_folder(parent: Path) -> tuple[Path, int | None]:
    while True:
        folder = parent / (_PREFIX + os.urandom(8).hex())
        folder.mkdir(mode=0o700)
        for _ in range(_LOCK_TRIES):
            lock = try_lock(folder)
            if lock is not None:
                return folder, lock
            # Another conversion may have taken it for a leftover before it was locked.
            if not folder.exists():
                break
            time.sleep(_LOCK_PAUSE_S)
        else:
            return folder, None  # nothing can be locked here, and so nothing is cleared either


def clear_leftovers(folder: Path) -> list[str]:
    """Remove what conversions that died have left in `folder`; living ones hold their locks.

    Returns a warning for each that could not be removed.
    """
    warnings = []
    remove_leftovers(folder)
    for leftover in sorted(folder.glob(_PREFIX + "*")):
        if leftover.is_symlink() or not leftover.is_dir():
            continue
        lock = try_lock(leftover)
        if lock is None:
            continue
        try:
            _clear(leftover, folder)
        except OSError as error:
            warnings.append(f"{leftover}: left by an earlier run, cannot be removed: {error}")
        finally:
            unlock(lock)
    return warnings


def _clear(staging: Path, folder: Path) -> None:
    manifest = Manifest.load(staging)
    if manifest is not None:
        settle(manifest, folder)
    shutil.rmtree(staging, ignore_errors=True)


def _missing_folders(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Folders on the way to `names` that are not there, outer ones first."""
    missing: dict[str, None] = {}
    for name in names:
        for parent in reversed(Path(name).parents):
            if not (folder / parent).exists():
                missing[str(parent)] = None
    return tuple(missing)


def _replaced_data(target: Path) -> tuple[Entry, ...]:
    """Data files that only the model which `target` is now can use.

    They are named as this package names them, have no second link, and no other file in the
    folder mentions them.

    Raises:
        OSError: a file that might mention them cannot be read.
    """
    names = _own_data(target)
    others = [_other(path, target) for path in target.parent.iterdir()] if names else []
    unused = (name for name in names if not any(model_mentions(other, name) for other in others))
    entries = (identify(target.parent / name, name) for name in unused)
    return tuple(entry for entry in entries if entry is not None)


def _own_data(target: Path) -> list[str]:
    old = skeleton_of(target)
    return [
        path.name
        for path in target.parent.iterdir()
        if is_data_name(path.name, target.name) and _refers(old, path.name) and _is_alone(path)
    ]


def _refers(skeleton: bytes, name: str) -> bool:
    """Whether a model has `name` as a location: never a false yes."""
    value = os.fsencode(name)
    return b"\x0a\x08location\x12" + varint(len(value)) + value in skeleton


def _is_alone(path: Path) -> bool:
    status = path.lstat()
    return path.is_file() and not path.is_symlink() and status.st_nlink == 1


def _other(path: Path, target: Path) -> bytes:
    """The skeleton of a file that may be another model."""
    if path == target or is_data_name(path.name, target.name) or not path.is_file():
        return b""
    try:
        small = path.stat().st_size <= _LARGEST_MODEL_BYTES
    except FileNotFoundError:
        return b""  # another process has just removed it
    return skeleton_of(path) if small else b""


def _place_all(files: dict[str, Path], folder: Path) -> bool:
    placed: list[Path] = []
    for name, path in files.items():
        if not _place(path, folder / name):
            for taken_back, origin in zip(placed, files.values(), strict=False):
                taken_back.replace(origin)
            return False
        placed.append(folder / name)
    for parent in {path.parent for path in placed}:
        _flush(parent)
    return True


def _place(path: Path, to: Path) -> bool:
    """Give a file another name; False where that is taken."""
    try:
        to.hardlink_to(path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _reserve_and_move(path, to)
    path.unlink()
    return True


def _reserve_and_move(path: Path, to: Path) -> bool:
    """As `_place`, where the file system has no hard links."""
    try:
        to.open("xb").close()
    except FileExistsError:
        return False
    path.replace(to)
    return True


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    is_folder = path.is_dir()
    if is_folder and not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems have no such thing as flushing a folder.
        if not (is_folder and error.errno in (errno.EINVAL, *_UNSUPPORTED)):
            raise
    finally:
        os.close(fd)
