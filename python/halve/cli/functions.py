"""A function that a flag names, from a module or a file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from halve.errors import OptionError

__all__ = ["load_function"]


def load_function(text: str, flag: str) -> Callable[..., Any]:
    """The function that "package.module:name" or "path/file.py:name" stands for.

    A module is looked for in the current folder too, as `python -m` does.

    Raises:
        OptionError: there is no such module or function, or the module fails when imported.
    """
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise OptionError(f"{flag} is {text!r}; allowed: MODULE:FUNCTION, or FILE.py:FUNCTION")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else _from_name(place)
    except Exception as error:  # a module may fail in any way; the funnel's --debug shows how
        raise OptionError(
            f"{flag} {text}: {place} cannot be imported ({type(error).__name__}: {error}); "
            "check the name, and that it imports in python"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise OptionError(
            f"{flag} {text}: {place} has no function {name!r}; "
            f"allowed: {', '.join(sorted(names)[:20]) or 'none'}"
        )
    found: Callable[..., Any] = function
    return found


def _from_name(name: str) -> ModuleType:
    with _current_folder_first():
        return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the module took it out itself
            sys.path.remove(folder)
