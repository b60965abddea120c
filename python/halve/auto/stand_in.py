"""A search on a file that stands for the one given, told in the ids of the latter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from halve.auto.records import AutoResult
from halve.search_options import SearchOptions
from halve.search_types import SearchResult, Unit, UnitNode
from halve.session.samples import Sample
from halve.simplify import StandIn

__all__ = ["StandInJob"]


@dataclass(frozen=True, slots=True)
class StandInJob:
    """What to search in place of the file given, and how to tell what was found.

    `note` says why, where no warning of the model does.
    """

    model: StandIn
    options: SearchOptions
    workspace: Path | None
    note: str = ""

    @property
    def path(self) -> Path:
        """The file that is searched."""
        return self.model.path

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples, with the file's own outputs where they brought none."""
        return self.model.samples

    def told(self, result: SearchResult) -> SearchResult:
        """The result in the file's ids; so is the plan that the workspace keeps."""
        plan = self.model.file_plan(result.plan)
        if self.workspace is not None:
            plan.save(self.workspace / "plan.json")
        return replace(
            result,
            plan=plan,
            required=self.model.file_ids(result.required),
            carried=self.model.file_ids(result.carried),
            given=self.model.file_ids(result.given),
            units=tuple(self._unit(unit) for unit in result.units),
            evidence=tuple(
                replace(row, nodes=self.model.file_ids(row.nodes)) for row in result.evidence
            ),
            warnings=(*self.model.warnings, *result.warnings),
            notes=(*result.notes, *filter(None, (self.note,))),
        )

    def told_auto(self, result: AutoResult) -> AutoResult:
        """The same for a model that was written."""
        scopes = self.model.scopes
        return replace(
            result,
            search=self.told(result.search),
            convert=self.model.file_result(result.convert),
            borders=tuple(
                replace(row, scope=scopes.get(row.scope, row.scope)) for row in result.borders
            ),
        )

    def _unit(self, unit: Unit) -> Unit:
        nodes: list[UnitNode] = []
        for node in unit.nodes:
            nodes += [replace(node, id=number) for number in self.model.file_ids([node.id])]
        scope = self.model.scopes.get(unit.scope, unit.scope)
        return replace(unit, nodes=tuple(nodes), scope=scope)
