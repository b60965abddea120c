"""Arrays against arrays, and the statistics of one, in one pass each."""

from halve.compare.array import compare, statistics

__all__ = ["compare", "statistics"]
