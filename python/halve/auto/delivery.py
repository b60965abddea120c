"""What a search hands over: a set of units as a written model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from halve.auto.borders import border_of
from halve.auto.candidate import Judge, judge_settings
from halve.auto.job import Job
from halve.auto.records import Border
from halve.search_types import FinalVerdict, UnitSet
from halve.session.written import JudgeSettings, LoadingCheck
from halve.types import CastRow, ConvertResult

__all__ = ["Delivery"]


class Delivery:
    """A judged set of units: how to write it, and what its borders are.

    `fp32` is the set that was judged last, `result` and `verdict` are what came of it.
    """

    fp32: UnitSet
    result: ConvertResult
    verdict: FinalVerdict

    def __init__(self, job: Job, judge: Judge, name: str, *, checked: bool) -> None:
        """Nothing is judged yet; with `checked` it is seen whether what is written loads."""
        self._job = job
        self._judge = judge
        self._name = name
        self._checked = checked and _may_not_load(judge_settings(job.options))
        self._loading: LoadingCheck | None = None

    def __enter__(self) -> Delivery:
        """Nothing is begun by this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no loading in progress."""
        self._forget()

    def ids(self, fp32: UnitSet) -> tuple[int, ...]:
        """The plan ids of what is float32."""
        return tuple(sorted({*self._job.node_ids(fp32), *self._job.given_ids()}))

    def passes(self, fp32: UnitSet) -> bool:
        """Judge another set; the last one judged is what is written."""
        self.fp32 = fp32
        self._forget()
        # A large model is not loaded beside the judge's.
        written = self._check if self._checked and not self._job.large else None
        self.result, self.verdict = self._judge.candidate(self.ids(fp32), self._name, written)
        return self.verdict.passed

    def write(self, target: Path) -> tuple[ConvertResult, FinalVerdict]:
        """Write the model, which is judged again where it is not what was judged."""
        converted, verdict = self._judge.deliver(
            self.ids(self.fp32), target, self.result, self.verdict
        )
        if verdict is not self.verdict:
            self._forget()
        return converted, verdict

    def notes(self, target: Path) -> tuple[str, ...]:
        """What there is to say of loading the written file."""
        if self._checked and self._loading is None:
            self._check(target)
        return () if self._loading is None else self._loading.notes()

    def _check(self, path: Path) -> None:
        self._loading = LoadingCheck(path, judge_settings(self._job.options))

    def _forget(self) -> None:
        if self._loading is not None:
            self._loading.close()
        self._loading = None

    def borders(self, casts: Sequence[CastRow]) -> tuple[Border, ...]:
        """What the written model's casts lie between."""
        return tuple(border_of(cast, self._job) for cast in casts)


def _may_not_load(settings: JudgeSettings) -> bool:
    """Whether the file itself was not loaded as users would, but is meant to be."""
    return settings.level == "emulated" and settings.require_load
