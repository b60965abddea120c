"""Manual mode's statistics as rows, one a tensor, in the order of what matters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from halve.errors import OptionError
from halve.manual_types import NodeStatistics, OutputStatistics, RunStatistics, SampleStatistics

__all__ = ["DEFAULT_SORT", "SORT_KEYS", "ManualRow", "local_error", "manual_rows"]

_NOTHING = RunStatistics()


@dataclass(frozen=True, slots=True)
class ManualRow:
    """A float output of a node, with what tables show of it.

    `clip_ratio` is the share of elements of the 16-bit run that originate an overflow here.
    `nonfinite` counts its NaN and infinite elements, inherited ones included. `local_error`,
    `total_error` and `inherited_error` are those of OutputStatistics, None where there was nothing
    to compare; the first also where it cannot be told (see `local_error`). `max_abs` is the largest
    finite magnitude of the float32 run, and `head_room` the 16-bit type's largest value over it.
    """

    node: NodeStatistics
    output: OutputStatistics
    clip_ratio: float
    nonfinite: int
    local_error: float | None
    total_error: float | None
    inherited_error: float | None
    max_abs: float | None
    head_room: float | None

    @property
    def over_limit(self) -> bool:
        """Whether an overflow originates here."""
        return self.clip_ratio > 0


def local_error(item: OutputStatistics, *, local: str) -> float | None:
    """An output's local error; None where there is none, or where it cannot be told.

    `local` is ManualReport.local: with "output" the 16-bit run's own values are compared, and what
    they inherit that is not finite hides what the node's rounding adds.
    """
    if item.local is None:
        return None
    half = item.fp16 or _NOTHING
    hidden = local == "output" and half.inherited > 0 and not half.clip
    return None if hidden and math.isinf(item.local_error) else item.local_error


def manual_rows(
    sample: SampleStatistics, *, limit: float, sort: str = "overflow", local: str = "exact"
) -> tuple[ManualRow, ...]:
    """A row a measured tensor, by one of SORT_KEYS; equals come in the order of ids.

    `limit` is the largest finite value of the 16-bit type, `local` what local errors are (both of
    ManualReport).

    Raises:
        OptionError: `sort` is none of SORT_KEYS.
    """
    if sort not in _KEYS:
        raise OptionError(f"sort is {sort!r}; allowed: {', '.join(SORT_KEYS)}")
    rows = [_row(node, item, limit, local) for node in sample.nodes for item in node.outputs]
    rows.sort(key=_KEYS[sort])
    return tuple(rows)


def _row(node: NodeStatistics, item: OutputStatistics, limit: float, local: str) -> ManualRow:
    half = item.fp16 or _NOTHING
    return ManualRow(
        node=node,
        output=item,
        clip_ratio=half.clip_ratio,
        nonfinite=half.nan + half.inf,
        local_error=local_error(item, local=local),
        total_error=None if item.total is None else item.total_error,
        inherited_error=None if item.total is None else item.inherited_error,
        max_abs=None if item.fp32 is None else item.fp32.max_abs,
        head_room=item.head_room(limit),
    )


def _down(value: float | None) -> float:
    """The largest first, what is not finite before it, what is not known last."""
    if value is None:
        return 1.0
    return -math.inf if math.isnan(value) else -value


def _up(value: float | None) -> float:
    return math.inf if value is None else value


_Key = Callable[[ManualRow], tuple[float, ...]]
_KEYS: dict[str, _Key] = {
    "overflow": lambda row: (not row.over_limit, _down(row.local_error), row.node.id),
    "local": lambda row: (_down(row.local_error), row.node.id),
    "inherited": lambda row: (_down(row.inherited_error), row.node.id),
    "total": lambda row: (_down(row.total_error), row.node.id),
    "clip": lambda row: (-row.clip_ratio, row.node.id),
    "nonfinite": lambda row: (-row.nonfinite, row.node.id),
    "max": lambda row: (_down(row.max_abs), row.node.id),
    "head-room": lambda row: (_up(row.head_room), row.node.id),
    "id": lambda row: (row.node.id, row.output.slot),
}
SORT_KEYS = tuple(_KEYS)
"""What tables can be sorted by: "overflow" has the tensors that originate an overflow first, then
by local error; errors, shares and magnitudes have the largest first, head-room the smallest."""
DEFAULT_SORT = "overflow"
