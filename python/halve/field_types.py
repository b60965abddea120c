"""Records of options: whether each field has the type that it is annotated with."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from halve.errors import OptionError

__all__ = ["MOST_THREADS", "check_threads", "check_types"]

MOST_THREADS = 1024
"""Far more threads cannot be started, or take minutes to start."""
_ACCEPTED: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (Integral,),
    float: (Real,),
    Path: (Path, str),
    Mapping: (Mapping,),
}
_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a string",
    Path: "a pathlib.Path",
    NoneType: "None",
}
_MANY = {int: "whole numbers", str: "strings"}
_known: dict[type, dict[str, Any]] = {}


def check_types(record: Any) -> None:  # noqa: ANN401 - any dataclass
    """Check every field of a dataclass; another collection for a tuple becomes one, a string for a
    path a Path, and numpy's numbers Python's. Items of mappings, and signatures of functions, are
    not looked at, nor are fields of type Any or of a protocol.

    Raises:
        OptionError: a field's value is not of its type.
    """
    for name, hint in _hints(type(record)).items():
        value = getattr(record, name)
        try:
            object.__setattr__(record, name, _taken(value, hint))
        except (TypeError, OverflowError):
            allowed = _words(hint)
            raise OptionError(f"{name} is {reprlib.repr(value)}; allowed: {allowed}") from None


def check_threads(name: str, value: int, low: int) -> None:
    """Check a number of threads.

    Raises:
        OptionError: it is below `low`, or more than can be started.
    """
    if not low <= value <= MOST_THREADS:
        raise OptionError(f"{name} is {value}; allowed: {low} to {MOST_THREADS}")


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _known:
        hints = get_type_hints(kind)
        _known[kind] = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return _known[kind]


def _taken(value: Any, hint: Any) -> Any:  # noqa: ANN401 - whatever was given, and its type
    """The value as the record keeps it; a TypeError where it is not of the type."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _taken_by_one(value, get_args(hint))
    if origin is tuple:
        return _taken_items(value, get_args(hint))
    if origin is Callable:
        fits = callable(value)
    else:
        unknown = (object,) if hint is Any or getattr(hint, "_is_protocol", False) else (hint,)
        fits = isinstance(value, _ACCEPTED.get(origin or hint, unknown))
        fits = fits and not (isinstance(value, bool) and hint in (int, float))
    if not fits:
        raise TypeError
    return hint(value) if hint in (bool, int, float, Path) else value


def _taken_by_one(value: Any, hints: tuple[Any, ...]) -> Any:  # noqa: ANN401 - likewise
    for hint in hints:
        try:
            return _taken(value, hint)
        except TypeError:
            continue
    raise TypeError


def _taken_items(value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ANN401 - likewise
    if not isinstance(value, Collection) or isinstance(value, (str, bytes, Mapping)):
        raise TypeError
    items = tuple(value)
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(items)
    if len(items) != len(hints):
        raise TypeError
    return tuple(map(_taken, items, hints))


def _words(hint: Any) -> str:  # noqa: ANN401 - likewise
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, get_args(hint)))
    if origin is tuple:
        (item, _) = get_args(hint)
        pair = get_origin(item) is tuple
        return f"a tuple of {'pairs of ' * pair}{_MANY[get_args(item)[0] if pair else item]}"
    if origin in (Mapping, Callable):
        return "a mapping" if origin is Mapping else "a function"
    return _WORDS.get(hint) or f"a halve.{hint.__name__}"
