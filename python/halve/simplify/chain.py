"""A conversion or a search of the simplified model, told in the ids of the file given.

1. What the options name (ids, op types, names, a plan) is looked up in the file, and holds for the
   simplified nodes that stand for it; op types and names are looked up in the simplified model too.
2. A plan has a row for every node of the file: the decision for the simplified node that stands
   for it. Of several such nodes a float32 one decides.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from halve.convert import NO_SUCH_OPS, convert, plan_model
from halve.files import given_path
from halve.options import ConvertOptions, SimplifyOptions
from halve.plan import analyse
from halve.session.samples import Sample
from halve.simplify.run import Made, make_simplified
from halve.source.scopes import iter_nodes
from halve.types import CastRow, ConvertResult, Plan, PlanNode

__all__ = ["StandIn", "convert_simplified", "simplified_model"]

_Path = str | os.PathLike[str]
_GONE = "simplified away"
_JOINED = "simplified into one node with another that is kept"
_UNMATCHED = (NO_SUCH_OPS, "no node is called ")


@dataclass(frozen=True, slots=True)
class StandIn:
    """A file that stands for the one given (simplified, say), and what its nodes are in that one.

    `samples` have golden outputs: the file's own, so that what is judged on them is judged against
    the file given. `options` are those for this model. `plan` is the file's, without the
    decisions for this model. `warnings` are about what the options name.
    """

    path: Path
    origins: tuple[tuple[int, ...], ...]
    samples: tuple[Sample, ...]
    options: ConvertOptions
    plan: Plan
    source_nbytes: int
    warnings: tuple[str, ...]
    scopes: Mapping[str, str]

    def file_ids(self, ids: Iterable[int]) -> tuple[int, ...]:
        """The ids in the file of what these nodes stand for: nodes with float operands,
        where there are any.
        """
        found = sorted({number for own in ids for number in self.origins[own]})
        floating = [number for number in found if self.plan.nodes[number].dtype]
        return tuple(floating or found)

    def file_plan(self, plan: Plan) -> Plan:
        """A plan of this model as one of the file (rule 2)."""
        rows: dict[int, list[PlanNode]] = {}
        for row in plan.nodes:
            for number in self.origins[row.id]:
                rows.setdefault(number, []).append(row)
        nodes = tuple(self._row(own, rows.get(own.id, ())) for own in self.plan.nodes)
        options = {**plan.options, "simplify": True}
        return replace(plan, model_hash=self.plan.model_hash, options=options, nodes=nodes)

    def file_casts(self, casts: Sequence[CastRow]) -> tuple[CastRow, ...]:
        """Casts with the scopes of the file."""
        return tuple(replace(c, scope=self.scopes.get(c.scope, c.scope)) for c in casts)

    def file_result(self, result: ConvertResult) -> ConvertResult:
        """A conversion of this model as one of the file."""
        own = set(self.warnings)
        found = [w for w in result.warnings if not w.startswith(_UNMATCHED) or w in own]
        named = [w for w in self.warnings if not w.startswith(_UNMATCHED)]
        return replace(
            result,
            plan=self.file_plan(result.plan),
            casts=self.file_casts(result.casts),
            source_nbytes=self.source_nbytes,
            warnings=(*named, *found),
        )

    def _row(self, own: PlanNode, rows: Sequence[PlanNode]) -> PlanNode:
        if not own.dtype:
            return own
        if not rows:
            return replace(own, dtype="", operands={}, reason=_GONE)
        row = max(rows, key=lambda item: (item.dtype == "float32", item.dtype != ""))
        same = len(self.origins[row.id]) == 1 and row.type == own.type
        reason = row.reason
        if row.dtype == "float32" and "blocked by" in reason:
            reason = own.reason if "blocked by" in own.reason else _JOINED
        operands = row.operands if same else {}
        return replace(own, dtype=row.dtype, operands=operands, reason=reason)


def convert_simplified(
    source: _Path | ModelProto, target: _Path | None, options: ConvertOptions
) -> ConvertResult:
    """Simplify as `options.simplify` says, and convert; plan and report are in the file's ids.

    Raises:
        HalveError: as `halve.simplify` and `halve.convert` raise; nothing is written then.
    """
    path = None if target is None else given_path(target, what="the new model")
    with simplified_model(source, options, target=path) as made:
        return made.file_result(convert(made.path, path, options=made.options))


@contextmanager
def simplified_model(
    source: _Path | ModelProto,
    options: ConvertOptions,
    *,
    target: Path | None = None,
    feedback: Sequence[tuple[str, str]] = (),
) -> Iterator[StandIn]:
    """The simplified model, compared with its source, in a folder that is gone afterwards.

    `options.simplify` says how and on which samples.

    Raises:
        HalveError: as `halve.simplify` raises, or the options do not fit the file.
    """
    with tempfile.TemporaryDirectory(prefix="halve-simplify-") as folder:
        made = make_simplified(
            source,
            Path(folder),
            options.simplify or SimplifyOptions(),
            target=target,
            library=options.custom_op_library,
            allow_links=options.allow_links,
            feedback=feedback,
        )
        yield _told(made, replace(options, simplify=None))


def _told(made: Made, options: ConvertOptions) -> StandIn:
    """Rule 1."""
    analysis = analyse(made.source.proto, options.type_oracle)
    plan, warnings = plan_model(made.source, analysis, options)
    # A node without float operands has nothing to keep.
    named = {node.id for node in plan.nodes if node.dtype and "blocked by" in node.reason}
    kept = tuple(own for own, ids in enumerate(made.origins) if named & {*ids})
    standing = {number for ids in made.origins for number in ids}
    gone = sorted(named - standing)
    if gone:
        numbers = ", ".join(map(str, gone))
        warnings.append(f"nodes {numbers} were to stay float32, and were simplified away")
    return StandIn(
        path=made.path,
        origins=made.origins,
        samples=made.samples,
        options=replace(options, plan=None, fp32_nodes=kept),
        plan=plan,
        source_nbytes=made.source.nbytes,
        warnings=tuple(warnings),
        scopes=_scopes(made),
    )


def _scopes(made: Made) -> dict[str, str]:
    """The scopes of the simplified model, as ids of the file name them."""
    own = {number: path for number, path, _ in iter_nodes(made.source.proto)}
    found: dict[str, str] = {}
    for number, path, _ in iter_nodes(made.simplified.proto):
        for origin in made.origins[number]:
            found.setdefault(path, own[origin])
    return found
