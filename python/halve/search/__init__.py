"""The precision search: which units must stay float32, by as few trials as it can."""

from halve.search.engine import Setting, repair, search
from halve.search.journal import Journal, journal_header
from halve.search.problem import CheckError, Parameters, Problem, SearchOutcome

__all__ = [
    "CheckError",
    "Journal",
    "Parameters",
    "Problem",
    "SearchOutcome",
    "Setting",
    "journal_header",
    "repair",
    "search",
]
