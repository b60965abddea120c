"""Whether a conversion may write where it is asked to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from halve.errors import OutputError
from halve.types import SourceModel

__all__ = ["check_target", "resolve_target"]


def resolve_target(target: Path) -> Path:
    """The place that is written for `target`: behind a link, the file that it points to."""
    return Path(os.path.realpath(target))


def check_target(source: SourceModel, target: Path) -> None:
    """Check, before any work, that `target` can be written and is not part of `source`.

    Links are followed, so a link to the source is the source; hard links and other spellings of
    its path are too. Nothing is written.

    Raises:
        OutputError: the target is the source model, one of its data files, a directory or not a
            regular file, its folder is missing or is not a folder, or may not be written.
    """
    resolved = resolve_target(target)
    _check_kind(target, resolved)
    for path, what in _source_files(source):
        if _is_same(path, resolved):
            raise OutputError(
                f"{target}: is {what} of the source ({path}); the source is never overwritten: "
                "give the output another name"
            )
    _check_folder(target, resolved.parent)


def _check_kind(target: Path, resolved: Path) -> None:
    try:
        mode = resolved.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
    if stat.S_ISREG(mode):
        return
    what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
    raise OutputError(f"{target}: is {what}; allowed: the name of a file, new or to be replaced")


def _source_files(source: SourceModel) -> list[tuple[Path, str]]:
    model = [] if source.path is None else [(source.path, "the model")]
    return model + [(path, "a data file") for path in source.data_files]


def _is_same(path: Path, resolved: Path) -> bool:
    if resolve_target(path) == resolved:
        return True
    try:
        return path.samefile(resolved)
    except OSError:
        return False  # the target does not exist yet


def _check_folder(target: Path, folder: Path) -> None:
    if not folder.exists():
        raise OutputError(f"{target}: folder {folder} does not exist; create it first")
    if not folder.is_dir():
        raise OutputError(f"{target}: {folder} is not a folder; choose another output")
    effective = os.access in os.supports_effective_ids
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        raise OutputError(
            f"{target}: folder {folder} may not be written by this user, or is on a read-only "
            "disk; change its permissions or choose another output"
        )
