"""halve.simplify, and conversions and searches of the simplified model in the file's ids."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import halve
from halve import ConvertOptions, Plan, SearchOptions, SimplifyOptions
from halve.convert import convert as convert_alone
from halve.session.runtime import load, run
from halve.simplify import find_origins
from models import build, text_model

GENERATOR = np.random.default_rng(5)
SCALES = GENERATOR.uniform(0.5, 1.5, 4).astype(np.float32)


def make() -> ModelProto:
    """What folds, what fuses, and what stays: Conv and BatchNormalization, a computed shape."""
    model = text_model(
        """g (float[2, 3, 8, 8] x) => (float[2, 4, 64] y) {
            c = Conv<pads = [1, 1, 1, 1]>(x, w)
            b = BatchNormalization(c, s, o, m, v)
            i = Identity(b)
            r = Relu(i)
            k = Shape(r)
            p = Constant<value_ints = [2]>()
            h = Slice(k, zero, p)
            t = Constant<value_ints = [64]>()
            n = Concat<axis = 0>(h, t)
            y = Reshape(r, n)
        }""",
        weights={
            "w": GENERATOR.standard_normal((4, 3, 3, 3)).astype(np.float32),
            "s": SCALES,
            "o": SCALES - 1,
            "m": SCALES / 2,
            "v": SCALES,
            "zero": np.array([0], np.int64),
        },
    )
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    return model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(make(), path)
    return path


def types(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_it_folds_and_fuses(file: Path) -> None:
    target = file.with_name("simple.onnx")
    before = file.read_bytes()
    result = halve.simplify(file, target)
    assert types(onnx.load(target)) == ["Conv", "Relu", "Reshape"]
    assert (result.nodes_before, result.nodes_after) == (10, 3)
    assert result.op_types["BatchNormalization"] == (1, 0)
    assert result.origins == ((0, 1), (2, 3), (9,))
    assert result.removed == (4, 5, 6, 7, 8)
    assert result.random_samples
    assert max(row.error for row in result.outputs) < 1
    assert file.read_bytes() == before
    assert sorted(p.name for p in file.parent.iterdir()) == ["model.onnx", "simple.onnx"]
    x = GENERATOR.standard_normal((2, 3, 8, 8)).astype(np.float32)
    got, want = (run(load(p, optimise=False), {"x": x})[0] for p in (target, file))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_in_memory(file: Path) -> None:
    given = make()
    copy = given.SerializeToString()
    result = halve.simplify(given, skip_fuse_bn=True)
    assert result.target is None
    assert result.model is not None
    assert types(result.model) == ["Conv", "BatchNormalization", "Relu", "Reshape"]
    assert given.SerializeToString() == copy


def test_passes_are_skipped_by_name(file: Path) -> None:
    result = halve.simplify(file, skipped_optimizers=["fuse_bn_into_conv", "eliminate_identity"])
    assert result.model is not None
    assert "BatchNormalization" in types(result.model)
    with pytest.raises(
        halve.OptionError,
        match=r"no pass 'fuse_all'; allowed: .*eliminate_ident.*fuse_bn_into_conv",
    ):
        halve.simplify(file, skipped_optimizers=["fuse_all"])


def test_a_wrong_result_is_never_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison sees what an optimizer broke."""
    from halve.simplify import run as module

    def breaking(source: Path, target: Path, **_: object) -> None:
        model = onnx.load(source)
        broken = numpy_helper.from_array(SCALES * 1.01, "s")
        for tensor in model.graph.initializer:
            if tensor.name == "s":
                tensor.CopyFrom(broken)
        onnx.save(model, target)

    monkeypatch.setattr(module, "run_optimizer", breaking)
    target = file.with_name("simple.onnx")
    target.write_bytes(b"what was there")
    with pytest.raises(halve.VerdictError, match="output 'y' of sample 0 differs by"):
        halve.simplify(file, target)
    assert target.read_bytes() == b"what was there"


def test_what_fails(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(halve.OutputError, match="is the model of the source"):
        halve.simplify(file, file)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(halve.ModelError):
        halve.simplify(broken, tmp_path / "out.onnx")
    free = tmp_path / "free.onnx"
    onnx.save(text_model("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }"), free)
    with pytest.raises(halve.SampleError, match="shape"):
        halve.simplify(free)
    assert halve.simplify(free, samples={"x": np.ones((2, 4), np.float32)}).nodes_after == 1
    monkeypatch.setitem(sys.modules, "onnxsim", None)
    with pytest.raises(halve.BackendUnavailableError, match=r"extra halve\[simplify\]"):
        halve.simplify(file)


def test_convert_tells_ids_of_the_file(file: Path) -> None:
    target = file.with_name("half.onnx")
    options = ConvertOptions(simplify=SimplifyOptions(), op_block=("BatchNormalization",))
    result = halve.convert(file, target, options=options)
    assert [n.op_type for n in onnx.load(target).graph.node if n.op_type != "Cast"] == [
        "Conv", "Relu", "Reshape",
    ]  # fmt: skip
    rows = {node.id: node for node in result.plan.nodes}
    assert [rows[i].type for i in range(10)] == types(make())
    assert [rows[i].dtype for i in (0, 1, 2, 3, 9)] == ["float32"] * 2 + ["float16"] * 3
    assert rows[0].reason == "simplified into one node with another that is kept"
    assert rows[1].reason == "blocked by op type"
    assert rows[5].dtype == ""
    assert result.plan.model_hash == halve.convert(file).plan.model_hash
    assert result.plan.options["simplify"] is True
    assert not result.warnings


@pytest.mark.parametrize("named", [{"fp32_nodes": (3,)}, {"node_block": ("n3",)}])
def test_named_nodes_are_those_of_the_file(file: Path, named: dict[str, object]) -> None:
    plain = halve.convert(file, options=ConvertOptions(**named))  # type: ignore[arg-type]
    options = ConvertOptions(simplify=SimplifyOptions(), **named)  # type: ignore[arg-type]
    simple = halve.convert(file, options=options)
    for result in (plain, simple):
        assert [n.id for n in result.plan.nodes if "blocked by" in n.reason] == [3]
    assert not simple.warnings


def test_what_names_nothing_is_told(file: Path) -> None:
    options = ConvertOptions(simplify=SimplifyOptions(), op_block=("LSTM",), fp32_nodes=(99,))
    with pytest.raises(halve.OptionError, match="99"):
        halve.convert(file, options=options)
    options = ConvertOptions(simplify=SimplifyOptions(), op_block=("LSTM",))
    assert any("LSTM" in text for text in halve.convert(file, options=options).warnings)


def test_a_node_that_is_gone_is_told(tmp_path: Path) -> None:
    model = text_model(
        "g (float[4] x) => (float[4] y) <float[1] a = {2.0}> { b = Exp(a) y = Mul(x, b) }"
    )
    onnx.save(model, tmp_path / "m.onnx")
    options = ConvertOptions(simplify=SimplifyOptions(), fp32_nodes=(0,))
    result = halve.convert(tmp_path / "m.onnx", options=options)
    assert "nodes 0 were to stay float32, and were simplified away" in result.warnings
    row = result.plan.nodes[0]
    assert (row.dtype, row.reason) == ("", "simplified away")


def test_the_chain_alone_refuses(file: Path) -> None:
    with pytest.raises(halve.OptionError, match=r"simplify is for halve.convert"):
        convert_alone(file, options=ConvertOptions(simplify=SimplifyOptions()))


def overflowing() -> ModelProto:
    """Node 2, behind an Identity that goes, overflows."""
    return build_text(
        """g (float[4, 8] x) => (float[4, 8] y) {
            a = Identity(x)
            b = Relu(a)
            c = Mul(b, big)
            r = Relu(c)
            d = Mul(r, small)
            y = Tanh(d)
        }"""
    )


def build_text(graph: str) -> ModelProto:
    return text_model(
        graph, weights={"big": np.array(3e4, np.float32), "small": np.array(1e-5, np.float32)}
    )


def test_a_search_tells_ids_of_the_file(tmp_path: Path) -> None:
    """The workspace's plan, the result and a plan applied without simplifying all agree."""
    file, target = tmp_path / "m.onnx", tmp_path / "mixed.onnx"
    onnx.save(overflowing(), file)
    samples = [{"x": GENERATOR.standard_normal((4, 8)).astype(np.float32) * 3} for _ in range(2)]
    convert = ConvertOptions(simplify=SimplifyOptions(), keep_io_types=True)
    options = SearchOptions(convert=convert, workspace=tmp_path / "w")
    plain = halve.search(file, samples, options=SearchOptions(convert=ConvertOptions(
        keep_io_types=True)))  # fmt: skip
    found = halve.auto(file, target, samples, options=options)
    assert found.verdict.passed
    assert found.search.required == plain.required
    assert {2, 3, 4} >= set(found.search.required) != set()
    assert [node.type for node in found.search.plan.nodes] == types(overflowing())
    assert "simplified first, from 6 nodes to 5" in found.search.notes[-1]
    assert Plan.load(tmp_path / "w" / "plan.json") == found.search.plan
    verdict = halve.verify_plan(file, tmp_path / "w" / "plan.json", samples, options=SearchOptions(
        convert=ConvertOptions(keep_io_types=True)))  # fmt: skip
    assert verdict.passed
    again = halve.verify_plan(file, tmp_path / "w" / "plan.json", samples, options=options)
    assert again.passed


def test_origins() -> None:
    """Fused nodes stand for all of theirs; nodes made inside a fusion for what they feed."""
    file = text_model(
        """g (float[4, 4] x) => (float[4, 4] y) <float[4, 4] w, float[4] b> {
            m = MatMul(x, w)
            a = Add(m, b)
            y = Relu(a)
        }"""
    )
    simple = text_model(
        """g (float[4, 4] x) => (float[4, 4] y) <float[4, 4] w, float[4] b, int64[2] k> {
            new = Reshape(x, k)
            a = Gemm(new, w, b)
            y = Relu(a)
        }"""
    )
    assert find_origins(file, simple) == ((0, 1), (0, 1), (2,))


def test_bodies_keep_their_ids() -> None:
    model = text_model(
        """g (float[4] x, bool c) => (float[4] y) {
            z = Identity(x)
            y = If(c) <then_branch = t () => (float[4] r) { r = Relu(z) },
                       else_branch = e () => (float[4] r) { q = Neg(z) r = Exp(q) }>
        }"""
    )
    simple = ModelProto()
    simple.CopyFrom(model)
    assert find_origins(model, simple) == ((0,), (1,), (2,), (3,), (4,))


def test_the_trained_models(trained_model: Path) -> None:
    """Every real model is simplified, equal on its samples, and every node has an origin."""
    result = halve.simplify(trained_model / "model.onnx", samples=trained_model)
    assert result.nodes_after <= result.nodes_before
    assert all(result.origins)
    assert result.model is not None


def test_weights_beside_the_model(tmp_path: Path) -> None:
    model = build(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["m"]),
         onnx.helper.make_node("Identity", ["m"], ["y"])],
        {"x": (1, [2, 64])}, {"y": (1, [2, 64])},
        {"w": GENERATOR.standard_normal((64, 64)).astype(np.float32)},
    )  # fmt: skip
    file = tmp_path / "m.onnx"
    onnx.save(model, file, save_as_external_data=True, location="m.data", size_threshold=0)
    result = halve.simplify(file, tmp_path / "out" / ".." / "simple.onnx")
    assert result.nodes_after == 1
    assert (tmp_path / "m.data").is_file()


@pytest.mark.huge
def test_a_model_of_more_than_2_gib(tmp_path: Path) -> None:
    """Weights pass from file to file, in a conversion as well."""
    rows, count = 8192, 9
    names = [f"w{k}" for k in range(count)]
    nodes = [
        onnx.helper.make_node("MatMul", [f"v{k}", name], [f"v{k + 1}"])
        for k, name in enumerate(names)
    ]
    nodes += [onnx.helper.make_node("Identity", [f"v{count}"], ["y"])]
    model = build(nodes, {"v0": (1, [1, rows])}, {"y": (1, [1, rows])}, {})
    values = GENERATOR.standard_normal((rows, rows), np.float32) / np.float32(rows**0.5)
    with (tmp_path / "m.data").open("wb") as file:
        for number, name in enumerate(names):
            values[0, 0] = number  # equal ones would become one
            file.write(values.data)
            tensor = onnx.TensorProto(name=name, data_type=1, dims=[rows, rows])
            tensor.data_location = onnx.TensorProto.EXTERNAL
            place = {
                "location": "m.data",
                "offset": number * values.nbytes,
                "length": values.nbytes,
            }
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            model.graph.initializer.append(tensor)
    onnx.save(model, tmp_path / "m.onnx")
    result = halve.simplify(tmp_path / "m.onnx", tmp_path / "simple.onnx")
    assert (result.nodes_before, result.nodes_after) == (count + 1, count)
    assert all(row.error <= 1 for row in result.outputs)
    options = ConvertOptions(simplify=SimplifyOptions())
    done = halve.convert(tmp_path / "m.onnx", tmp_path / "half.onnx", options=options)
    assert done.summary.rows[0].counts.elements == rows * rows
    size = sum(path.stat().st_size for path in done.summary.files)
    assert size == pytest.approx(count * values.nbytes / 2, rel=0.01)
