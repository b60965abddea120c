"""The classic search: clusters of the graph order, halved where they fail."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from halve.search.asks import Steps, mask_of
from halve.search.ledger import Ledger, Note, Verdict

__all__ = ["bisect"]


def bisect(
    ledger: Ledger,
    verdict: Verdict,
    order: Sequence[int],
    hopeless: Callable[[int, Sequence[int]], bool] | None = None,
) -> Steps[int]:
    """Convert the largest undecided cluster on top of what is converted, or halve it.

    Returns the 16-bit set. Every cluster is judged as a whole, but for a set that was judged
    before. What it keeps is not 1-minimal in general. It ends early where that costs as much as the
    cheapest set that passed. A cluster that is `hopeless` on top of a 16-bit set is taken to fail
    there.
    """
    base, kept = 0, 0.0
    queue: list[tuple[int, int, int, int | None]] = [(-len(order), 0, len(order), None)]
    while queue and order and kept < verdict.best_price:
        _, low, high, parent = heapq.heappop(queue)
        group = mask_of(order[low:high], ledger.count)
        fp32 = ledger.every & ~(base | group)
        ledger.view.halves = base
        ledger.view.clusters = tuple((order[a], order[b - 1]) for _, a, b, _ in sorted(queue))
        doomed = hopeless is not None and hopeless(base, order[low:high])
        if not doomed and (yield from verdict(fp32, Note(group, parent))):
            base |= group
        elif high - low > 1:
            middle, row = (low + high) // 2, ledger.row_of.get(fp32)
            heapq.heappush(queue, (low - middle, low, middle, row))
            heapq.heappush(queue, (middle - high, middle, high, row))
        else:
            ledger.view.floats |= group
            kept += ledger.costs[order[low]]
    return base
