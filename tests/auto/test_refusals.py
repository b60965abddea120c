"""What a search says where it ends without a model."""

from __future__ import annotations

from typing import Any

import pytest

from halve import ConvertOptions, SearchOptions
from halve.auto.refusals import nothing_passes
from halve.search import SearchOutcome
from halve.search_types import FinalVerdict, OutputTrial, SampleVerdict

OUTPUTS = (OutputTrial("y", False, 3.0, 9.0), OutputTrial("z", False, 7.5, 50.0))


def refused(complete: bool, accepted: tuple[OutputTrial, ...] = OUTPUTS, **fields: Any) -> str:
    nothing: frozenset[int] = frozenset()
    outcome = SearchOutcome(nothing, nothing, nothing, (), {}, complete, False, True, 0.0)
    rows = (SampleVerdict(2, False, True, ()), SampleVerdict(5, False, False, accepted))
    options = SearchOptions(**fields)
    return str(nothing_passes(FinalVerdict("emulated", False, rows), outcome, options))


def test_the_worst_output_and_what_to_do() -> None:
    assert refused(True) == (
        "no set of float32 nodes was found that passes the verdict (sample 5, output 'z': 7.5 times"
        " the tolerance); widen the tolerance, or keep inputs and outputs float32 (--keep-io-types)"
    )
    kept = refused(True, convert=ConvertOptions(keep_io_types=True))
    assert kept.endswith("; widen the tolerance")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"time_budget_s": 0.001}, "verdict before --time-budget 0.001 ended the search (sample 5"),
        ({"max_trials": 3}, "verdict before --max-trials 3 ended the search (sample 5"),
    ],
)
def test_a_budget_that_ended_the_search_is_named(fields: dict[str, Any], words: str) -> None:
    text = refused(False, **fields)
    assert words in text
    assert "; allow it more, or widen the tolerance" in text
    assert "before" not in refused(True, **fields)


def test_a_validate_function_that_refused() -> None:
    text = refused(True, (), validate=lambda a, b: False, validate_only=True)
    assert "(sample 5: the validate function refuses it); let the validate function" in text
    assert "tolerance" not in text
