"""The drop-in functions beside onnxconverter-common's."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto
from onnxconverter_common import auto_mixed_precision as original
from onnxconverter_common import auto_mixed_precision_model_path as original_path

from halve import auto_mixed_precision as ours
from halve.errors import OptionError, SampleError
from halve.session import Sample, judge, load, lower, run
from onnx_text import parse

OVERFLOWS = """g (float[4, 32] x) => (float[4, 32] y) <float k = {0.001}> {
    [a] m = ReduceMean<axes = [-1]>(x)
    [b] d = Sub(x, m)
    [c] p = Mul(d, d)
    [d] v = ReduceMean<axes = [-1]>(p)
    [e] s = Sqrt(v)
    [f] y = Div(d, s)
}"""
FEED = {"x": (1000 * np.random.default_rng(2).standard_normal((4, 32))).astype(np.float32)}


def is_float(model: ModelProto) -> bool:
    types = {item.type.tensor_type.elem_type for item in (*model.graph.input, *model.graph.output)}
    return types == {TensorProto.FLOAT}


@pytest.mark.parametrize(
    ("module", "name"),
    [(original, "auto_convert_mixed_precision"),
     (original_path, "auto_convert_mixed_precision_model_path")],
)  # fmt: skip
def test_signatures_are_the_originals(module: Any, name: str) -> None:
    wanted = inspect.signature(getattr(module, name)).parameters
    got = inspect.signature(getattr(ours, name)).parameters
    assert [(p.name, p.default) for p in got.values()] == [
        (p.name, p.default) for p in wanted.values()
    ]


def test_right_where_the_original_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """On the CPU the original's trials compute in float32, so squares never overflow there."""
    model = parse(OVERFLOWS)
    theirs = original.auto_convert_mixed_precision(
        model, FEED, rtol=1e-2, atol=1e-3, keep_io_types=True
    )
    mixed = ours.auto_convert_mixed_precision(model, FEED, rtol=1e-2, atol=1e-3, keep_io_types=True)
    samples = [Sample(0, FEED)]
    assert not judge(model, theirs, samples, rtol=1e-2, atol=1e-3, require_load=False).passed
    assert judge(model, mixed, samples, rtol=1e-2, atol=1e-3).passed
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("halve: ")]
    assert lines[0].startswith("halve: check: trial")
    assert len(lines) == len(set(lines))


def test_the_original_returns_infinities() -> None:
    """The same on a product beyond 65504 and back: with all float16 the result is infinite."""
    model = parse(
        "g (float[8] x) => (float[8] y) <float k = {1000}> "
        "{ a = Mul(x, k) b = Mul(a, k) y = Div(b, k) }"
    )
    feed = {"x": np.linspace(1, 2, 8, dtype=np.float32)}
    theirs = original.auto_convert_mixed_precision(model, feed, rtol=1e-2, keep_io_types=True)
    mixed = ours.auto_convert_mixed_precision(model, feed, rtol=1e-2, keep_io_types=True)
    wrong, right = (run(load(lower(m), optimise=False), feed)[0] for m in (theirs, mixed))
    assert np.isinf(wrong).all()
    assert np.allclose(right, 1000 * feed["x"], rtol=1e-2)


def test_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HALVE_QUIET", "1")
    ours.auto_convert_mixed_precision(parse(OVERFLOWS), FEED, rtol=1e-2, keep_io_types=True)
    assert capsys.readouterr() == ("", "")


def test_verbose_is_a_line_a_trial_and_quiet_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, lines = tmp_path / "m.onnx", []
    onnx.save(parse(OVERFLOWS), source)
    for verbose, quiet in ((False, "0"), (True, "0"), (True, "1")):
        monkeypatch.setenv("HALVE_QUIET", quiet)
        ours.auto_convert_mixed_precision_model_path(
            source, FEED, tmp_path / "out.onnx", "CPUExecutionProvider", rtol=1e-2, verbose=verbose
        )
        lines.append(len(capsys.readouterr().err.splitlines()))
    assert lines[1] > lines[0] > lines[2] == 0


@pytest.mark.parametrize("answer", [None, 1, "yes"])
def test_a_validate_fn_that_gives_no_bool(answer: object) -> None:
    with pytest.raises(OptionError, match="validate function returned"):
        ours.auto_convert_mixed_precision(parse(OVERFLOWS), FEED, lambda *_: answer)


def test_the_model_is_not_changed_and_io_becomes_float16() -> None:
    model = parse(OVERFLOWS)
    before = model.SerializeToString()
    mixed = ours.auto_convert_mixed_precision(model, FEED, rtol=5e-2, atol=5e-2)
    assert model.SerializeToString() == before
    assert not is_float(mixed)
    kept = ours.auto_convert_mixed_precision(model, FEED, rtol=5e-2, keep_io_types=True)
    assert is_float(kept)


def test_neither_tolerance_nor_function() -> None:
    with pytest.raises(ValueError, match="neither a validate function nor rtol or atol"):
        ours.auto_convert_mixed_precision(parse(OVERFLOWS), FEED)


def test_one_tolerance_takes_numpys_default_for_the_other() -> None:
    # An error of 5e-4 relative is inside rtol 1e-2, and far outside atol alone with rtol 1e-5.
    model = parse("g (float[8] x) => (float[8] y) <float k = {1.1}> { y = Mul(x, k) }")
    feed = {"x": np.linspace(1, 2, 8, dtype=np.float32)}
    by_rtol = ours.auto_convert_mixed_precision(model, feed, rtol=1e-2, keep_io_types=True)
    by_atol = ours.auto_convert_mixed_precision(model, feed, atol=1e-8, keep_io_types=True)
    assert "Cast" in {node.op_type for node in by_rtol.graph.node}
    assert "Cast" not in {node.op_type for node in by_atol.graph.node}


def test_validate_fn_alone_and_with_tolerances() -> None:
    model, seen = parse(OVERFLOWS), []

    def close(reference: list[NDArray[Any]], mixed: list[NDArray[Any]]) -> bool:
        seen.append((len(reference), len(mixed)))
        return bool(np.allclose(reference[0], mixed[0], rtol=1e-2, atol=1e-2))

    ours.auto_convert_mixed_precision(model, FEED, close, keep_io_types=True)
    assert set(seen) == {(1, 1)}
    ours.auto_convert_mixed_precision(model, FEED, close, rtol=1e-2, keep_io_types=True)


def test_a_list_of_feeds_must_all_pass() -> None:
    small = {"x": FEED["x"] / 1000}
    model = parse(OVERFLOWS)
    easy = ours.auto_convert_mixed_precision(model, small, rtol=2e-2, atol=1e-2, keep_io_types=True)
    both = ours.auto_convert_mixed_precision(
        model, [small, FEED], rtol=2e-2, atol=1e-2, keep_io_types=True
    )
    outputs = {
        name: run(load(lower(mixed), optimise=False), FEED)[0]
        for name, mixed in (("easy", easy), ("both", both))
    }
    (wanted,) = run(load(model), FEED)
    assert np.allclose(outputs["both"], wanted, rtol=2e-2, atol=1e-2)
    assert not np.allclose(outputs["easy"], wanted, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("provider", ["CPUExecutionProvider", ["CPUExecutionProvider"]])
@pytest.mark.parametrize("location", [None, "weights.bin"])
def test_by_path(provider: Any, location: str | None, tmp_path: Path) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "mixed.onnx"
    onnx.save(parse(OVERFLOWS), source)
    ours.auto_convert_mixed_precision_model_path(
        source, FEED, target, provider, location, rtol=1e-2, atol=1e-3
    )
    assert is_float(onnx.load(target))
    assert judge(source, target, [Sample(0, FEED)], rtol=1e-2, atol=1e-3).passed


def test_by_path_what_is_not_given_is_as_in_the_original(tmp_path: Path) -> None:
    """Errors of 7e-4 relative, or 2e-6 in all, are inside its 1e-3 and 1e-5, not numpy's."""
    source, target = tmp_path / "m.onnx", tmp_path / "new" / "mixed.onnx"
    graph = "g (float[8] x) => (float[8] y) <float k = {1.1}> { y = Mul(x, k) }"
    onnx.save(parse(graph), source)
    ones = np.linspace(1, 2, 8, dtype=np.float32)
    provider = [("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})]
    for scale, given in ((1, {}), (1e-3, {"rtol": 0.0}), (1, {"atol": 0.0})):
        ours.auto_convert_mixed_precision_model_path(
            source, {"x": scale * ones}, target, provider, **given
        )
        assert "Cast" in {node.op_type for node in onnx.load(target).graph.node}


def test_where_the_original_refuses_a_model_a_value_error_says_so() -> None:
    never = {"validate_fn": lambda *_: False}
    for module in (original, ours):
        with pytest.raises(ValueError, match="fail"):
            module.auto_convert_mixed_precision(parse(OVERFLOWS), FEED, **never)


@pytest.mark.parametrize("feed", [None, FEED["x"], [FEED["x"]]])
def test_what_is_no_feed_is_told(feed: Any) -> None:
    with pytest.raises(SampleError, match="sample"):
        ours.auto_convert_mixed_precision(parse(OVERFLOWS), feed, rtol=1e-2)


def test_external_data_in_and_out(tmp_path: Path) -> None:
    """The new weights are called after the target; those of the source stay as they are."""
    source, target = tmp_path / "in" / "m.onnx", tmp_path / "out" / "mixed.onnx"
    source.parent.mkdir()
    target.parent.mkdir()
    model = parse(
        "g (float[2, 600] x) => (float[2, 600] y) { p = Mul(x, x) s = Sqrt(p) y = Mul(s, k) }"
    )
    half = np.full(600, 0.5, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(half, "k"))
    onnx.save(model, source, save_as_external_data=True, location="w", size_threshold=0)
    before = (source.parent / "w").read_bytes()
    feed = {"x": np.linspace(1e3, 2e3, 1200, dtype=np.float32).reshape(2, 600)}
    ours.auto_convert_mixed_precision_model_path(
        source, feed, target, "CPUExecutionProvider", "any.data", None, 1e-2, 1e-3, False
    )
    assert judge(source, target, [Sample(0, feed)], rtol=1e-2, atol=1e-3).passed
    assert (source.parent / "w").read_bytes() == before
    data = {item.name: item.stat().st_size for item in target.parent.glob("*.data")}
    assert data == {"mixed.onnx.data": 2 * 600}


def test_a_feed_that_does_not_fit_writes_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "mixed.onnx"
    onnx.save(parse(OVERFLOWS), source)
    with pytest.raises(SampleError, match="'x' is missing"):
        ours.auto_convert_mixed_precision_model_path(
            source, {}, target, "CPUExecutionProvider", rtol=1e-2
        )
    assert [item.name for item in tmp_path.iterdir()] == ["m.onnx"]
