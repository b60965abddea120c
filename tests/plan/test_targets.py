"""Target profiles against what is known of each runtime, and of the CPU provider by running it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator

import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, NodeProto, helper

from halve.errors import OptionError
from halve.options import TARGETS
from halve.plan.kernels import CPU, load_ort_table
from halve.plan.targets import load_target

F32, F16, F64, BF16, I64 = 1, 10, 11, 16, 7


@pytest.mark.parametrize(
    ("op_type", "opset", "variable"),
    [
        ("GridSample", 16, "T1"),
        ("GridSample", 20, "T1"),
        ("Range", 11, "T"),
        ("Range", 27, "T"),
        ("EyeLike", 9, "T2"),
        ("CumSum", 11, "T"),
        ("CumSum", 13, "T"),
        ("RoiAlign", 10, "T1"),
        ("RoiAlign", 15, "T1"),
        ("IsInf", 10, "T1"),
        ("IsInf", 19, "T1"),
        ("Clip", 6, "T"),
        ("Clip", 11, "T"),
        ("QuantizeLinear", 10, "T1"),
        ("QuantizeLinear", 18, "T1"),
        ("Acos", 18, "T"),
        ("Mean", 13, "T"),
    ],
)
def test_cuda_has_no_float16_kernel(op_type: str, opset: int, variable: str) -> None:
    cuda = load_target("cuda")
    assert not cuda.supports("", op_type, opset, {variable: F16})
    assert cuda.supports("", op_type, opset, {variable: F32})
    reason = cuda.reason("", op_type, opset, {variable: F16})
    assert reason == (
        f"no float16 kernel for {op_type} (opset {opset}) in CUDAExecutionProvider"
        f" of ONNX Runtime {cuda.version}"
    )


@pytest.mark.parametrize(
    ("op_type", "opset", "variable"),
    [
        ("Conv", 11, "T"),
        ("MatMul", 13, "T"),
        ("Add", 7, "T"),
        ("Add", 14, "T"),
        ("CumSum", 14, "T"),
        ("RoiAlign", 16, "T1"),
        ("IsInf", 20, "T1"),
        ("Clip", 12, "T"),
        ("QuantizeLinear", 19, "T1"),
        ("RandomNormal", 18, "T"),
        ("If", 16, "V"),
        ("Loop", 16, "V"),
        ("Scan", 16, "V"),
        ("SequenceMap", 17, "V"),
        ("Constant", 13, "T"),
        ("SplitToSequence", 11, "T"),
        ("SequenceInsert", 11, "T"),
        ("Optional", 15, "V"),
    ],
)
def test_cuda_has_float16(op_type: str, opset: int, variable: str) -> None:
    assert load_target("cuda").supports("", op_type, opset, {variable: F16})
    assert load_target("cuda").supports("ai.onnx", op_type, opset, {variable: F16})


@pytest.mark.parametrize(
    ("op_type", "opset", "types"),
    [
        ("Bernoulli", 15, {"T1": F16, "T2": F16}),
        ("GroupNormalization", 21, {"T": F16}),
        ("Mish", 18, {"T": F16}),
        ("Swish", 24, {"T": F16}),
        ("CastLike", 19, {"T1": F32, "T2": F16}),
        ("HannWindow", 17, {"T2": F16}),
        ("LinearAttention", 27, {"T": F16}),
        ("Elu", 22, {"T": F16}),
    ],
)
def test_an_operator_without_kernel_is_judged_by_its_body(
    op_type: str, opset: int, types: dict[str, int]
) -> None:
    assert load_ort_table(CPU).types("", op_type, opset) is None or op_type in ("Elu", "HannWindow")
    assert load_target("cuda").supports("", op_type, opset, types)


def test_a_body_that_contradicts_itself_in_float16_is_no_support() -> None:
    for target in ("cuda", "cpu"):
        types = {"T": F16}
        assert not load_target(target).supports("", "MeanVarianceNormalization", 13, types)


def test_a_body_is_refused_when_one_of_its_operators_has_no_kernel() -> None:
    """Elu's body compares, and CUDA has no bfloat16 comparison."""
    assert not load_target("cuda").supports("", "Less", 13, {"T": BF16})
    assert not load_target("cuda").supports("", "Elu", 22, {"T": BF16})


def test_an_open_ended_kernel_holds_for_the_schema_it_was_made_for_only() -> None:
    cuda = load_target("cuda")
    assert cuda.supports("", "InstanceNormalization", 21, {"T": F16})
    assert not cuda.supports("", "InstanceNormalization", 22, {"T": F16})
    assert cuda.supports("", "InstanceNormalization", 22, {"T": F32})


def test_an_opset_beyond_the_runtime_is_judged_by_the_newest_that_it_knows() -> None:
    cuda = load_target("cuda")
    assert cuda.supports("", "Add", 99, {"T": F16})
    # ONNX added float16 to Celu with opset 28; this runtime reads such a model by opset 27.
    assert not cuda.supports("", "Celu", 28, {"T": F16})
    assert "opset 28" in cuda.reason("", "Celu", 28, {"T": F16})


def test_bfloat16_follows_its_own_column() -> None:
    cuda = load_target("cuda")
    assert not cuda.supports("", "Conv", 21, {"T": BF16})
    assert cuda.supports("", "Conv", 22, {"T": BF16})
    assert not cuda.supports("", "SplitToSequence", 24, {"T": BF16})
    assert "bfloat16" in cuda.reason("", "Conv", 21, {"T": BF16})


def test_every_type_variable_is_looked_at() -> None:
    cuda = load_target("cuda")
    assert cuda.supports("", "LayerNormalization", 17, {"T": F16, "U": F32})
    assert not cuda.supports("", "LayerNormalization", 17, {"T": F16, "U": F16})
    assert cuda.supports("", "OneHot", 11, {"T1": I64, "T3": F16})
    assert not cuda.supports("", "OneHot", 11, {"T1": F16, "T3": F16})


def test_an_operand_that_the_kernel_reads_as_float32() -> None:
    for target in ("cuda", "cpu"):
        profile = load_target(target)
        assert profile.supports("", "Resize", 13, {"T1": F16, "T2": F32})
        assert "T2 as float32" in profile.reason("", "Resize", 13, {"T1": F16, "T2": F16})


def test_types_outside_the_float_family_are_ignored() -> None:
    for target in TARGETS:
        assert load_target(target).supports("", "GridSample", 16, {"T1": I64, "T2": 0})
        assert load_target(target).supports("nobody.knows", "Thing", 1, {"T": I64})


def test_only_half() -> None:
    cuda = load_target("cuda")
    assert cuda.only_half("com.microsoft", "GroupQueryAttention", 1)
    assert cuda.supports("com.microsoft", "GroupQueryAttention", 1, {"T": F16})
    assert not cuda.supports("com.microsoft", "GroupQueryAttention", 1, {"T": F32})
    assert not cuda.only_half("com.microsoft", "MultiHeadAttention", 1)
    assert not load_target("cpu").only_half("com.microsoft", "GroupQueryAttention", 1)
    assert not cuda.only_half("", "Conv", 11)
    assert not load_target("any").only_half("com.microsoft", "GroupQueryAttention", 1)


def test_an_unknown_domain_stays_float32() -> None:
    for target in ("cuda", "cpu", "tensorrt"):
        assert load_target(target).supports("nobody.knows", "Thing", 1, {"T": F32})
        assert not load_target(target).supports("nobody.knows", "Thing", 1, {"T": F16})


@pytest.mark.parametrize(
    ("op_type", "opset", "types", "supported"),
    [
        ("Conv", 11, {"T": F16}, True),
        ("Conv", 11, {"T": BF16}, False),
        ("Reshape", 14, {"T": BF16}, True),
        ("GridSample", 16, {"T1": F16}, True),
        ("RandomNormal", 18, {"T": F16}, False),
        ("RandomNormalLike", 18, {"T1": F16, "T2": F16}, True),
        ("RandomNormalLike", 18, {"T1": I64, "T2": F16}, False),
        ("EyeLike", 18, {"T1": I64, "T2": F16}, False),
        ("EyeLike", 18, {"T1": F16, "T2": F16}, True),
        ("MelWeightMatrix", 17, {"T2": F32, "T3": F16}, False),
        ("HannWindow", 17, {"T2": F16}, True),
        ("GlobalLpPool", 22, {"T": F16}, False),
        ("Multinomial", 18, {"T1": F16}, True),
    ],
)
def test_cpu(op_type: str, opset: int, types: dict[str, int], supported: bool) -> None:
    assert load_target("cpu").supports("", op_type, opset, types) == supported


@pytest.mark.parametrize(
    ("op_type", "types", "supported"),
    [
        ("Conv", {"T": F16}, True),
        ("Conv", {"T": BF16}, True),
        ("GridSample", {"T1": F16}, True),
        ("GridSample", {"T1": BF16}, False),
        ("STFT", {"T1": F16}, False),
        ("STFT", {"T1": F32}, True),
        ("Bernoulli", {"T1": F16}, False),
        ("Bernoulli", {"T1": F32}, True),
        ("DequantizeLinear", {"T2": F16}, True),
    ],
)
def test_tensorrt(op_type: str, types: dict[str, int], supported: bool) -> None:
    profile = load_target("tensorrt")
    assert profile.supports("", op_type, 20, types) == supported
    assert not profile.supports("com.microsoft", op_type, 1, {"T": F16})


def test_tensorrt_says_which_of_two_it_is() -> None:
    profile = load_target("tensorrt")
    assert "takes no bfloat16 for Mish" in profile.reason("", "Mish", 18, {"T": BF16})
    assert "does not take Swish" in profile.reason("", "Swish", 24, {"T": F16})


def test_any_asks_no_runtime() -> None:
    profile = load_target("any")
    for domain in ("", "com.microsoft", "nobody.knows"):
        assert profile.supports(domain, "GridSample", 16, {"T1": F16, "T2": BF16})


def test_profiles_carry_their_provenance() -> None:
    for target in ("cuda", "cpu", "tensorrt"):
        profile = load_target(target)
        assert profile.name == target
        assert profile.runtime in ("ONNX Runtime", "TensorRT")
        assert profile.version[:1].isdigit()
        assert profile.source


def test_profiles_are_shared_and_cannot_be_changed() -> None:
    profile = load_target("cuda")
    assert load_target("cuda") is profile
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.name = "other"  # type: ignore[misc]  # this is the point


def test_an_unknown_target_names_those_there_are() -> None:
    with pytest.raises(OptionError, match="'rocm'; allowed: cuda, cpu, tensorrt, any"):
        load_target("rocm")


# What the CPU profile says, held against what the CPU provider does with the nodes of ONNX's own
# backend tests, whose float operands are given a 16-bit type wherever the schema lets them.

_FLOAT = onnx.TensorProto.FLOAT
# Attributes that set an output's type: changing it takes more than a new input type.
_TYPED = {
    "dtype", "output_datatype", "output_dtype", "softmax_precision", "stash_type", "to", "value",
}  # fmt: skip
_SUBGRAPHS = {"If", "Loop", "Scan", "SequenceMap"}
# Where the profile is deliberately more careful than the provider would need it to be.
_CAREFUL = {
    "Clip": "without bounds its body is empty of arithmetic; the profile does not see the node",
    "Resize": "roi is read as float32 where only roi is 16-bit",
}
# Operators whose type depends on an attribute that the test's node leaves out, or on a tensor
# that is an attribute.
_UNCHANGEABLE = {
    "BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix", "TreeEnsemble",
}  # fmt: skip


def _narrow(model: ModelProto, half: int) -> tuple[ModelProto, dict[str, int]] | None:
    """The one-node model with 16-bit operands, and its type variables; None where it has none."""
    node = model.graph.node[0]
    rule = onnx.defs.get_schema(node.op_type, _opset(model, node.domain), node.domain)
    allowed = {c.type_param_str: c.allowed_type_strs for c in rule.type_constraints}
    wanted = "tensor(float16)" if half == F16 else "tensor(bfloat16)"
    result = ModelProto()
    result.CopyFrom(model)
    values = {v.name: v.type for v in (*result.graph.input, *result.graph.output)}
    if not all(kind.HasField("tensor_type") for kind in values.values()):
        return None
    types: dict[str, int] = {}
    for names, formals in ((node.input, rule.inputs), (node.output, rule.outputs)):
        for slot, name in enumerate(names):
            variable = formals[min(slot, len(formals) - 1)].type_str
            kind = values.get(name)
            if kind is None or variable not in allowed or kind.tensor_type.elem_type != _FLOAT:
                continue
            types[variable] = half if wanted in allowed[variable] else F32
            kind.tensor_type.elem_type = types[variable]
    return (result, types) if half in types.values() else None


def _opset(model: ModelProto, domain: str) -> int:
    return int({entry.domain: entry.version for entry in model.opset_import}[domain])


def _usable(node: NodeProto) -> bool:
    if node.op_type in _SUBGRAPHS | _UNCHANGEABLE or _TYPED & {a.name for a in node.attribute}:
        return False
    return bool(onnx.defs.has(node.op_type, node.domain))


def _loads(model: ModelProto) -> bool:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=[CPU])
    except Exception:
        return False
    return True


def _cases() -> Iterator[tuple[str, ModelProto, ModelProto, dict[str, int], int]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases divide by zero while they are made
        from onnx.backend.test.loader import load_model_tests

        tests = load_model_tests(kind="node")
    seen = set()
    for test in tests:
        model = test.model
        if model is None or len(model.graph.node) != 1 or not _usable(model.graph.node[0]):
            continue
        for half in (F16, BF16):
            narrowed = _narrow(model, half)
            if narrowed is None:
                continue
            node = model.graph.node[0]
            key = (node.op_type, len(node.input), _opset(model, node.domain), str(narrowed[1]))
            if key not in seen:
                seen.add(key)
                yield test.name, model, *narrowed, half


def test_the_cpu_profile_agrees_with_the_cpu_provider() -> None:
    profile = load_target("cpu")
    if ort.__version__ != profile.version:
        pytest.skip(f"the table is of {profile.version}, installed is {ort.__version__}")
    wrong, asked = [], 0
    for name, model, narrowed, types, half in _cases():
        node = model.graph.node[0]
        if not _loads(model):
            continue
        asked += 1
        said = profile.supports(node.domain, node.op_type, _opset(model, node.domain), types)
        loads = _loads(narrowed)
        if said != loads and not (loads and node.op_type in _CAREFUL):
            wrong.append((name, helper.printable_node(node), half, types, said, loads))
    assert asked > 300
    assert not wrong
