"""What `halve.auto` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from halve.search_types import FinalVerdict, SearchResult
from halve.types import ConvertResult

__all__ = ["AutoResult", "Border"]


@dataclass(frozen=True, slots=True)
class Border:
    """A tensor that crosses between float32 and 16 bits, and its room in the 16-bit type.

    `max_abs` is its largest finite magnitude over the samples (None: not measured) and `headroom`
    the type's largest value over it.
    """

    tensor: str
    scope: str
    to: str
    nbytes: int | None
    max_abs: float | None
    headroom: float | None


@dataclass(frozen=True, slots=True)
class AutoResult:
    """A searched, written and judged model.

    `search.verdict` is the judgement of the written file at `target`. `convert` is its conversion.
    `borders` are its casts.
    """

    search: SearchResult
    convert: ConvertResult
    borders: tuple[Border, ...]
    target: Path

    @property
    def verdict(self) -> FinalVerdict:
        """The judgement of the written file on every sample."""
        return self.search.verdict
