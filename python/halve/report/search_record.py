"""The record of `halve auto` (schema version 1; docs/auto.schema.json describes its JSON)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from halve.report.ranges import ranges
from halve.report.record import plain_json
from halve.search_types import (
    FinalVerdict,
    OutputTrial,
    SearchResult,
    TrialRow,
    Unit,
    UnitEvidence,
)
from halve.types import CastRow, Comparison, ConvertResult, PlanNode

__all__ = [
    "ROLES",
    "SCHEMA_VERSION",
    "AutoReport",
    "BorderFacts",
    "BorderRow",
    "KeptNode",
    "outputs_json",
    "verified_json",
]

SCHEMA_VERSION = 1
ROLES = ("required", "carried", "given", "rule")
"""Why a node is float32, the most telling first; "rule": the plan's own rules, not the search."""


class BorderFacts(Protocol):
    """What is known of a tensor that crosses between precisions; `BorderRow` says the fields."""

    @property
    def tensor(self) -> str:
        """The tensor's name."""
        ...

    @property
    def scope(self) -> str:
        """The path of the body that holds it."""
        ...

    @property
    def to(self) -> str:
        """The type that it is cast to."""
        ...

    @property
    def nbytes(self) -> int | None:
        """Bytes that the cast reads and writes in one run."""
        ...

    @property
    def max_abs(self) -> float | None:
        """The largest finite magnitude."""
        ...

    @property
    def headroom(self) -> float | None:
        """The 16-bit type's largest value over `max_abs`."""
        ...


@dataclass(frozen=True, slots=True)
class BorderRow:
    """A tensor that is cast between float32 and 16 bits, and its room in the 16-bit type.

    `to` is the type that it is cast to ("float16"), `nbytes` what the cast reads and writes in one
    run, `max_abs` the tensor's largest finite magnitude over the samples, and `headroom` the 16-bit
    type's largest value over that (inf for a tensor of zeros). None: not measured.
    """

    tensor: str
    scope: str
    to: str
    nbytes: int | None = None
    max_abs: float | None = None
    headroom: float | None = None


@dataclass(frozen=True, slots=True)
class KeptNode:
    """A node that stays float32, and why.

    `role` is one of ROLES. The other fields are those of the unit's evidence; `cause` is empty and
    `unit` None where a rule of the plan decided, whose words `reason` then has.
    """

    node: PlanNode
    role: str
    cause: str
    reason: str
    value: float | None = None
    operand: str = ""
    energy: float | None = None
    unit: int | None = None


@dataclass(frozen=True, slots=True)
class AutoReport:
    """A searched, written and judged model; every reader of such a result takes this record.

    `source` and `target` are None for models in memory. `files` are the written ones, the model
    first, and `output_files` other files by what they are ("plan", "journal"). `options` are what
    the caller wants shown of the search's options, `versions` those of the programs that took
    part, by name.
    """

    halve_version: str
    source: str | None
    source_nbytes: int
    target: str | None
    files: tuple[str, ...]
    bytes_written: int
    search: SearchResult
    casts: tuple[CastRow, ...]
    cast_lower_bound: int
    borders: tuple[BorderRow, ...]
    warnings: tuple[str, ...]
    output_files: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @classmethod
    def of(  # noqa: PLR0913 - keywords; each is a part of the record
        cls,
        search: SearchResult,
        convert: ConvertResult,
        *,
        halve_version: str,
        source: Path | None = None,
        borders: Iterable[BorderFacts] = (),
        output_files: Mapping[str, Path] | None = None,
        options: Mapping[str, object] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> AutoReport:
        """The record of a search and of the conversion that wrote what it found."""
        summary = convert.summary
        return cls(
            halve_version=halve_version,
            source=None if source is None else os.fspath(source),
            source_nbytes=convert.source_nbytes,
            target=None if convert.target is None else os.fspath(convert.target),
            files=tuple(os.fspath(path) for path in summary.files),
            bytes_written=summary.bytes_written,
            search=search,
            casts=convert.casts,
            cast_lower_bound=convert.cast_lower_bound,
            borders=tuple(_border(row) for row in borders),
            warnings=tuple(dict.fromkeys((*search.warnings, *convert.warnings, *summary.warnings))),
            output_files={name: os.fspath(path) for name, path in (output_files or {}).items()},
            options=dict(options or {}),
            versions=dict(versions or {}),
            elapsed_s=search.elapsed_s + convert.elapsed_s,
        )

    @property
    def fp32_nodes(self) -> tuple[int, ...]:
        """Ids of the nodes that the search, or the user, keeps float32, ascending."""
        search = self.search
        ids = {*search.required, *search.carried, *search.given}
        ids.update(id for index in search.fp32 for id in search.units[index].ids)
        return tuple(sorted(ids))

    @property
    def kept(self) -> tuple[KeptNode, ...]:
        """Every float32 node with its reason, the most telling first.

        By role, then by the error that the unit alone makes (the largest first), then by id.
        """
        rows = sorted(self._kept(), key=_importance)
        return tuple(rows)

    @property
    def cast_bytes(self) -> int | None:
        """What all casts read and write in one run; None where it is not known of every one."""
        sizes = [row.nbytes for row in self.borders if row.nbytes is not None]
        return sum(sizes) if len(sizes) == len(self.borders) == len(self.casts) else None

    @property
    def tightest(self) -> BorderRow | None:
        """The border with the least head-room; None where none was measured."""
        known = [row for row in self.borders if row.headroom is not None]
        return min(known, key=lambda row: row.headroom or 0.0, default=None)

    def _kept(self) -> Iterator[KeptNode]:
        by_id = {node.id: node for node in self.search.plan.nodes}
        seen: set[int] = set()
        for row in self.search.evidence:
            for id in row.nodes:
                if id in by_id and id not in seen:
                    seen.add(id)
                    yield _from_evidence(by_id[id], row)
        roles = dict.fromkeys(self.search.given, "given")
        roles |= dict.fromkeys(self.search.carried, "carried")
        roles |= dict.fromkeys(self.search.required, "required")
        for node in self.search.plan.nodes:
            role = roles.get(node.id, "rule")
            found = node.dtype == "float32" or role in ("required", "carried")
            if found and node.id not in seen:
                yield KeptNode(node, role, "", node.reason)

    def as_json(self) -> dict[str, object]:
        """The record as JSON values (schema version 1); equal records give equal values."""
        search = self.search
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "auto",
            "halve_version": self.halve_version,
            "fp32_nodes": list(self.fp32_nodes),
            "required": list(search.required),
            "carried": list(search.carried),
            "verified": verified_json(search.verdict),
            "model_outputs": outputs_json(search.verdict),
            "output_files": {"deploy": self.target, **self.output_files},
            "trials": [_trial(row) for row in search.trials],
            "evidence": [_evidence(row) for row in search.evidence],
            "kept_float32": [_kept_json(row) for row in self.kept],
            "units": [_unit(unit, search.sensitivity) for unit in search.units],
            "fp32_units": list(search.fp32),
            "evaluator": search.evaluator,
            "seed": search.seed,
            "complete": search.complete,
            "fp32_flop_share": plain_json(search.fp32_flop_share),
            "runs": search.runs,
            "source": {
                "path": self.source,
                "digest": search.plan.model_hash,
                "nbytes": self.source_nbytes,
            },
            "target": {
                "path": self.target,
                "files": list(self.files),
                "bytes_written": self.bytes_written,
            },
            "casts": self._casts_json(),
            "verified_on": {"runtime": search.plan.runtime, "provider": search.plan.provider},
            "options": plain_json({**search.plan.options, **self.options}),
            "versions": dict(self.versions),
            "warnings": list(self.warnings),
            "notes": list(search.notes),
            "elapsed_s": self.elapsed_s,
        }

    def _casts_json(self) -> dict[str, object]:
        return {
            "count": len(self.casts),
            "lower_bound": self.cast_lower_bound,
            "nbytes": self.cast_bytes,
            "borders": [_border_json(row) for row in self.borders],
        }


def _importance(row: KeptNode) -> tuple[int, float, int]:
    return (ROLES.index(row.role), -_energy_rank(row.energy), row.node.id)


def _energy_rank(energy: float | None) -> float:
    """An order of errors: not measured, then numbers, then what is not finite."""
    if energy is None:
        return -1.0
    return math.inf if math.isnan(energy) else energy


def _from_evidence(node: PlanNode, row: UnitEvidence) -> KeptNode:
    role = row.role if row.role in ROLES else "rule"
    return KeptNode(node, role, row.cause, row.reason, row.value, row.operand, row.energy, row.unit)


def _border(row: BorderFacts) -> BorderRow:
    return BorderRow(row.tensor, row.scope, row.to, row.nbytes, row.max_abs, row.headroom)


def _border_json(row: BorderRow) -> dict[str, object]:
    return {
        "tensor": row.tensor,
        "scope": row.scope,
        "to": row.to,
        "nbytes": row.nbytes,
        "max_abs": plain_json(row.max_abs),
        "headroom": plain_json(row.headroom),
    }


def verified_json(verdict: FinalVerdict) -> dict[str, object]:
    """A verdict by its samples, as JSON values."""
    return {
        "level": verdict.level,
        "passed": verdict.passed,
        "samples": [
            {
                "id": sample.id,
                "held_out": sample.held_out,
                "passed": sample.passed,
                "failure": sample.failure,
            }
            for sample in verdict.samples
        ],
    }


def outputs_json(verdict: FinalVerdict) -> list[dict[str, object]]:
    """The outputs of each sample by name, as JSON values."""
    return [
        {output.name: _output(output, verdict.by_tolerance) for output in sample.outputs}
        for sample in verdict.samples
    ]


def _output(output: OutputTrial, by_tolerance: bool) -> dict[str, object]:
    """Without tolerances an error would be a share of one that nobody asked for."""
    found = output.comparison
    return {
        "passed": output.passed,
        "error": plain_json(output.error) if by_tolerance else None,
        "energy": plain_json(output.energy) if by_tolerance else None,
        "comparison": None if found is None else _comparison(found),
    }


def _comparison(found: Comparison) -> dict[str, object]:
    numbers = {
        "elements": found.elements,
        "mismatches": found.mismatches,
        "nan": found.a_nan,
        "inf": found.a_inf,
        "reference_nan": found.b_nan,
        "reference_inf": found.b_inf,
        "max_abs_error": found.max_abs_error,
        "max_abs_index": found.max_abs_index,
        "max_rel_error": found.max_rel_error,
        "max_rel_index": found.max_rel_index,
        "cosine": found.cosine,
        "norm_ratio": found.norm_ratio,
        "mse": found.mse,
    }
    return {name: plain_json(value) for name, value in numbers.items()}


def _trial(row: TrialRow) -> dict[str, object]:
    return {
        "number": row.number,
        "phase": row.phase,
        "parent": row.parent,
        "passed": row.passed,
        "error": plain_json(row.error),
        "energy": plain_json(row.energy),
        "runs": row.runs,
        "tested": ranges(row.tested),
        "fp32": ranges(row.fp32),
    }


def _evidence(row: UnitEvidence) -> dict[str, object]:
    return {
        "unit": row.unit,
        "nodes": list(row.nodes),
        "role": row.role,
        "cause": row.cause,
        "reason": row.reason,
        "value": plain_json(row.value),
        "operand": row.operand,
        "energy": plain_json(row.energy),
    }


def _kept_json(row: KeptNode) -> dict[str, object]:
    node = row.node
    return {
        "id": node.id,
        "name": node.name,
        "type": node.type,
        "scope": node.scope,
        "role": row.role,
        "reason": row.reason,
    }


def _unit(unit: Unit, sensitivity: Mapping[int, float]) -> dict[str, object]:
    return {
        "index": unit.index,
        "nodes": list(unit.ids),
        "scope": unit.scope,
        "label": unit.label,
        "cost": plain_json(unit.cost),
        "flops": plain_json(unit.flops),
        "sensitivity": plain_json(sensitivity.get(unit.index)),
    }
