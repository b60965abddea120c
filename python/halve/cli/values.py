"""What a flag's texts mean: the last one given, as text, a path or a number."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from halve.errors import OptionError
from halve.files import given_path

__all__ = ["last", "number", "path", "settings", "whole", "whole_number"]


def last(values: Sequence[str]) -> str:
    """The text given last."""
    return values[-1]


def path(values: Sequence[str]) -> Path:
    """The path given last.

    Raises:
        OptionError: it is ''.
    """
    return given_path(values[-1], what="a flag")


def number(name: str) -> Callable[[Sequence[str]], float]:
    """The reader of the flag `name`, whose value is a number."""

    def convert(values: Sequence[str]) -> float:
        try:
            return float(values[-1])
        except ValueError as error:
            raise OptionError(f"{name} is {values[-1]!r}; allowed: a number") from error

    return convert


def settings(name: str) -> Callable[[Sequence[str]], dict[str, str]]:
    """The reader of the flag `name`, whose values are KEY=VALUE."""

    def convert(texts: Sequence[str]) -> dict[str, str]:
        pairs = [text.partition("=") for text in texts]
        for text, (key, equals, _) in zip(texts, pairs, strict=True):
            if not key or not equals:
                raise OptionError(f"{name} is {text!r}; allowed: KEY=VALUE")
        return {key: value for key, _, value in pairs}

    return convert


def whole(name: str) -> Callable[[Sequence[str]], int]:
    """The reader of the flag `name`, whose value is a whole number."""
    return lambda values: whole_number(name, values[-1])


def whole_number(name: str, text: str) -> int:
    """The whole number that a text given for `name` stands for.

    Raises:
        OptionError: it is none.
    """
    if not re.fullmatch(r"[+-]?[0-9]+", text.strip()):
        raise OptionError(f"{name} is {text!r}; allowed: a whole number")
    return int(text)
