"""What a kept journal is good for, and what a search that was cut short may say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

import halve
from halve import ConvertOptions, OutputTolerance, SearchOptions, Tolerances
from halve.auto import evaluators
from halve.errors import WorkspaceError
from halve.session.providers import CPU_PROVIDER, CUDA_PROVIDER
from halve.source import open_model
from halve.source.contents import contents_digest
from worked_example import worked_example

KEPT = ConvertOptions(keep_io_types=True)
SAMPLES = [{"x": np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 16)}]


def dense(weight: NDArray[np.float32]) -> ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weights(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((16, 64)).astype(np.float32)


def test_a_journal_of_other_weights_is_refused(tmp_path: Path) -> None:
    options = SearchOptions(convert=KEPT, workspace=tmp_path / "w")
    halve.search(dense(weights(1)), SAMPLES, options=options)
    halve.search(dense(weights(1)), SAMPLES, options=options)
    with pytest.raises(WorkspaceError, match="contents"):
        halve.search(dense(weights(2)), SAMPLES, options=options)


def test_contents_are_the_weights_wherever_they_lie(tmp_path: Path) -> None:
    first, second = dense(weights(1)), dense(weights(2))
    assert open_model(first).digest == open_model(second).digest
    assert contents_digest(open_model(first)) == contents_digest(open_model(dense(weights(1))))
    assert contents_digest(open_model(first)) != contents_digest(open_model(second))
    digests = []
    for number, model in enumerate((first, second)):
        path = tmp_path / str(number) / "m.onnx"
        path.parent.mkdir()
        onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
        digests.append(contents_digest(open_model(path)))
    assert digests[0] != digests[1]


def loose(reference: list[Any], mixed: list[Any]) -> bool:
    return len(reference) == len(mixed)


def strict(reference: list[Any], mixed: list[Any]) -> bool:
    return bool(np.array_equal(reference[0], mixed[0]))


def test_a_journal_of_another_validate_function_is_refused(tmp_path: Path) -> None:
    options = SearchOptions(convert=KEPT, workspace=tmp_path / "w", validate=strict)
    halve.search(worked_example(), SAMPLES, options=options)
    halve.search(worked_example(), SAMPLES, options=options)
    with pytest.raises(WorkspaceError, match="validate"):
        halve.search(worked_example(), SAMPLES, options=replace(options, validate=loose))
    with pytest.raises(WorkspaceError, match="validate"):
        halve.search(worked_example(), SAMPLES, options=replace(options, validate=None))


def test_a_journal_of_another_margin_is_refused(tmp_path: Path) -> None:
    options = SearchOptions(convert=KEPT, workspace=tmp_path / "w", margin=0.75)
    halve.search(worked_example(), SAMPLES, options=options)
    with pytest.raises(WorkspaceError, match=r"margin is 0.75 there and 0.8 here"):
        halve.search(worked_example(), SAMPLES, options=replace(options, margin=0.8))


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    options = SearchOptions(convert=KEPT, workspace=tmp_path / "w")
    halve.search(worked_example(), SAMPLES, options=options)
    journal = tmp_path / "w" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"halve_journal":2', b'"halve_journal":1'))
    with pytest.raises(WorkspaceError, match="halve_journal is 1 there and 2 here"):
        halve.search(worked_example(), SAMPLES, options=options)


def test_a_function_without_source_may_validate(tmp_path: Path) -> None:
    made: dict[str, Any] = {}
    exec("def accept(reference, mixed): return True", made)
    options = SearchOptions(convert=KEPT, workspace=tmp_path / "w", validate=made["accept"])
    assert halve.search(worked_example(), SAMPLES, options=options).verdict.passed


def test_what_a_budget_left_untried_is_undecided() -> None:
    tight = Tolerances(OutputTolerance(1e-2, 1e-3))
    options = SearchOptions(convert=KEPT, tolerances=tight, holdout=0)
    whole = halve.search(worked_example(), SAMPLES, options=options)
    cut = halve.search(worked_example(), SAMPLES, options=replace(options, max_trials=2))
    assert whole.complete
    assert not cut.complete
    assert cut.verdict.passed
    assert set(whole.required) < set(cut.required)
    causes = {node: row.cause for row in cut.evidence for node in row.nodes}
    assert "undecided" not in {row.cause for row in whole.evidence}
    untried = set(cut.required) - set(whole.required)
    assert {causes[node] for node in untried} == {"undecided"}


def test_children_on_the_processor_have_no_more_than_its_memory() -> None:
    limit = evaluators._child_memory(CPU_PROVIDER)
    assert limit is not None
    assert limit > 1 << 32
    assert evaluators._child_memory(CUDA_PROVIDER) is None
