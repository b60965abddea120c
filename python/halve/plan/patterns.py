"""Names as options give them: literal, or regular expressions that match the whole name."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["Matcher", "plain_name"]


class Matcher:
    """Whole names, literally or as regular expressions."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compile what is no plain name."""
        self._literal = frozenset((*patterns, *filter(None, map(plain_name, patterns))))
        self._compiled = [p for p in map(_compile, patterns) if p is not None]

    def matches(self, text: str) -> bool:
        """Whether any of them is, or matches, the whole text."""
        if text in self._literal:
            return True
        return any(pattern.fullmatch(text) for pattern in self._compiled)


def plain_name(pattern: str) -> str | None:
    """The one name that a pattern without operators stands for, escaped or not; else None."""
    name = re.sub(r"\\(.)", r"\1", pattern, flags=re.DOTALL)
    return name if re.escape(name) == pattern else None


def _compile(pattern: str) -> re.Pattern[str] | None:
    if plain_name(pattern) is not None:
        return None  # which the literal set finds at once, however many there are
    try:
        return re.compile(pattern)
    except re.error:
        return None  # a name with odd characters; it still matches literally
