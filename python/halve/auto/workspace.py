"""The folder that a search keeps its journal, its plan and its models in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from halve.errors import OutputError, WorkspaceError
from halve.write.locks import file_lock

__all__ = ["Workspace", "open_workspace"]

_MARK = ".halve-workspace"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where files go. `kept` says that the folder stays, so that a search can be resumed."""

    folder: Path
    kept: bool

    @property
    def journal(self) -> Path | None:
        """The journal, or None where nothing is kept."""
        return self.folder / "journal.jsonl" if self.kept else None

    @property
    def plan(self) -> Path | None:
        """The plan file, or None where nothing is kept."""
        return self.folder / "plan.json" if self.kept else None

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        """A new folder inside whose name begins so, removed at the end."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def scratch(self, name: str) -> Path:
        """An empty folder of that name inside."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


@contextmanager
def open_workspace(folder: Path | None, *, clean: bool) -> Iterator[Workspace]:
    """The workspace in `folder`, made where it is missing and emptied with `clean`; a temporary
    one for None.

    Raises:
        WorkspaceError: the folder holds files and is not a workspace, or another run is in it:
            nothing is removed there.
        OutputError: it cannot be made.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="halve-search-") as name:
            yield Workspace(Path(name), kept=False)
        return
    _make(folder)
    with file_lock(folder / _MARK) as free:
        if not free:
            raise WorkspaceError(
                f"workspace {folder} is in use by another run; wait for its end, or name another"
                " folder"
            )
        try:
            _prepare(folder, clean)
            yield Workspace(folder, kept=True)
        finally:
            for scratch in folder.glob("scratch-*"):
                shutil.rmtree(scratch, ignore_errors=True)


def _make(folder: Path) -> None:
    """The folder with its mark.

    Raises:
        WorkspaceError, OutputError: as open_workspace.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(item.name for item in folder.iterdir() if item.name != _MARK)
        if others and not (folder / _MARK).exists():
            raise WorkspaceError(
                f"{folder} holds {others[0]!r} and is no workspace; name an empty or a new folder"
            )
        (folder / _MARK).write_text("1\n", "ascii")
    except OSError as error:
        raise _no_workspace(folder, error) from error


def _no_workspace(folder: Path, error: OSError) -> OutputError:
    return OutputError(f"workspace {folder}: {error.strerror}; name another folder")


def _prepare(folder: Path, clean: bool) -> None:
    try:
        for item in list(folder.iterdir()) if clean else ():
            if item.name != _MARK:
                _remove(item)
    except OSError as error:
        raise _no_workspace(folder, error) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
