"""The record of a plan that was judged again (docs/verdict.schema.json describes its JSON)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from halve.report.record import plain_json
from halve.report.search_record import outputs_json, verified_json
from halve.report.search_text import number_text
from halve.report.text import NAME_CHARACTERS, shorten
from halve.search_types import FinalVerdict, OutputTrial, SampleVerdict

__all__ = ["SCHEMA_VERSION", "VerdictReport", "verdict_lines"]

SCHEMA_VERSION = 1
# What a screen takes beside the verdict; the JSON record has every output.
_FAILURES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class VerdictReport:
    """The verdict on a plan, without a search.

    `source` and `plan` are the files, `options` what the caller wants shown of the options,
    `versions` those of the programs that took part, by name. `notes` are said of the samples.
    """

    halve_version: str
    source: str
    plan: str
    provider: str
    verdict: FinalVerdict
    options: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The record as JSON values (schema version 1); equal records give equal values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "verdict",
            "halve_version": self.halve_version,
            "source": self.source,
            "plan": self.plan,
            "provider": self.provider,
            "verified": verified_json(self.verdict),
            "model_outputs": outputs_json(self.verdict),
            "options": plain_json(self.options),
            "versions": dict(self.versions),
            "warnings": list(self.verdict.warnings),
            "notes": list(self.notes),
        }


def verdict_lines(verdict: FinalVerdict) -> list[str]:
    """The verdict, how many samples passed, and what failed: the error against its tolerance."""
    passed = sum(row.passed for row in verdict.samples)
    word = "passed" if verdict.passed else "FAILED"
    failed = [row for row in verdict.samples if not row.passed]
    failures = [line for row in failed for line in _failures(row, verdict.by_tolerance)]
    shown = failures[:_FAILURES_SHOWN]
    if len(failures) > len(shown):
        more = len(failures) - len(shown)
        shown.append(f"{'':<11}and {more} more, which the JSON record has (--json)")
    return [
        f"verdict    {word}, {verdict.level}",
        f"samples    {passed} of {len(verdict.samples)} passed",
        *shown,
    ]


def _failures(sample: SampleVerdict, by_tolerance: bool) -> Iterator[str]:
    """A line an output that failed, or one for the sample where none did."""
    label = f"{'sample':<11}{sample.id}: "
    if sample.failure:
        yield label + sample.failure
        return
    if not by_tolerance:
        yield f"{label}the validate function refuses it"
        return
    failed = [output for output in sample.outputs if not output.passed]
    if not failed:
        yield f"{label}the validate function refuses it{_worst(sample.outputs)}"
    for output in failed:
        yield f"{label}output {_name(output)}: {_error(output)}"


def _worst(outputs: Sequence[OutputTrial]) -> str:
    if not outputs:
        return ""
    worst = max(outputs, key=lambda row: math.inf if math.isnan(row.error) else row.error)
    return f"; its worst output, {_name(worst)}, uses {number_text(worst.error)} of the tolerance"


def _name(output: OutputTrial) -> str:
    return shorten(repr(output.name), NAME_CHARACTERS)


def _error(output: OutputTrial) -> str:
    """How far an output is from its reference."""
    found = output.comparison
    if math.isfinite(output.error):
        parts = [f"error {number_text(output.error)} times the tolerance"]
    else:
        why = " (another shape, or unequal values that are no floats)" if found is None else ""
        parts = [f"error beyond any multiple of the tolerance{why}"]
    if found is not None:
        parts.append(f"{found.mismatches:,} of {found.elements:,} elements do not match")
        if found.a_nan or found.a_inf:
            parts.append(f"{found.a_nan:,} NaN and {found.a_inf:,} infinities")
        parts.append(f"largest error {number_text(found.max_abs_error)} absolute")
        parts.append(f"{number_text(found.max_rel_error)} relative")
    return ", ".join(parts)
