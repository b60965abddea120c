"""Nodes inside bodies and functions have statistics, over all iterations, in both runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

import halve
from halve import ConvertOptions, ManualOptions, Sample
from halve.manual_types import ManualReport, NodeStatistics
from halve.session import twin_walk
from onnx_text import parse

F32 = np.float32


def measured(model: ModelProto, *feeds: dict[str, Any], **fields: Any) -> ManualReport:
    fields.setdefault("convert", ConvertOptions(target="any"))
    fields.setdefault("exact_local", True)
    samples = [Sample(k, feed) for k, feed in enumerate(feeds)]
    return halve.measure(model, samples, options=ManualOptions(**fields))


def by_name(report: ManualReport) -> dict[str, NodeStatistics]:
    return {node.name: node for node in report.merged.nodes}


BRANCHES = """g (float[3] x, bool c) => (float[3] y) <float k = {3.0}> {
    [before] a = Mul(x, k)
    [choice] y = If (c) <
        then_branch = t () => (float[3] p) { [up] p = Mul(a, a) },
        else_branch = e () => (float[3] q) { [down] q = Add(a, k) }
    >
}"""


def test_the_branch_that_is_taken_is_measured() -> None:
    x = np.array([1, 200, 0.1], F32)
    nodes = by_name(measured(parse(BRANCHES), {"x": x, "c": np.array(True)}))
    (up,) = nodes["up"].outputs
    assert up.fp16 is not None
    assert up.fp32 is not None
    assert (up.fp16.elements, up.fp16.clip, up.fp16.inf, up.fp32.clip) == (3, 1, 1, 1)
    assert nodes["up"].scope == "1.then_branch"
    assert nodes["down"].outputs == ()
    assert "no branch" in nodes["down"].unmeasured
    assert nodes["choice"].outputs[0].fp16 is not None
    assert nodes["choice"].outputs[0].fp16.clip == 0
    assert nodes["choice"].outputs[0].fp16.inherited == 1


def test_both_branches_over_two_samples() -> None:
    x = np.array([1, 2, 0.1], F32)
    feeds = [{"x": x, "c": np.array(flag)} for flag in (True, False)]
    report = measured(parse(BRANCHES), *feeds)
    assert not report.merged.unmeasured
    assert [len(sample.unmeasured) for sample in report.samples] == [1, 1]


def test_runs_that_part_at_a_branch() -> None:
    text = """g (float[2] x, float lim) => (float[2] y) {
        [big] a = Mul(x, x)
        [top] m = ReduceMax<keepdims = 0>(a)
        [more] c = Greater(m, lim)
        [choice] y = If (c) <
            then_branch = t () => (float[2] p) { [up] p = Mul(a, a) },
            else_branch = e () => (float[2] q) { [down] q = Neg(a) }
        >
    }"""
    x = np.array([1.0, 1.0004], F32)  # rounds to 1 in float16
    nodes = by_name(measured(parse(text), {"x": x, "lim": np.array(1.0, F32)}))
    (up,), (down,) = nodes["up"].outputs, nodes["down"].outputs
    assert (up.fp32 is None, up.fp16 is None, up.total) == (False, True, None)
    assert (down.fp32 is None, down.fp16 is None, down.total) == (True, False, None)


LOOP = """g (float[2] x, int64 n) => (float[2] y, float[k, 2] z)
<bool go = {1}, float two = {2.0}> {
    [loop] y, z = Loop (n, go, x) <
        body = b (int64 i, bool g, float[2] s) => (bool h, float[2] t, float[2] u) {
            h = Identity(g)
            [double] t = Mul(s, two)
            [half] u = Div(t, two)
        }
    >
}"""


def test_a_loop_is_measured_over_its_iterations() -> None:
    x = np.array([1.0, 3000.1], F32)
    nodes = by_name(measured(parse(LOOP), {"x": x, "n": np.array(6, np.int64)}))
    (double,) = nodes["double"].outputs
    assert double.fp32 is not None
    assert double.fp16 is not None
    assert (double.fp32.runs, double.fp32.elements) == (6, 12)
    assert (double.fp32.clip, double.fp16.clip) == (2, 1)  # 96003, then 192006 from infinity
    assert double.fp16.inf == 2
    assert double.fp16.inherited == 1
    assert double.total is not None
    assert nodes["loop"].outputs[1].shape == (6, 2)


def test_a_loop_without_iterations() -> None:
    x = np.ones(2, F32)
    report = measured(parse(LOOP), {"x": x, "n": np.array(0, np.int64)})
    nodes = by_name(report)
    assert "iteration" in nodes["double"].unmeasured
    assert nodes["loop"].outputs[1].shape == (0, 2)
    assert report.passed


def test_a_scan_backwards_along_another_axis() -> None:
    text = """g (float[2] s, float[2, 5] x) => (float[2] e, float[5, 2] y) {
        [scan] e, y = Scan <num_scan_inputs = 1, scan_input_axes = [1],
            scan_input_directions = [1],
            body = b (float[2] a, float[2] v) => (float[2] o, float[2] w) {
                [sum] o = Add(a, v)
                [copy] w = Identity(o)
            }
        > (s, x)
    }"""
    x = np.arange(10, dtype=F32).reshape(2, 5)
    report = measured(parse(text), {"s": np.zeros(2, F32), "x": x})
    nodes = by_name(report)
    (total,) = nodes["sum"].outputs
    assert total.fp32 is not None
    assert (total.fp32.runs, total.fp32.maximum) == (5, 35.0)
    assert report.passed
    assert {row.fp16_fp32.error for row in report.merged.model_outputs} == {0.0}


FUNCTION = """<domain: "local", opset_import: ["" : 17]> square (a) => (b) {
    [times] b = Mul(a, a)
}"""


def test_calls_of_a_function_are_merged_in_its_body() -> None:
    text = """g (float[2] x) => (float[2] y) {
        [first] a = local.square(x) [second] y = local.square(a)
    }"""
    report = measured(parse(text, functions=FUNCTION), {"x": np.array([2, 300], F32)})
    nodes = by_name(report)
    (times,) = nodes["times"].outputs
    assert times.fp16 is not None
    assert times.fp16.runs == 2
    assert (times.fp16.clip, times.fp16.inherited) == (1, 1)
    assert nodes["times"].scope == "local::square"
    assert "nodes of its body" in nodes["first"].unmeasured


def test_nested_bodies_read_what_is_around_them() -> None:
    text = """g (float[2] x, int64 n, bool c) => (float[2] y) <bool go = {1}, float k = {0.1}> {
        [outer] w = Mul(x, k)
        y = Loop (n, go, x) <
            body = b (int64 i, bool g, float[2] s) => (bool h, float[2] t) {
                h = Identity(g)
                t = If (c) <
                    then_branch = p () => (float[2] u) { [inner] u = Add(s, w) },
                    else_branch = q () => (float[2] v) { [other] v = Sub(s, w) }
                >
            }
        >
    }"""
    feed = {"x": np.array([1, 2], F32), "n": np.array(3, np.int64), "c": np.array(True)}
    nodes = by_name(measured(parse(text), feed))
    (inner,) = nodes["inner"].outputs
    assert inner.fp32 is not None
    assert inner.fp32.runs == 3
    assert 0 < inner.local_error < inner.total_error < 1e-2


def test_bodies_of_a_trained_model(trained_model_dir: Any) -> None:
    folder = trained_model_dir / "silero_vad_v3"
    report = halve.measure(folder / "model.onnx", halve.read_samples(folder)[:1])
    assert {node.id for node in report.over_limit()}
    assert len(report.merged.unmeasured) < 5
    assert all(node.unmeasured for node in report.merged.nodes if node.id in
               {n.id for n in report.merged.unmeasured})  # fmt: skip


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_feedback_keeps_a_state_for_each_run(half: str) -> None:
    text = """g (float[2] x, float[2] s) => (float[2] y, float[2] t) <float k = {0.9}> {
        [decay] d = Mul(s, k) [sum] t = Add(d, x) y = Identity(t)
    }"""
    x = np.ones((50, 2), F32)
    options = ConvertOptions(dtype=half, target="any")
    report = measured(
        parse(text), {"x": x, "s": np.zeros(2, F32)}, convert=options, feedback=(("t", "s"),)
    )
    (total,) = by_name(report)["sum"].outputs
    assert total.fp16 is not None
    assert total.fp16.runs == 50
    assert total.dtype == half
    assert total.total_error > total.local_error  # errors gather in the state


EARLY = """g (float[4] x, bool c) => (float[4] y) <float k = {2.0}> {
    [one] a = Mul(x, k)
    [two] b = Mul(x, a)
    [choice] y = If (c) <
        then_branch = t () => (float[4] p) { [inner] p = Mul(x, k) },
        else_branch = e () => (float[4] q) { [other] q = Add(b, k) }
    >
}"""


@pytest.mark.parametrize("mode", ["calc", "raw"])
def test_what_an_input_holds_originates_nowhere(mode: str) -> None:
    """The input itself is long gone when its later readers are measured."""
    x = np.array([1, 2, np.nan, np.inf], F32)
    feeds = {"x": x, "c": np.array(True)}
    report = measured(parse(EARLY), feeds, mode=mode, exact_local=None)
    for node in report.merged.nodes:
        for item in node.outputs:
            assert item.fp16 is not None
            assert (item.fp16.clip, item.fp16.inherited) == (0, 2), node.name


def test_what_is_not_kept_is_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.array([1, 200, 0.1], F32)
    feeds = [{"x": x * k, "c": np.array(True)} for k in (1, 2, 3)]
    loads: list[object] = []
    load = twin_walk.load

    def counted(*args: Any, **keywords: Any) -> Any:
        loads.append(args)
        return load(*args, **keywords)

    monkeypatch.setattr(twin_walk, "load", counted)
    kept = measured(parse(BRANCHES), *feeds)
    once = len(loads)
    monkeypatch.setattr(twin_walk, "_KEPT_BYTES", -(1 << 30))
    again = measured(parse(BRANCHES), *feeds)
    assert len(loads) - once > once
    assert again.samples == kept.samples


def test_a_node_that_the_opset_makes_several_of() -> None:
    """Raised to opset 13, a Softmax over several axes is one among a Flatten and a Reshape."""
    text = """g (float[2, 3, 4] x) => (float[2, 3, 4] y) {
        [twice] a = Add(x, x)
        [soft] b = Softmax<axis = 1>(a)
        [last] y = Mul(b, x)
    }"""
    x = np.linspace(-3.0, 3.0, 24, dtype=F32).reshape(2, 3, 4)
    convert = ConvertOptions(target="any", dtype="bfloat16", keep_io_types=True)
    nodes = by_name(measured(parse(text, opset=9), {"x": x}, convert=convert))
    flat = np.exp(2 * x.reshape(2, 12).astype(np.float64))
    most = (flat / flat.sum(axis=1, keepdims=True)).max()
    (soft,) = nodes["soft"].outputs
    assert soft.fp32 is not None
    assert soft.fp32.max_abs == pytest.approx(most, rel=1e-6)
    assert soft.local is not None
    assert 0 < soft.local_error < 0.01
    assert nodes["last"].outputs[0].total is not None
