"""Arrays against arrays, and the statistics of one, in one pass each."""

from halve.compare.array import compare, statistics
from halve.compare.verdict import compare_outputs

__all__ = ["compare", "compare_outputs", "statistics"]
