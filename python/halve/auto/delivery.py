"""What a search hands over: a set of units as a written model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from halve.auto.borders import border_of
from halve.auto.candidate import Judge, judge_settings
from halve.auto.job import Job
from halve.auto.records import Border
from halve.search_options import SearchOptions
from halve.search_types import FinalVerdict, UnitSet
from halve.session.loading import LoadingCheck
from halve.types import CastRow, ConvertResult

__all__ = ["Delivery", "loading_check"]


class Delivery:
    """A judged set of units: how to write it, and what its borders are.

    `fp32` is the set that was judged last by `judge`; `result` and `verdict` are what came of it.
    """

    fp32: UnitSet
    result: ConvertResult
    verdict: FinalVerdict

    def __init__(self, job: Job, judge: Judge, name: str, ready: LoadingCheck | None) -> None:
        """Nothing is judged yet; `ready` sees whether what is written loads."""
        self._job = job
        self.judge = judge
        self._name = name
        self._checked = ready is not None
        self._ready = ready
        self._loading: LoadingCheck | None = None
        self._notes: tuple[str, ...] | None = None

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
        beside = self._checked and not self._job.large
        self.result, self.verdict = self.judge.candidate(
            self.ids(fp32),
            self._name,
            beside=self._check if beside else None,
        )
        return self.verdict.passed

    def write(self, target: Path) -> tuple[ConvertResult, FinalVerdict]:
        """Write the model, which is judged again where it is not what was judged.

        Raises:
            SessionError: ONNX Runtime does not load it, even without optimisations.
        """
        if self._loading is not None:
            self._notes = self._loading.notes()
            if self._notes:
                self.judge.check_loads(self.judge.path_of(self._name))
        converted, verdict = self.judge.deliver(
            self.ids(self.fp32), target, self.result, self.verdict
        )
        if verdict is not self.verdict:
            self._forget()
        return converted, verdict

    def notes(self, target: Path) -> tuple[str, ...]:
        """What there is to say of loading the written file."""
        if self._checked and self._notes is None:
            self._notes = self._check(target).notes()
        return self._notes or ()

    def _check(self, path: Path) -> LoadingCheck:
        library = self._job.options.convert.custom_op_library
        self._loading = self._ready or LoadingCheck(library)
        self._ready = None
        self._loading.begin(path)
        return self._loading

    def _forget(self) -> None:
        if self._loading is not None:
            self._loading.close()
        self._loading = self._notes = None

    def borders(self, casts: Sequence[CastRow]) -> tuple[Border, ...]:
        """What the written model's casts lie between."""
        return tuple(border_of(cast, self._job) for cast in casts)


@contextmanager
def loading_check(options: SearchOptions, *, written: bool) -> Iterator[LoadingCheck | None]:
    """A check that makes itself ready, for a model that is to be written and that users are meant
    to load, but that is judged by its lowered form; else None.
    """
    settings = judge_settings(options)
    if not (written and settings.level == "emulated" and settings.require_load):
        yield None
        return
    check = LoadingCheck(settings.custom_op_library)
    try:
        yield check
    finally:
        check.close()
