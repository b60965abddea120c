"""The drop-in `halve.float16`: what it promises, and agreement with the original."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxconverter_common import float16 as original

from halve import float16
from halve.errors import CastError, DataError, HalveError, ModelError, OptionError
from halve.float16 import (
    convert_float_to_float16,
    convert_float_to_float16_model_path,
    convert_np_to_float16,
    convert_tensor_float_to_float16,
)
from models import FLOAT, FLOAT16, mlp, text_model
from onnx_text import io_types, node_of, ops, weights

# Half of it is float16 already, and its float16 part feeds the other.
PARTLY = "g (float16[2] x) => (float[2] y) { a = Relu(x)  b = Cast<to=1>(a)  y = Neg(b) }"


def convert(array: Any, *bounds: float) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return convert_np_to_float16(array, *bounds)


def test_clips_both_ends_and_keeps_signs_and_specials() -> None:
    x = np.array([0.0, -0.0, 1e-9, -1e-9, 2e4, -2e4, 1.5, np.inf, -np.inf, np.nan], np.float32)
    half = convert(x)
    tiny = np.float16(1e-7)
    expected = np.array([0.0, -0.0, tiny, -tiny, 1e4, -1e4, 1.5, np.inf, -np.inf, np.nan], "f2")
    np.testing.assert_array_equal(half, expected)
    np.testing.assert_array_equal(np.signbit(half), np.signbit(x))


def test_one_warning_an_array_with_counts() -> None:
    x = np.array([1e-9, 1e-8, 3e4, 1.0], np.float32)
    with pytest.warns(UserWarning, match=r"clipped 3 of 4 values: 2 .* below 1e-07 .* 1 above"):
        convert_np_to_float16(x)


def test_nothing_clipped_is_silent() -> None:
    x = np.array([0.0, 1e-6, 9999.0, np.inf], np.float32)
    np.testing.assert_array_equal(convert_np_to_float16(x), x.astype(np.float16))


@pytest.mark.parametrize("value", [0.0, 1e-9, -3e5, 2.5])
def test_zero_dimensional(value: float) -> None:
    half = convert(np.array(value, np.float32))
    assert half.shape == ()
    assert half == convert(np.array([value], np.float32))[0]


@pytest.mark.parametrize("dtype", ["f8", "f2", "i4", ">f4", "u1", "?"])
def test_other_real_types(dtype: str) -> None:
    x = np.array([[0, 1, 0], [1, 1, 0]], dtype)
    half = convert(x)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, x.astype(np.float16))


def test_float64_is_clipped_and_rounded_once() -> None:
    # Through float32 this would become a tie and go to even, 1.0.
    between = 1 + 2.0**-11 + 2.0**-40
    half = convert(np.array([between, 1e-9, -1e300, np.nan]))
    assert half[0] == np.float16(1 + 2.0**-10)
    assert half[1] == np.float16(1e-7)
    assert half[2] == -1e4
    assert np.isnan(half[3])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bounds", [(-1.0, 1e4), (1e-7, 0.0), (2.0, 1.0), (float("nan"), 1e4)])
def test_wrong_bounds(bounds: tuple[float, float], dtype: str) -> None:
    with pytest.raises(CastError, match="min_positive"):
        convert_np_to_float16(np.ones(3, dtype), *bounds)


def test_not_numbers() -> None:
    with pytest.raises(CastError, match="real numbers"):
        convert_np_to_float16(np.array(["a"]))
    with pytest.raises(CastError, match="real numbers"):
        convert_np_to_float16(np.zeros(2, np.complex64))


@pytest.mark.parametrize("bounds", [(), (1e-5, 100.0), (1e-7, 65504.0), (6e-8, 3e38)])
def test_agrees_with_the_original(bounds: tuple[float, ...]) -> None:
    random = np.random.default_rng(4)
    patterns = random.integers(0, 1 << 32, 200_000, dtype=np.uint32).view(np.float32)
    normal = random.standard_normal(100_000).astype(np.float32)
    x = np.concatenate([patterns[~np.isnan(patterns)], normal, normal * 1e-6])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected = original.convert_np_to_float16(x.copy(), *bounds)
    np.testing.assert_array_equal(convert(x, *bounds).view("u2"), expected.view("u2"))


def quietly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call without numpy's and the original's remarks about the values."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


BOUNDS = st.tuples(st.floats(2.0**-30, 1.0, width=32), st.floats(1.0, 2.0**17, width=32)) | st.just(
    (1e-7, 1e4)
)
FLOAT32 = st.floats(width=32) | st.floats(-(2.0**-13), 2.0**-13, width=32)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, min_side=0), elements=FLOAT32), BOUNDS)
def test_clips_like_the_original(x: NDArray[np.float32], bounds: tuple[float, float]) -> None:
    expected = quietly(original.convert_np_to_float16, x.copy(), *bounds)
    half = quietly(convert_np_to_float16, x, *bounds)
    numbers = ~np.isnan(x)
    np.testing.assert_array_equal(half[numbers].view("u2"), expected[numbers].view("u2"))
    assert np.isnan(half[~numbers]).all()
    assert np.isnan(expected[~numbers]).all()
    assert half.shape == expected.shape


FUNCTIONS = (
    "convert_float_to_float16",
    "convert_float_to_float16_model_path",
    "convert_np_to_float16",
    "convert_tensor_float_to_float16",
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_same_signature_and_defaults(name: str) -> None:
    def parameters(module: Any) -> list[tuple[str, Any, Any]]:
        found = inspect.signature(getattr(module, name)).parameters.values()
        return [(parameter.name, parameter.kind, parameter.default) for parameter in found]

    assert parameters(float16) == parameters(original)


def test_same_block_list() -> None:
    assert float16.DEFAULT_OP_BLOCK_LIST == original.DEFAULT_OP_BLOCK_LIST
    assert len(float16.DEFAULT_OP_BLOCK_LIST) == 28


def test_every_public_function_of_the_original_is_here_or_accounted_for() -> None:
    """What is left out are its passes, which nobody is meant to call."""
    defined = {
        name
        for name, value in vars(original).items()
        if inspect.isfunction(value) and value.__module__ == original.__name__ and name[0] != "_"
    }
    missing = defined - set(float16.__all__)
    assert set(FUNCTIONS) <= defined
    assert {name for name in missing if name.startswith("convert_")} == set()


def test_the_argument_is_never_changed() -> None:
    model = mlp()
    before = model.SerializeToString(deterministic=True)
    half = convert_float_to_float16(model)
    assert model.SerializeToString(deterministic=True) == before
    assert set(weights(half).values()) == {FLOAT16}
    quietly(original.convert_float_to_float16, model, disable_shape_infer=True)
    assert model.SerializeToString(deterministic=True) != before  # the original changes it


@pytest.mark.parametrize("as_text", [False, True])
def test_a_path_gives_the_same_model(tmp_path: Path, as_text: bool) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(mlp(), path, save_as_external_data=True, location="m.bin", size_threshold=0)
    expected = convert_float_to_float16(mlp()).SerializeToString(deterministic=True)
    given_path = str(path) if as_text else path
    for convert_path in (convert_float_to_float16, convert_float_to_float16_model_path):
        model = convert_path(given_path)
        assert model.SerializeToString(deterministic=True) == expected


def test_a_model_is_no_path() -> None:
    with pytest.raises(OptionError, match="allowed: a path"):
        convert_float_to_float16_model_path(mlp())  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="path or a ModelProto"):
        convert_float_to_float16(b"model")  # type: ignore[arg-type]


def test_path_takes_bounds_and_kept_types(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(scaled(3.0), path)
    with pytest.warns(UserWarning, match="tensor 'k'.*1 lowered"):
        model = convert_float_to_float16_model_path(path, 1e-7, 2.0, keep_io_types=True)
    assert numpy_helper.to_array(model.graph.initializer[0]) == 2.0
    assert set(io_types(model).values()) == {FLOAT}


def scaled(*values: float) -> ModelProto:
    model = text_model("g (float[2] x) => (float[2] y) { y = Mul(x, k) }")
    model.graph.initializer.append(numpy_helper.from_array(np.array(values, "f4"), "k"))
    return model


@pytest.mark.parametrize("keep", [True, 1, ["x", "y"], ("x", "y")])
def test_keep_io_types(keep: Any) -> None:
    model = convert_float_to_float16(mlp(), keep_io_types=keep)
    assert io_types(model) == {"x": FLOAT, "y": FLOAT}
    assert ops(model)["Cast"] == 2


@pytest.mark.parametrize("keep", [False, None, 0, []])
def test_keep_no_io_types(keep: Any) -> None:
    assert io_types(convert_float_to_float16(mlp(), keep_io_types=keep)) == {
        "x": FLOAT16, "y": FLOAT16,
    }  # fmt: skip


def test_keep_named_io_types_only() -> None:
    model = convert_float_to_float16(mlp(), keep_io_types=["y"])
    assert io_types(model) == {"x": FLOAT16, "y": FLOAT}
    kept_by_original = quietly(original.convert_float_to_float16, mlp(), keep_io_types=["y"])
    assert io_types(kept_by_original) == {"x": FLOAT, "y": FLOAT}  # a list is just true there
    with pytest.raises(OptionError, match="'z', which is no graph input or output"):
        convert_float_to_float16(mlp(), keep_io_types=["z"])


@pytest.mark.parametrize("argument", ["keep_io_types", "op_block_list", "node_block_list"])
def test_a_string_is_no_list_of_names(argument: str) -> None:
    with pytest.raises(OptionError, match=f"{argument} is 'Relu'"):
        convert_float_to_float16(mlp(), **{argument: "Relu"})


@pytest.mark.parametrize("disable", [True, False])
def test_shape_inference_makes_no_difference(disable: bool) -> None:
    model = convert_float_to_float16(mlp(), disable_shape_infer=disable)
    assert model == convert_float_to_float16(mlp())


MAXIMUM = "g (float[2] x) => (float[2] y) { a = Exp(x)  b = Max(a, x)  y = Softmax(b) }"


def test_default_block_list_is_in_force_and_a_given_one_replaces_it() -> None:
    model = text_model(MAXIMUM)
    assert ops(convert_float_to_float16(model))["Cast"] == 3
    blocked = convert_float_to_float16(model, op_block_list=["Softmax"])
    assert ops(blocked)["Cast"] == 2
    assert node_of(blocked, "Max").input[0] == "a"
    assert ops(convert_float_to_float16(model, op_block_list=[]))["Cast"] == 0


def test_the_default_list_is_read_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in float16.DEFAULT_OP_BLOCK_LIST if name != "Max"]
    monkeypatch.setattr(float16, "DEFAULT_OP_BLOCK_LIST", names)
    assert ops(convert_float_to_float16(text_model(MAXIMUM)))["Cast"] == 0


def test_only_lists_and_schemas_block() -> None:
    """GridSample has a float16 schema and no float16 kernel in ONNX Runtime's CUDA provider."""
    model = text_model(
        "g (float[1,1,4,4] x, float[1,2,2,2] g) => (float[1,1,2,2] y) { y = GridSample(x, g) }"
    )
    assert ops(convert_float_to_float16(model))["Cast"] == 0


@pytest.mark.parametrize(
    ("options", "blocked"),
    [
        ({"node_block_list": ["a.b"]}, "Exp"),
        ({"node_block_list": ["axb"]}, "Softmax"),
        ({"node_block_list": ["(a", "a.*"]}, None),
        ({"op_block_list": ["E.*", ".*"]}, None),
    ],
)
def test_block_lists_hold_names_not_expressions(
    options: dict[str, list[str]], blocked: str | None
) -> None:
    model = text_model("g (float[2] x) => (float[2] y) { a = Exp(x)  y = Softmax(a) }")
    model.graph.node[0].name, model.graph.node[1].name = "a.b", "axb"
    missing = [name for name in options.get("node_block_list", ()) if blocked is None]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        half = convert_float_to_float16(model, **options)  # type: ignore[arg-type]
    assert [str(w.message) for w in caught] == [f"no node is called {name!r}" for name in missing]
    to_float = [node.output[0] for node in half.graph.node if _casts_to(node, FLOAT)]
    assert to_float == ([] if blocked is None else [node_of(half, blocked).input[0]])


def _casts_to(node: NodeProto, elem: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == elem


def test_clipped_values_are_warned_about_once_a_tensor() -> None:
    model = scaled(1e-9, 2e4)
    model.graph.node.append(helper.make_node("Add", ["y", "b"], ["z"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1e5, 1], "f4"), "b"))
    model.graph.output[0].name = "z"
    with pytest.warns(UserWarning, match="of 2 values") as caught:
        half = convert_float_to_float16(model)
    assert [str(warning.message).partition(" (")[0] for warning in caught] == [
        "tensor 'k': of 2 values 1 lowered to the maximum, 1 raised to the minimum",
        "tensor 'b': of 2 values 1 lowered to the maximum",
    ]
    assert {warning.filename for warning in caught} == {__file__}
    tiny = np.float16(1e-7)
    np.testing.assert_array_equal(numpy_helper.to_array(half.graph.initializer[0]), [tiny, 1e4])


@pytest.mark.parametrize("bounds", [(-1.0, 1e4), (1.0, 0.5), (0.0, 0.0)])
def test_bounds_out_of_range(bounds: tuple[float, float]) -> None:
    with pytest.raises(OptionError, match="allowed"):
        convert_float_to_float16(mlp(), *bounds)


def test_an_all_float16_model_is_refused_or_returned_unchanged(tmp_path: Path) -> None:
    model = mlp(dtype=FLOAT16)
    with pytest.raises(ValueError, match="already float16") as caught:
        convert_float_to_float16(model)
    assert isinstance(caught.value, HalveError)
    assert convert_float_to_float16(model, check_fp16_ready=False) == model
    onnx.save(model, tmp_path / "half.onnx")
    with pytest.raises(ModelError, match=r"half\.onnx is already float16"):
        convert_float_to_float16_model_path(tmp_path / "half.onnx")
    with pytest.raises(ValueError, match="already converted"):
        original.convert_float_to_float16(model)


def test_float16_without_weights_or_types_at_the_border_is_refused_too() -> None:
    model = text_model(
        "g (int64[2] x) => (int64[2] y) { a = Cast<to=10>(x)  b = Relu(a)  y = Cast<to=7>(b) }"
    )
    with pytest.raises(ModelError, match="already float16"):
        convert_float_to_float16(model)


def test_a_model_without_floats_is_returned() -> None:
    model = text_model("g (int64[2] x) => (int64[2] y) { y = Neg(x) }")
    assert convert_float_to_float16(model) == model


def test_a_partly_float16_model_is_converted() -> None:
    half = convert_float_to_float16(text_model(PARTLY))
    onnx.checker.check_model(half, full_check=True)
    assert set(io_types(half).values()) == {FLOAT16}
    with pytest.raises(ValueError, match="already converted"):
        original.convert_float_to_float16(text_model(PARTLY))


def test_a_mixed_model_whose_float32_part_is_kept_is_no_error() -> None:
    options: dict[str, Any] = {"op_block_list": ["Neg", "Cast"], "keep_io_types": True}
    assert convert_float_to_float16(text_model(PARTLY), **options) == text_model(PARTLY)


@pytest.mark.parametrize("keep", [True, False])
def test_converting_twice_changes_nothing(keep: bool) -> None:
    options: dict[str, Any] = {"op_block_list": ["Add"], "keep_io_types": keep}
    once = convert_float_to_float16(mlp(), **options)
    assert convert_float_to_float16(once, **options) == once


def test_data_that_is_not_loaded_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(mlp(), path, save_as_external_data=True, location="m.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    with pytest.raises(DataError, match="not loaded; pass the path"):
        convert_float_to_float16(model)
    relabelled = quietly(original.convert_float_to_float16, model)
    assert weights(relabelled)["w0"] == FLOAT16  # with float32 data still in the file
    assert relabelled.graph.initializer[0].external_data[2].value == str(16 * 16 * 4)


def test_progress_is_plain_lines_and_can_be_switched_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HALVE_QUIET", raising=False)
    convert_float_to_float16(mlp(), keep_io_types=True)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "halve.float16: 5 of 5 float nodes are float16, 2 casts inserted\n")
    monkeypatch.setenv("HALVE_QUIET", "1")
    convert_float_to_float16(mlp())
    assert capsys.readouterr() == ("", "")


def float_tensor(values: list[float], *, raw: bool) -> TensorProto:
    array = np.array(values, np.float32)
    if raw:
        return numpy_helper.from_array(array, "t")
    return helper.make_tensor("t", FLOAT, [len(values)], values)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("values", [[], [1.0, -2.5, 0.1], [0.0, 1e-9, -1e9, float("inf")]])
def test_tensor_in_place_with_the_original_s_values(values: list[float], raw: bool) -> None:
    tensor, theirs = float_tensor(values, raw=raw), float_tensor(values, raw=raw)
    assert quietly(convert_tensor_float_to_float16, tensor) is tensor
    quietly(original.convert_tensor_float_to_float16, theirs)
    half, expected = numpy_helper.to_array(tensor), numpy_helper.to_array(theirs)
    assert half.dtype == expected.dtype == np.float16
    np.testing.assert_array_equal(half.view("u2"), expected.view("u2"))
    assert (tensor.name, list(tensor.dims)) == ("t", [len(values)])


def test_tensor_warns_with_its_name() -> None:
    with pytest.warns(UserWarning, match="tensor 't': .* clipped 1 of 2 values"):
        convert_tensor_float_to_float16(float_tensor([1e-9, 1.0], raw=True))


def test_other_tensors_stay() -> None:
    tensor = numpy_helper.from_array(np.arange(3), "i")
    before = tensor.SerializeToString()
    assert convert_tensor_float_to_float16(tensor).SerializeToString() == before


def test_wrong_tensors() -> None:
    with pytest.raises(ValueError, match="TensorProto"):
        convert_tensor_float_to_float16(np.ones(2))  # type: ignore[arg-type]
    short = TensorProto(name="s", data_type=FLOAT, dims=[4], raw_data=bytes(8))
    with pytest.raises(DataError, match="8 bytes"):
        convert_tensor_float_to_float16(short)
    external = TensorProto(name="e", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for tensor in (short, external):
        before = tensor.SerializeToString()
        with pytest.raises(DataError):
            convert_tensor_float_to_float16(tensor)
        assert tensor.SerializeToString() == before
    original.convert_tensor_float_to_float16(external)
    assert external.data_type == FLOAT16  # relabelled there


def test_zero_dimensional_arrays_fail_in_the_original() -> None:
    with pytest.raises(ValueError, match="0d"):
        original.convert_np_to_float16(np.array(2.5, np.float32))
