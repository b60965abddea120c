"""Which evaluator a search on CUDA takes: by the clock, and only one that decides the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halve import ConvertOptions, OutputTolerance, Sample, SearchOptions, Tolerances
from halve.auto import choice
from halve.auto.candidate import Judge
from halve.auto.choice import settle_evaluator
from halve.auto.evaluators import make_evaluator
from halve.auto.job import Job, prepare
from halve.auto.workspace import Workspace
from halve.errors import SessionError
from halve.search_types import OutputTrial, Trial, UnitSet
from halve.session import probe as probe_module
from halve.session.providers import CPU_PROVIDER, CUDA_PROVIDER, TENSORRT_PROVIDER
from halve.source import open_model
from models import mlp

MODEL = mlp((64, 64, 64, 8))
(INPUT,) = [item.name for item in MODEL.graph.input]
(OUTPUT,) = [item.name for item in MODEL.graph.output]
Y = np.zeros((2, 8), np.float32)
SAMPLES = [Sample(0, {INPUT: np.ones((2, 64), np.float32)})]


class Timed:
    """An evaluator whose runs take so long by a clock that only it moves."""

    now_s = 0.0

    def __init__(self, run_s: float, passes: Callable[[UnitSet], bool]) -> None:
        self.run_s, self.passes, self.closed = run_s, passes, False

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        Timed.now_s += self.run_s
        return Trial(sample, (OutputTrial("y", self.passes(fp32), 0.5, 0.5),))

    def close(self) -> None:
        self.closed = True


class Bench:
    """A job, and evaluators that stand for both kinds."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: dict[str, Any] = {}
        self.evaluators: dict[str, Any] = {
            "sessions": Timed(0.5, len),  # type: ignore[arg-type]  # any truth value does
            "probe": Timed(0.1, len),  # type: ignore[arg-type]  # any truth value does
        }
        self.workspace = Workspace(folder, kept=True)
        monkeypatch.setattr(choice, "make_evaluator", self._make)
        monkeypatch.setattr(choice, "_clock", lambda: Timed.now_s)

    def _make(self, job: Job, *_: object) -> Any:
        found = self.made[job.options.evaluator] = self.evaluators[job.options.evaluator]
        if isinstance(found, SessionError):
            raise found
        return found

    def chosen(self, **changes: Any) -> tuple[str, tuple[str, ...]]:
        convert = ConvertOptions(target=changes.pop("target", "cuda"), keep_io_types=True)
        options = SearchOptions(convert=convert, **({"provider": CUDA_PROVIDER} | changes))
        job = prepare(MODEL, SAMPLES, options, self.workspace)
        judge = Judge(
            MODEL, tuple(SAMPLES), frozenset(), (), 0.0, options, self.workspace, open_model(MODEL)
        )
        job, notes = settle_evaluator(job, judge, self.workspace)
        return job.options.evaluator, notes


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_the_faster_one_is_taken(bench: Bench) -> None:
    name, (note,) = bench.chosen()
    assert name == "probe"
    assert "measured faster" in note
    assert bench.made.keys() == {"sessions", "probe"}
    assert all(evaluator.closed for evaluator in bench.made.values())
    bench.evaluators["probe"].run_s = 0.6
    assert bench.chosen()[0] == "sessions"


def test_a_probe_that_decides_otherwise_is_not_taken(bench: Bench) -> None:
    bench.evaluators["probe"].passes = lambda fp32: False
    name, (note,) = bench.chosen()
    assert name == "sessions"
    assert "decides otherwise" in note


def test_a_probe_that_does_not_load_is_not_taken(bench: Bench) -> None:
    bench.evaluators["probe"] = SessionError("no kernel for If")
    name, (note,) = bench.chosen()
    assert name == "sessions"
    assert note.endswith("the probe does not load here: no kernel for If")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"evaluator": "probe"}, "probe"),
        ({"evaluator": "sessions"}, "sessions"),
        ({"isolate": True}, "sessions"),
        ({"provider": TENSORRT_PROVIDER}, "sessions"),
        ({"provider": CPU_PROVIDER}, "probe"),
        ({"target": "cpu"}, "sessions"),
    ],
)
def test_nothing_is_measured_where_there_is_no_choice(
    bench: Bench, changes: dict[str, Any], expected: str
) -> None:
    assert bench.chosen(**changes) == (expected, ())
    assert not bench.made


def test_a_search_that_is_resumed_keeps_its_evaluator(bench: Bench) -> None:
    journal = bench.workspace.journal
    assert journal is not None
    journal.write_text('{"halve_journal":1,"evaluator":"sessions"}\n')
    assert bench.chosen() == ("sessions", ())
    assert not bench.made
    journal.write_text("torn")
    assert bench.chosen()[0] == "probe"


def test_the_probe_runs_on_the_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    load = probe_module.load

    def noted(model: Any, *, provider: str, provider_options: Any, **rest: Any) -> Any:
        asked.append((provider, dict(provider_options)))
        return load(model, **rest)

    monkeypatch.setattr(probe_module, "load", noted)
    monkeypatch.setattr(
        probe_module, "check_canary", lambda *_, provider, **__: asked.append(provider)
    )
    workspace = Workspace(tmp_path, kept=False)
    options = SearchOptions(
        convert=ConvertOptions(keep_io_types=True),
        tolerances=Tolerances(OutputTolerance()),
        provider=CUDA_PROVIDER,
        provider_options={"k": "v"},
        devices=(3, 1),
        evaluator="probe",
    )
    job = prepare(MODEL, SAMPLES, options, workspace)
    judge = Judge(
        MODEL,
        tuple(SAMPLES),
        frozenset(),
        ({OUTPUT: Y},),
        0.0,
        options,
        workspace,
        open_model(MODEL),
    )
    make_evaluator(job, judge, workspace).close()
    assert asked == [CUDA_PROVIDER, (CUDA_PROVIDER, {"device_id": "3", "k": "v"})]
