"""Every number of manual mode against numpy on dumped tensors of trained models.

The dumps come from two plain sessions (the source, and the conversion lowered) that yield every
tensor at once, and from each node alone; nothing of the twin run is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, ValueInfoProto

import halve
from halve import ConvertOptions, ManualOptions, OutputTolerance, Tolerances
from halve.manual_types import ManualReport, OutputStatistics, RunStatistics
from halve.report.manual_record import manual_json
from halve.session import load, lower, read_samples, run

Arrays = dict[str, NDArray[Any]]
Values = tuple[NDArray[Any], NDArray[Any], int, int]
FLOAT16 = onnx.TensorProto.FLOAT16
LIMIT, LE = 65504.0, 2.0**-14
RTOL, ATOL = 1e-3, 1e-3


def dumped(model: ModelProto, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
    """Every tensor of the main graph, from one session."""
    copy = ModelProto()
    copy.CopyFrom(model)
    known = {item.name for item in copy.graph.output}
    names = {name for node in copy.graph.node for name in node.output if name} - known
    copy.graph.output.extend(ValueInfoProto(name=name) for name in sorted(names))
    session = load(copy, optimise=False)
    found = dict(zip((port.name for port in session.outputs), run(session, feeds), strict=True))
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in copy.graph.initializer}
    halves = {item.name for item in copy.graph.input if item.type.tensor_type.elem_type == FLOAT16}
    given = {n: a.astype(np.float16) if n in halves else a for n, a in feeds.items()}
    return constants | given | found


class Dump:
    """A model's tensors in both runs."""

    def __init__(self, path: Path, options: ConvertOptions, number: int = 0) -> None:
        sample = read_samples(path.parent)[number]
        self.source = onnx.load(path)
        drop_default_inputs(self.source)
        converted = halve.convert(path, options=options).model
        assert converted is not None
        self.lowered = lower(converted)
        self.makers = {o: n for n in self.lowered.graph.node for o in n.output}
        self.exact = dumped(self.source, sample.inputs)
        self.half = dumped(self.lowered, sample.inputs)

    def raw(self, name: str) -> NDArray[Any]:
        """A value of the 16-bit run before it is rounded."""
        maker = self.makers[name]
        rounds = maker.op_type == "Cast" and self.half[name].dtype == np.float16
        return self.half[maker.input[0] if rounds else name]

    def local(self, name: str) -> NDArray[Any]:
        """What the node makes of the exact values rounded as it reads them, rounded as it is."""
        maker = self.makers[name]
        if maker.op_type == "Cast" and ".lowered" in maker.name:
            maker = self.makers[maker.input[0]]
        if maker.op_type == "Constant":
            return self.half[name]
        feeds = {operand: self.operand(operand) for operand in maker.input if operand}
        slot = list(self.makers_outputs(maker)).index(name)
        weights = {n for n in feeds if self.is_weight(n)}
        return alone(self.lowered, maker, feeds, weights)[slot].astype(self.half[name].dtype)

    def makers_outputs(self, maker: NodeProto) -> list[str]:
        """The names of a node's outputs as they are stored."""
        casts = {n.input[0]: n.output[0] for n in self.lowered.graph.node
                 if n.op_type == "Cast" and ".lowered" in n.name}  # fmt: skip
        return [casts.get(o, o) if self.half[o].dtype == np.float32 else o for o in maker.output]

    def operand(self, name: str) -> NDArray[Any]:
        if name not in self.makers:
            return (
                self.half[name]
                if name not in self.exact or self.is_weight(name)
                else (self.exact[name].astype(self.half[name].dtype))
            )
        maker = self.makers[name]
        if maker.op_type == "Constant":
            return self.half[name]
        if maker.op_type != "Cast" or maker.input[0] not in self.half:
            return self.exact[name]
        low = maker.input[0]
        if ".lowered" in maker.name and self.half[low].dtype == np.float16:
            return self.exact[stem(low)].astype(np.float16).astype(np.float32)
        return self.exact[stem(name)].astype(self.half[name].dtype)

    def is_weight(self, name: str) -> bool:
        return any(t.name == name for t in self.lowered.graph.initializer)


def stem(name: str) -> str:
    return name.removesuffix("_float16").removesuffix("_float32")


def alone(
    model: ModelProto, node: NodeProto, feeds: Arrays, weights: set[str]
) -> list[NDArray[Any]]:
    single = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    single.graph.name = "alone"
    single.graph.node.append(node)
    for name in weights:  # constants take other kernels than inputs
        single.graph.initializer.append(onnx.numpy_helper.from_array(feeds[name], name))
    feeds = {name: array for name, array in feeds.items() if name not in weights}
    for name, array in feeds.items():
        code = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        single.graph.input.append(onnx.helper.make_tensor_value_info(name, code, None))
    outputs = [name for name in node.output if name]
    single.graph.output.extend(ValueInfoProto(name=name) for name in outputs)
    found = dict(zip(outputs, run(load(single, optimise=False), feeds), strict=True))
    return [found.get(name, np.zeros(0, np.float32)) for name in node.output]


def drop_default_inputs(model: ModelProto) -> None:
    model.ir_version = max(model.ir_version, 4)
    weights = {t.name for t in model.graph.initializer}
    kept = [item for item in model.graph.input if item.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def measured(path: Path, options: ConvertOptions) -> ManualReport:
    tolerances = Tolerances(OutputTolerance(RTOL, ATOL))
    sample = read_samples(path.parent)[0]
    return halve.measure(
        path, [sample], options=ManualOptions(convert=options, mode="raw", tolerances=tolerances)
    )


def check_run(found: RunStatistics | None, array: NDArray[Any], clip: int) -> None:
    assert found is not None
    with np.errstate(invalid="ignore"):
        size = np.abs(array.astype(np.float64))
    expected = (
        array.size,
        int(np.isnan(array).sum()),
        int(np.isinf(array).sum()),
        int((size >= LIMIT).sum()),
        int((size <= LE).sum()),
        clip,
    )
    got = (found.elements, found.nan, found.inf, found.ge, found.le, found.clip)
    assert got == expected


def finite(dump: Arrays, names: list[str]) -> bool:
    arrays = [dump[name] for name in names if name in dump]
    return all(bool(np.isfinite(a).all()) for a in arrays if a.dtype.kind == "f")


def origin(dump: Dump, name: str) -> str:
    """What was stored of an operand of the 16-bit run, before it was cast for its reader."""
    while (
        name in dump.makers
        and dump.makers[name].op_type == "Cast"
        and (".lowered" in dump.makers[name].name or dump.makers[name].name.startswith("Cast_"))
    ):
        cast = dump.makers[name]
        if ".lowered" in cast.name and dump.half[name].dtype == np.float16:
            break
        name = cast.input[0]
    return name


def check_output(dump: Dump, node: NodeProto, item: OutputStatistics) -> None:
    name = made = node.output[item.slot]
    if f"{name}_float16" in dump.half and item.dtype == "float16":  # a graph output, cast back
        made = f"{name}_float16"
    exact, stored = dump.exact[name], dump.half[made]
    assert item.dtype == stored.dtype.name
    sound = finite(dump.exact, [n for n in node.input if n])
    with np.errstate(invalid="ignore"):
        check_run(item.fp32, exact, int((np.abs(exact) > LIMIT).sum()) if sound else 0)
        check_run(item.fp16, stored, clipped(dump, made, stored, exact))
    check_total(item, stored, exact)
    check_local(dump, item, made, exact)


def clipped(dump: Dump, name: str, stored: NDArray[Any], exact: NDArray[Any]) -> int:
    maker = dump.makers[name]
    if maker.op_type == "Cast" and ".lowered" in maker.name:
        maker = dump.makers[maker.input[0]]
    if not finite(dump.half, [origin(dump, n) for n in maker.input if n]):
        return 0
    raw = dump.raw(name) if maker.op_type != "Cast" else stored
    limit = LIMIT if stored.dtype == np.float16 and raw is not stored else np.finfo(np.float32).max
    nan = 0 if np.isnan(exact).any() else int(np.isnan(stored).sum())
    return int((np.abs(raw) > limit).sum()) + nan


def check_total(item: OutputStatistics, stored: NDArray[Any], exact: NDArray[Any]) -> None:
    assert item.total is not None
    a, b = stored.astype(np.float64).ravel(), exact.astype(np.float64).ravel()
    with np.errstate(all="ignore"):
        assert item.total.mismatches == int((~np.isclose(a, b, rtol=RTOL, atol=ATOL)).sum())
        if np.isfinite(a).all() and np.isfinite(b).all():
            error = np.linalg.norm(a - b) / np.linalg.norm(b) if b.any() else 0.0
            assert item.total_error == pytest.approx(error, rel=1e-9)
            assert item.total.max_abs_error == np.abs(a - b).max(initial=0.0)
    assert item.passed == (item.total.mismatches == 0)


def check_local(dump: Dump, item: OutputStatistics, name: str, exact: NDArray[Any]) -> None:
    assert item.local is not None
    a, b = dump.local(name).astype(np.float64).ravel(), exact.astype(np.float64).ravel()
    if np.isfinite(a).all() and np.isfinite(b).all() and b.any():
        expected = np.linalg.norm(a - b) / np.linalg.norm(b)
        assert item.local_error == pytest.approx(expected, rel=1e-9, abs=1e-12), name


def check_model(path: Path, options: ConvertOptions) -> None:
    dump, report = Dump(path, options), measured(path, options)
    checked = 0
    assert not report.merged.unmeasured
    for row, node in zip(report.merged.nodes, dump.source.graph.node, strict=True):
        assert (row.type, row.id) == (node.op_type, report.merged.nodes.index(row))
        floats = [s for s, n in enumerate(node.output) if n and dump.exact[n].dtype == np.float32]
        assert [item.slot for item in row.outputs] == floats
        for item in row.outputs:
            if node.output[item.slot] in dump.half:
                check_output(dump, node, item)
                checked += 1
    assert checked > len(dump.source.graph.node) // 2
    check_model_outputs(dump, report)


def check_model_outputs(dump: Dump, report: ManualReport) -> None:
    for row in report.merged.model_outputs:
        a, b = dump.half[row.name].astype(np.float64), dump.exact[row.name].astype(np.float64)
        block = row.fp16_fp32
        assert block.comparison is not None
        assert block.mismatches == int((~np.isclose(a, b, rtol=RTOL, atol=ATOL)).sum())
        with np.errstate(all="ignore"):
            ratio = np.linalg.norm(a) / np.linalg.norm(b)
        assert block.comparison.norm_ratio == pytest.approx(ratio, nan_ok=True)
        assert row.fp16_golden is not None
        assert row.fp32_golden is not None


MODELS = ("dtln_1", "mnist_cntk", "yunet", "basic_pitch")


@pytest.mark.parametrize("name", MODELS)
def test_every_number_of_a_float16_model(name: str, trained_model_dir: Path) -> None:
    check_model(trained_model_dir / name / "model.onnx", ConvertOptions())


def test_every_number_of_a_mixed_model(trained_model_dir: Path) -> None:
    path = trained_model_dir / "dtln_1" / "model.onnx"
    count = len(onnx.load(path).graph.node)
    options = ConvertOptions(fp32_nodes=tuple(range(0, count, 3)), keep_io_types=True)
    check_model(path, options)


def test_nothing_is_different_where_every_node_is_float32(trained_model_dir: Path) -> None:
    path = trained_model_dir / "mnist_cntk" / "model.onnx"
    count = len(onnx.load(path).graph.node)
    options = ConvertOptions(fp32_nodes=tuple(range(count)), keep_io_types=True)
    report = measured(path, options)
    assert {item.total_error for node in report.merged.nodes for item in node.outputs} == {0.0}
    assert {item.local_error for node in report.merged.nodes for item in node.outputs} == {0.0}


def ratios(run: str, array: NDArray[Any], clip: int) -> dict[str, object]:
    """The fields of calc mode."""
    size = np.abs(array.astype(np.float64))
    return {
        f"{run}_ge_ratio": np.count_nonzero(size >= 1.0) / size.size,
        f"{run}_le_ratio": np.count_nonzero(size <= 1e-3) / size.size,
        f"{run}_clip_ratio": clip / size.size,
        f"{run}_check_nan": bool(np.isnan(size).any()),
    }


def counts(half: NDArray[Any], exact: NDArray[Any]) -> dict[str, object]:
    """The fields of raw mode, by numpy's own functions."""
    a, b = half.astype(np.float64), exact.astype(np.float64)
    exceed = int((~np.isclose(a, b, rtol=RTOL, atol=ATOL)).sum())
    product = np.linalg.norm(a) * np.linalg.norm(b)
    found: dict[str, object] = {
        "numpy_allclose": "pass" if np.allclose(a, b, rtol=RTOL, atol=ATOL) else "fail",
        "exceed_tol_count": exceed,
        "passed": exceed == 0,
        "cos_sim_value": pytest.approx(float(a @ b / product), rel=1e-9),
        "norm_rel": pytest.approx(float(np.linalg.norm(a) / np.linalg.norm(b)), rel=1e-9),
    }
    for lane, array in (("fp16", a), ("fp32", b)):
        found[f"{lane}_element_count"] = array.size
        found[f"{lane}_nan_count"] = int(np.isnan(array).sum())
        found[f"{lane}_inf_count"] = int(np.isinf(array).sum())
    return found


def check_row(
    row: Any, expected: list[tuple[NDArray[Any], NDArray[Any], int, int]], mode: str
) -> None:
    """A JSON row of one output against the values of one sample, or of several in a row."""
    half, exact = (np.concatenate([each[k].ravel() for each in expected]) for k in (0, 1))
    clips = [sum(each[k] for each in expected) for k in (2, 3)]
    wanted = (
        counts(half, exact)
        if mode == "raw"
        else ratios("fp16", half, clips[0]) | ratios("fp32", exact, clips[1])
    )
    assert {name: row[name] for name in wanted} == wanted


def values_of(dump: Dump, name: str) -> Values:
    """An output in both runs, and how many overflows originate there in each."""
    made = f"{name}_float16" if f"{name}_float16" in dump.half else name
    exact, stored = dump.exact[name], dump.half[made]
    return stored, exact, clipped(dump, made, stored, exact), int((np.abs(exact) > LIMIT).sum())


@pytest.mark.parametrize("mode", ["calc", "raw"])
def test_the_json_by_sample_and_merged(mode: str, trained_model_dir: Path) -> None:
    path = trained_model_dir / "mnist_cntk" / "model.onnx"
    dumps = [Dump(path, ConvertOptions(), number) for number in (0, 1)]
    tolerances = Tolerances(OutputTolerance(RTOL, ATOL))
    options = ManualOptions(mode=mode, tolerances=tolerances, ge_value_thres=1, le_value_thres=1e-3)
    record: Any = manual_json(halve.measure(path, read_samples(path.parent)[:2], options=options))
    checked = 0
    for number, node in enumerate(dumps[0].source.graph.node):
        for slot, row in enumerate(record["merged"]["op_statistic"][str(number)]["outputs"]):
            name = node.output[row["slot"]]
            found = [values_of(dump, name) for dump in dumps]
            check_row(row, found, mode)
            for rows, one in zip(record["op_statistic"], found, strict=True):
                check_row(rows[str(number)]["outputs"][slot], [one], mode)
            checked += 1
    assert checked >= 10
    samples = read_samples(path.parent)
    for rows, dump, sample in zip(record["model_outputs"], dumps, samples, strict=False):
        for name, blocks in rows.items():
            assert sample.outputs is not None
            arrays = {"fp16": dump.half[name], "fp32": dump.exact[name]}
            arrays["golden"] = sample.outputs[name]
            for block, found in blocks.items():
                wanted = counts(*(arrays[key].ravel() for key in block.split("_")))
                assert {key: found[key] for key in wanted} == wanted
