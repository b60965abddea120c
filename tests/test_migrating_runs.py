"""Every row of the tables in docs/migrating.md, run: the replacement does what the row says."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import halve
from halve import ConvertOptions, auto_mixed_precision, float16
from halve.cli.main import main
from halve.from_torch import export_torch
from halve.mix_precision import AutoMixPrecision
from onnx_text import BFLOAT16, FLOAT, FLOAT16, io_types, ops, parse, weights

PAGE = (Path(__file__).parents[1] / "docs" / "migrating.md").read_text("utf-8")
ORT = "ONNX Runtime's `transformers.float16`"
NET = """g (float[2] x) => (float[2] y) <float[2] w = {1.5, 70000}> {
    [first] a = Mul(x, w) [second] b = Tanh(a) [third] y = Exp(b)
}"""
DASH = "\N{EN DASH} "  # before the options of the function above
HEADS = {
    "onnxconverter-common", "`onnxruntime.transformers.float16`", "AutoCast", "onnxmltools",
    "onnxsim", "TopsIDEAS", "PyTorch",
}  # fmt: skip
X = np.array([0.5, -0.25], np.float32)
SAMPLE = {"x": X}

Check = Callable[[Path], None]
CHECKS: dict[tuple[str, str], Check] = {}


def rows() -> list[tuple[str, str]]:
    """(section, first cell) of every row of the tables."""
    found, section = [], ""
    for line in PAGE.splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| "):
            cell = re.split(r"(?<!\\)\|", line)[1]
            found.append((section, cell.strip().removeprefix(DASH)))
    return [row for row in found if row[1] not in HEADS]


def row(section: str, *starts: str) -> Callable[[Check], Check]:
    """Register a check for the rows whose first cell begins so."""

    def register(check: Check) -> Check:
        for start in starts:
            (cell,) = {c for s, c in rows() if s == section and c.startswith(start)}
            assert (section, cell) not in CHECKS
            CHECKS[section, cell] = check
        return check

    return register


def types(**options: Any) -> dict[str, str]:
    result = halve.convert(parse(NET), options=ConvertOptions(**options))
    return {node.name: node.dtype for node in result.plan.nodes}


def model_of(source: ModelProto, **options: Any) -> ModelProto:
    model = halve.convert(source, options=ConvertOptions(**options)).model
    assert model is not None
    return model


OCC = "onnxconverter-common"


@row(OCC, "`float16.convert_float_to_float16(model", "`disable_shape_infer", "`check_fp16_ready")
def _drop_in(tmp_path: Path) -> None:
    onnx.save(parse(NET), tmp_path / "m.onnx")
    done = float16.convert_float_to_float16(parse(NET), disable_shape_infer=True)
    assert weights(done) == {"w": FLOAT16}
    assert float16.convert_float_to_float16(str(tmp_path / "m.onnx")) == done
    with pytest.raises(ValueError, match="float16"):
        float16.convert_float_to_float16(done, check_fp16_ready=True)


@row(OCC, "`keep_io_types=False`")  # of both functions
def _keep_io(_: Path) -> None:
    done = float16.convert_float_to_float16(parse(NET), keep_io_types=["y"])
    assert io_types(done) == {"x": FLOAT16, "y": FLOAT}
    mixed = auto_mixed_precision.auto_convert_mixed_precision(
        parse(NET), SAMPLE, rtol=1e-2, atol=1e-2, keep_io_types=True
    )
    assert io_types(mixed) == {"x": FLOAT, "y": FLOAT}


@row(OCC, "`min_positive_val=1e-7`")
def _bounds(_: Path) -> None:
    done = float16.convert_float_to_float16(parse(NET), 1e-7, 1e4)
    assert numpy_helper.to_array(done.graph.initializer[0]).tolist() == [1.5, 1e4]


@row(OCC, "`op_block_list=None`, `node")
def _blocks(_: Path) -> None:
    done = float16.convert_float_to_float16(
        parse(NET), op_block_list=["Tanh"], node_block_list=["first"]
    )
    assert weights(done) == {"w": FLOAT}
    assert ops(done)["Cast"] == 2


@row(OCC, "`float16.convert_float_to_float16_model_path")
def _model_path(tmp_path: Path) -> None:
    onnx.save(parse(NET), tmp_path / "m.onnx")
    done = float16.convert_float_to_float16_model_path(str(tmp_path / "m.onnx"))
    assert weights(done) == {"w": FLOAT16}
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@row(OCC, "`float16.convert_np_to_float16", "`float16.convert_tensor", "`float16.DEFAULT")
def _parts(_: Path) -> None:
    assert float16.convert_np_to_float16(np.float32(2e4)).item() == 1e4
    tensor = numpy_helper.from_array(X)
    assert float16.convert_tensor_float_to_float16(tensor).data_type == FLOAT16
    assert len(float16.DEFAULT_OP_BLOCK_LIST) == 28


@row(OCC, "`float16.remove_identity")
def _passes(_: Path) -> None:
    net = parse("g (float[2] x) => (float[2] y) { y = Exp(b) b = Cast<to = 1>(a) a = Exp(x) }")
    done = model_of(net)
    assert [node.op_type for node in done.graph.node] == ["Exp", "Exp"]


@row(OCC, "`auto_mixed_precision.auto_conv", "`feed_dict`", "`validate_fn", "`rtol=None`")
def _auto(_: Path) -> None:
    done = auto_mixed_precision.auto_convert_mixed_precision(
        parse(NET), [SAMPLE, SAMPLE], validate_fn=lambda a, b: True, rtol=1e-2, atol=1e-2
    )
    assert io_types(done) == {"x": FLOAT16, "y": FLOAT16}


@row(
    OCC,
    "`auto_mixed_precision_model_path.auto",
    "`input_feed`",
    "`target_model_path`",
    "`location=None`",
    "`verbose",
)
def _auto_path(tmp_path: Path) -> None:
    onnx.save(parse(NET), tmp_path / "m.onnx")
    auto_mixed_precision.auto_convert_mixed_precision_model_path(
        str(tmp_path / "m.onnx"), SAMPLE, str(tmp_path / "out.onnx"), ["CPUExecutionProvider"],
        location="any", customized_validate_func=None, rtol=1e-3, atol=1e-5, keep_io_types=True,
        verbose=True,
    )  # fmt: skip
    assert io_types(onnx.load(tmp_path / "out.onnx")) == {"x": FLOAT, "y": FLOAT}


@row(ORT, "`convert_float_to_float16(model", "`disable_shape_infer")
def _native(tmp_path: Path) -> None:
    onnx.save(parse(NET), tmp_path / "m.onnx")
    assert weights(model_of(parse(NET))) == {"w": FLOAT16}
    halve.convert(tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert weights(onnx.load(tmp_path / "out.onnx")) == {"w": FLOAT16}


@row(ORT, "`min_positive_val", "`max_finite_val")
def _native_bounds(_: Path) -> None:
    net = parse(NET.replace("1.5", "0.00000001"))
    done = model_of(net, min_positive=5.96e-08, max_finite=65504.0)
    assert numpy_helper.to_array(done.graph.initializer[0]).tolist() == [2.0**-24, 65504]


@row(ORT, "`keep_io_types")
def _native_io(_: Path) -> None:
    assert io_types(model_of(parse(NET), keep_io_types=("y",))) == {"x": FLOAT16, "y": FLOAT}


@row(ORT, "`op_block_list", "`node_block_list", "`DEFAULT_OP_BLOCK_LIST")
def _native_blocks(_: Path) -> None:
    theirs = pytest.importorskip("onnxruntime.transformers.float16")
    names = tuple(theirs.DEFAULT_OP_BLOCK_LIST)
    # Two names in ONNX Runtime 1.31; older releases differ by the first alone.
    differing = {*names} ^ {*float16.DEFAULT_OP_BLOCK_LIST}
    assert {"Resize"} <= differing <= {"Resize", "TreeEnsemble"}
    done = types(op_block=(*names, "Tanh"), node_block=(re.escape("first"),))
    assert done == {"first": "float32", "second": "float32", "third": "float16"}


@row(ORT, "`force_fp16_initializers")
def _half_weights(_: Path) -> None:
    options: dict[str, Any] = {"op_block": ("Mul",)}
    assert weights(model_of(parse(NET), half_weights=False, **options)) == {"w": FLOAT}
    assert weights(model_of(parse(NET), half_weights=True, **options)) == {"w": FLOAT16}


@row(ORT, "`force_fp16_inputs")
def _force_inputs(_: Path) -> None:
    text = """g (float[1,4,4,8] x) => (float[1,4,4,8] y) <float[8] g = {1,1,1,1,1,1,1,1}> {
        y = com.microsoft.GroupNorm<activation = 0, groups = 2>(x, g, g)
    }"""
    net = parse(text)
    net.opset_import.add(domain="com.microsoft", version=1)
    assert weights(model_of(net, op_half=("GroupNorm",))) == {"g": FLOAT16}


@row(ORT, "`use_bfloat16_as_blocked")
def _three_types(_: Path) -> None:
    first = model_of(parse(NET), op_block=("Mul", "Tanh"))
    done = model_of(first, dtype="bfloat16")
    assert weights(done) == {"w": BFLOAT16}
    assert io_types(done) == {"x": FLOAT16, "y": FLOAT16}
    assert ops(done)["Cast"] == 2
    onnx.checker.check_model(done, full_check=True)


@row(ORT, "`convert_np_to_float16", "`convert_tensor_float", "`float_to_float16_max_diff")
def _arrays(_: Path) -> None:
    cast, counts = halve.cast(X * 1e6, "float16", min_positive=5.96e-08, max_finite=65504.0)
    assert cast.tolist() == [65504, -65504]
    assert counts.max_abs_error > 0
    tensor = numpy_helper.from_array(X)
    done = float16.convert_tensor_float_to_float16(tensor, 5.96e-08, 65504.0)
    assert done.data_type == FLOAT16


@row(ORT, "`OnnxModel.convert")
def _onnx_model(_: Path) -> None:
    assert io_types(model_of(parse(NET), keep_io_types=True)) == {"x": FLOAT, "y": FLOAT}


CAST = "ModelOpt AutoCast"


@row(CAST, "`onnx_path`", "`providers`", "`use_standalone", "`init_conversion", "`--log_level`")
def _command(tmp_path: Path) -> None:
    onnx.save(parse(NET), tmp_path / "m.onnx")
    files = [str(tmp_path / "m.onnx"), str(tmp_path / "out.onnx")]
    assert main(["convert", *files, "--quiet", "--target", "cpu"]) == 0
    steps: list[Any] = []
    halve.convert(*files, options=ConvertOptions(progress=steps.append))
    assert steps


@row(CAST, "`low_precision_type", "`opset`")
def _bfloat16(_: Path) -> None:
    done = model_of(parse(NET), dtype="bfloat16", opset=22)
    assert weights(done) == {"w": BFLOAT16}
    assert done.opset_import[0].version == 22


@row(CAST, "`nodes_to_exclude`", "`op_types_to_exclude`", "`keep_io_types`")
def _excluded(tmp_path: Path) -> None:
    options = {"node_block": ("fir.*",), "op_block": ("Tanh",)}
    assert types(**options) == {"first": "float32", "second": "float32", "third": "float16"}
    onnx.save(parse(NET), tmp_path / "m.onnx")
    files = [str(tmp_path / "m.onnx"), str(tmp_path / "out.onnx")]
    main(["convert", *files, "--quiet", "--node-block", "fir.*", "--op-block", "Tanh",
          "--keep-io-types"])  # fmt: skip
    assert onnx.load(files[1]) == model_of(parse(NET), keep_io_types=True, **options)


@row(CAST, "`nodes_to_include`", "`op_types_to_include`", "`trt_plugins_precision`")
def _included(_: Path) -> None:
    text = """g (float[1,1,2,2] x, float[1,2,2,2] p) => (float[1,1,2,2] y) {
        a = GridSample(x, p) [plug] b = my.Plugin(a) y = Exp(b)
    }"""
    net = parse(text)
    net.graph.value_info.add(name="b").type.tensor_type.elem_type = FLOAT
    assert ops(model_of(net))["Cast"] > 0
    for chosen in (
        {"op_half": ("GridSample", "Plugin")},
        {"op_half": ("Grid.*",), "node_half": ("plug",)},
    ):
        assert ops(model_of(net, **chosen))["Cast"] == 0


@row(CAST, "`data_max", "`init_max", "`max_depth", "`custom_rule`")
def _rules(_: Path) -> None:
    (code,) = re.findall(r"### Rules as functions\n.*?```python\n(.*?)```", PAGE, re.S)
    space: dict[str, Any] = {}
    exec(code, space)
    model = parse(NET)
    assert space["wide_weights"](model, 65504) == (0,)
    assert space["wide_values"](model, SAMPLE, 512) == (0, 1)
    products = parse("""g (float[2,8] x) => (float[2,4] y)
    <float[8,4] w, float[4,8] t, float[3,8,1] c> { a = MatMul(x, w) y = Gemm<transB = 1>(x, t) }""")
    for name, shape in (("w", (8, 4)), ("t", (4, 8))):
        tensor = numpy_helper.from_array(np.ones(shape, np.float32), name)
        products.graph.initializer.append(tensor)
    assert space["deep_reductions"](products, 7) == (0, 1)
    assert space["deep_reductions"](products, 8) == ()
    ids = tuple(k for k, node in enumerate(model.graph.node) if node.op_type == "Tanh")
    assert types(fp32_nodes=ids)["second"] == "float32"


@row(CAST, "`calibration_data`")
def _calibration(tmp_path: Path) -> None:
    np.savez(tmp_path / "sample0_inputs.npz", x=X)
    onnx.save(parse(NET.replace("70000", "7")), tmp_path / "m.onnx")
    files = [str(tmp_path / "m.onnx"), str(tmp_path / "out.onnx")]
    assert main(["auto", *files, "--sample-dir", str(tmp_path), "--quiet", "--target", "cpu"]) == 0
    options = halve.SearchOptions(convert=ConvertOptions(target="cpu"))
    assert halve.auto(*files, [SAMPLE], options=options).verdict.passed


@row(CAST, "`trt_plugins`")
def _library(tmp_path: Path) -> None:
    options = ConvertOptions(custom_op_library=tmp_path / "none.so")
    with pytest.raises(halve.HalveError, match=r"none\.so"):
        halve.convert(parse("g (float[2] x) => (float[2] y) { y = my.Op(x) }"), options=options)


@row(CAST, "`tensor_block_dict`")
def _operands(_: Path) -> None:
    assert types(operand_block=("Tanh:in0", "Mul:out0"))["first"] == "float32"


@row("onnxmltools", "`utils.load_model", "`utils.save_model")
def _files(tmp_path: Path) -> None:
    onnx.save(parse(NET), tmp_path / "m.onnx")
    halve.convert(tmp_path / "m.onnx", tmp_path / "out.onnx")
    onnx.save(onnx.load(tmp_path / "out.onnx"), tmp_path / "again.onnx", save_as_external_data=True)
    assert onnx.load(tmp_path / "again.onnx").graph == onnx.load(tmp_path / "out.onnx").graph


@row("onnxmltools", "`utils.set_model_domain", "`utils.set_model_version", "`utils.set_model_doc")
def _fields(_: Path) -> None:
    net = parse(NET)
    net.domain, net.model_version, net.doc_string = "here", 7, "words"
    done = model_of(net)
    assert (done.domain, done.model_version, done.doc_string) == ("here", 7, "words")


SIM = "onnx-simplifier"
FOLDED = """g (float[2] x) => (float[2] y) <float a = {1}, float b = {2}> {
    c = Add(a, b) d = Identity(x) y = Mul(d, c)
}"""


def simplified(folder: Path, *flags: str) -> int:
    """The exit status of a simplification, and its nodes."""
    onnx.save(parse(FOLDED), folder / "m.onnx")
    files = [str(folder / "m.onnx"), str(folder / "out.onnx")]
    assert main(["simplify", *files, "--quiet", *flags]) == 0
    return len(onnx.load(folder / "out.onnx").graph.node)


@row(SIM, "`onnxsim IN OUT`", "`--skip-fuse-bn`", "`--save-as", "`--overwrite-input")
def _simplify(tmp_path: Path) -> None:
    assert simplified(tmp_path, "--skip-fuse-bn") == 1
    result = halve.simplify(tmp_path / "m.onnx", skip_fuse_bn=True)
    assert (result.nodes_before, result.nodes_after) == (3, 1)
    simplify = halve.SimplifyOptions(skip_fuse_bn=True)
    found = halve.convert(tmp_path / "m.onnx", options=ConvertOptions(simplify=simplify))
    assert [node.id for node in found.plan.nodes] == [0, 1, 2]


@row(SIM, "`--skip-optimization")
def _skip(tmp_path: Path) -> None:
    assert simplified(tmp_path, "--skip", "eliminate_identity,eliminate_nop_cast") == 2
    with pytest.raises(halve.OptionError, match="eliminate_identity"):
        halve.simplify(tmp_path / "m.onnx", skipped_optimizers=("none_such",))


@row(SIM, "`check_n`", "`--input-data-path", "`--test-input-shape")
def _compared(tmp_path: Path) -> None:
    np.savez(tmp_path / "sample0_inputs.npz", x=X)
    given = ["--rtol", "1e-3", "--atol", "1e-4"]
    assert simplified(tmp_path, "--sample-dir", str(tmp_path), *given) == 1
    onnx.save(parse(FOLDED.replace("[2]", "[N]")), tmp_path / "open.onnx")
    files = [str(tmp_path / "open.onnx"), str(tmp_path / "open1.onnx"), "--quiet"]
    assert main(["simplify", *files]) == 1
    assert main(["simplify", *files, "--min-shapes", "x:[1]", "--max-shapes", "x:[4]"]) == 0


@row(SIM, "`--custom-lib")
def _simplify_library(tmp_path: Path) -> None:
    onnx.save(parse(FOLDED), tmp_path / "m.onnx")
    with pytest.raises(halve.HalveError, match=r"none\.so"):
        halve.simplify(tmp_path / "m.onnx", custom_op_library=tmp_path / "none.so")


TOPS = "TopsIDEAS"
OVERFLOW = """g (float[2] x) => (float[2] y) <float up = {300000}, float down = {0.00001}> {
    [far] a = Mul(x, up) [near] b = Mul(a, down) [last] y = Tanh(b)
}"""


def mix_precision(folder: Path, *flags: str) -> Path:
    """The workspace that the command line of TopsIDEAS fills."""
    np.savez(folder / "sample0_inputs.npz", x=X)
    onnx.save(parse(OVERFLOW), folder / "m.onnx")
    where = ["--sample_dir", str(folder), "--workspace", str(folder / "w"), "--quiet"]
    command = ["mix_precision", "--input_onnx", str(folder / "m.onnx"), *where, *flags]
    assert main(command) == 0
    return folder / "w"


@row(TOPS, "`mix_precision --input", "`--rtol`", "`--fp32_nodes", "`--resource", "`--compile")
def _tops_auto(tmp_path: Path) -> None:
    record = tmp_path / "out.json"
    flags = ["--rtol", "y:1e-2", "--atol", "1e-2", "--fp32_nodes", "2", "--clean"]
    flags += ["--output_json", str(record), "--resource_mode", "2c1t", "--device", "0"]
    flags += ["--compile_options", '{"session.disable_prepacking": "1"}']
    work = mix_precision(tmp_path, *flags)
    assert json.loads(record.read_text("utf-8"))["fp32_nodes"] == [0, 1, 2]
    plan = (work / "plan.json").rename(tmp_path / "plan.json")
    again = mix_precision(tmp_path, "--clean", "--fp32_nodes", f"@{plan}")
    assert (again / "deploy.onnx").is_file()


@row(TOPS, "`--manual`", "`--op_id_filter`", "`--finalize`")
def _tops_manual(tmp_path: Path) -> None:
    record = tmp_path / "out.json"
    flags = ["--manual", "--mode", "RAW", "--op_type_filter", "Mul", "--output_json", str(record)]
    work = mix_precision(tmp_path, *flags)
    (nodes,) = json.loads(record.read_text("utf-8"))["op_statistic"]
    assert [*nodes] == ["0", "1"]
    assert not (work / "deploy.onnx").exists()
    mix_precision(tmp_path, "--finalize", "--fp32_nodes", "0,1")
    assert (work / "deploy.onnx").is_file()


@row(TOPS, "`AutoMixPrecision(", "`.run(", "`.finalize(")
def _tops_module(tmp_path: Path) -> None:
    onnx.save(parse(OVERFLOW), tmp_path / "m.onnx")
    search = AutoMixPrecision(tmp_path / "m.onnx", ["x"], [[2]])
    search.workspace = tmp_path / "w"
    ids = search.run([[X], {"x": X}], None)
    assert ids == [0, 1]
    search.finalize(ids)
    assert (tmp_path / "w" / "deploy.onnx").is_file()


TORCH = "PyTorch"


@row(TORCH, "`torch.onnx.export", "`module.bfloat16", "`torch.autocast", "`dynamo=", "`input_names")
def _torch(tmp_path: Path) -> None:
    torch = importlib.import_module("torch")
    module, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    halve.from_torch(module, (x,), tmp_path / "half.onnx")
    names = {"input_names": ["x"], "output_names": ["y"], "opset": 17}
    axes = {"dynamic_axes": {"x": {0: "n"}}}
    given = {"exporter": "torchscript", "dtype": "bfloat16", **names, **axes}
    brain = halve.from_torch(module, (x,), **given).model
    assert io_types(brain) == {"x": BFLOAT16, "y": BFLOAT16}
    single = export_torch(module, (x,), tmp_path / "m.onnx", input_names=["x"])
    assert halve.auto(single, tmp_path / "mixed.onnx", [{"x": x.numpy()}]).verdict.passed


def marked(key: tuple[str, str]) -> Any:
    return pytest.param(key, marks=pytest.mark.torch if key[0] == TORCH else ())


# Rows with the same first cell as another stand under one check.
@pytest.mark.filterwarnings("ignore:.*(clipped|lowered to the maximum)")  # the wide weight
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # PyTorch's
@pytest.mark.parametrize(
    "key", [marked(key) for key in sorted({*rows()})], ids=lambda key: key[1][:40]
)
def test_the_replacement_runs(key: tuple[str, str], tmp_path: Path) -> None:
    CHECKS[key](tmp_path)
