"""Drop-in replacement of onnxconverter-common's `float16` module.

Rules of the conversion, beside those of `halve.convert`:
1. Only the block lists and the ONNX schemas keep a node float32 (target "any"). The original knows
   nothing of runtimes, and an `op_block_list` given to it is the whole list: a target's kernel
   table would silently add to it.
2. Names in the block lists are names, never regular expressions.
3. What `halve.convert` warns about is warned about here through `warnings`, once a tensor.
4. Progress goes to stderr as plain lines; HALVE_QUIET=1 switches it off.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, TensorProto

from halve.cast.array import cast
from halve.conversion import convert
from halve.convert import NO_SUCH_OPS
from halve.errors import CastError, DataError, ModelError, OptionError
from halve.options import ConvertOptions, Progress
from halve.source import clear_payload, inline_ref, iter_tensors, read_array, text
from halve.source.tensors import is_external
from halve.types import CastCounts, ConvertResult, DType

__all__ = [
    "DEFAULT_OP_BLOCK_LIST",
    "convert_float_to_float16",
    "convert_float_to_float16_model_path",
    "convert_np_to_float16",
    "convert_tensor_float_to_float16",
]

# In force where op_block_list is None. A list, read at the call, because callers of the original
# extend it (`DEFAULT_OP_BLOCK_LIST + ["Softmax"]`) and some change it in place.
DEFAULT_OP_BLOCK_LIST = [
    "ArrayFeatureExtractor", "Binarizer", "CastMap", "CategoryMapper", "DictVectorizer",
    "FeatureVectorizer", "Imputer", "LabelEncoder", "LinearClassifier", "LinearRegressor",
    "Normalizer", "OneHotEncoder", "RandomUniformLike", "SVMClassifier", "SVMRegressor", "Scaler",
    "TreeEnsembleClassifier", "TreeEnsembleRegressor", "ZipMap", "NonMaxSuppression", "TopK",
    "RoiAlign", "Resize", "Range", "CumSum", "Min", "Max", "Upsample",
]  # fmt: skip

_Source = str | os.PathLike[str] | ModelProto


def convert_float_to_float16(  # noqa: PLR0913, PLR0917 - the signature that is replaced
    model: _Source,
    min_positive_val: float = 1e-7,
    max_finite_val: float = 1e4,
    keep_io_types: bool | Iterable[str] = False,
    disable_shape_infer: bool = False,
    op_block_list: Iterable[str] | None = None,
    node_block_list: Iterable[str] | None = None,
    check_fp16_ready: bool = True,
) -> ModelProto:
    """Convert a float32 model to float16, in memory.

    Args:
        model: a ModelProto, which is not changed, or a path (any size; external data is read from
            beside it).
        min_positive_val: nonzero magnitudes of weights below it are raised to it; 0 is off.
        max_finite_val: finite magnitudes of weights above it are lowered to it; inf is off.
        keep_io_types: keep graph inputs and outputs float32: all, none, or those named.
        disable_shape_infer: accepted, without effect: types never need shapes.
        op_block_list: op types to keep float32; None is DEFAULT_OP_BLOCK_LIST, and a list given
            replaces it. A blocked node's subgraphs are blocked with it.
        node_block_list: names of nodes to keep float32.
        check_fp16_ready: refuse a model that is already all float16, where nothing is left to
            convert. A model that is float16 in part is converted; its float16 parts stay.

    Returns:
        A new model. One above 2 GiB can be held, but must be saved with external data.

    Warns:
        UserWarning: values of a weight were clipped, with counts, once a tensor; or something in
            the model could not be taken as it stands.

    Raises:
        ValueError: the model is already all float16.
        OptionError: an argument is out of range, or keep_io_types names no graph input or output.
        ModelError, DataError: the model, or its data, cannot be read.
        UnsupportedModelError: the model has what this version cannot convert.
    """
    ops = DEFAULT_OP_BLOCK_LIST if op_block_list is None else op_block_list
    options = ConvertOptions(
        target="any",  # rule 1
        keep_io_types=_kept(keep_io_types),
        min_positive=min_positive_val,
        max_finite=max_finite_val,
        op_block=_escaped("op_block_list", ops),
        node_block=_escaped("node_block_list", node_block_list or ()),
        progress=_show_written(),
    )
    result = _convert(model, options, check_fp16_ready)
    _warn_all(result, stacklevel=3)
    return _model_of(result)


def convert_float_to_float16_model_path(
    model_path: str | os.PathLike[str],
    min_positive_val: float = 1e-7,
    max_finite_val: float = 1e4,
    keep_io_types: bool | Iterable[str] = False,
) -> ModelProto:
    """Convert the float32 model in a file, of any size, to float16, in memory.

    The same as `convert_float_to_float16` with a path and its defaults for all else. To convert a
    large model without holding it, use `halve.convert(source, target)`.

    Raises:
        The same, and OptionError where `model_path` is no path.
    """
    if isinstance(model_path, ModelProto):
        raise OptionError(
            "model_path is a ModelProto; allowed: a path; for a model in memory call "
            "convert_float_to_float16"
        )
    options = ConvertOptions(
        target="any",  # rule 1
        keep_io_types=_kept(keep_io_types),
        min_positive=min_positive_val,
        max_finite=max_finite_val,
        op_block=_escaped("op_block_list", DEFAULT_OP_BLOCK_LIST),
        progress=_show_written(),
    )
    result = _convert(model_path, options, check_ready=True)
    _warn_all(result, stacklevel=3)
    return _model_of(result)


def convert_tensor_float_to_float16(
    tensor: TensorProto, min_positive_val: float = 1e-7, max_finite_val: float = 1e4
) -> TensorProto:
    """Convert a float32 tensor to float16, in place as the original does.

    The values become those of `convert_np_to_float16`, in raw_data whatever field they came from;
    name, shape and documentation stay. A tensor of another type is left alone.

    Returns:
        `tensor` itself.

    Warns:
        UserWarning: values were clipped: one warning, with the tensor's name and the counts.

    Raises:
        OptionError: `tensor` is not a TensorProto.
        DataError: its payload is external and not loaded, missing, or not of the size that its
            shape asks for. The tensor is unchanged.
        CastError: a bound is out of range. The tensor is unchanged.
    """
    if not isinstance(tensor, TensorProto):
        raise OptionError(f"tensor is {type(tensor).__name__}; allowed: an onnx.TensorProto")
    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    label = f"tensor {text(tensor.name)!r}"
    if is_external(tensor) and not (tensor.HasField("raw_data") or tensor.float_data):
        raise DataError(
            f"{label} has external data that is not loaded; call "
            "onnx.external_data_helper.load_external_data_for_tensor first"
        )
    values = read_array(inline_ref(tensor, label))
    half, counts = _clip(values, min_positive_val, max_finite_val)
    clear_payload(tensor)
    tensor.data_type = TensorProto.FLOAT16
    tensor.raw_data = half.astype("<f2").tobytes()
    _warn(f"{label}: ", counts, min_positive_val, max_finite_val)
    return tensor


def convert_np_to_float16(
    np_array: ArrayLike, min_positive_val: float = 1e-7, max_finite_val: float = 1e4
) -> NDArray[np.float16]:
    """Clip the magnitudes of an array to a range and round it to float16.

    |x| in (0, min_positive_val) becomes ±min_positive_val, finite |x| > max_finite_val becomes
    ±max_finite_val; 0, -0, NaN and ±inf stay and the sign never changes; then each value is
    rounded to nearest, ties to even. Bounds of float32 arrays are compared in float32; arrays of
    other real types are clipped in their own precision and rounded once.

    Args:
        np_array: an array of real numbers of any shape, 0-d and empty included; not changed.
        min_positive_val: finite, at least 0 (off) and at most max_finite_val.
        max_finite_val: more than 0; inf is no bound.

    Returns:
        A new float16 array of the same shape.

    Warns:
        UserWarning: values were clipped: one warning an array, with the counts.

    Raises:
        CastError: the array is not of real numbers, or a bound is out of range.
    """
    half, counts = _clip(np.asarray(np_array), min_positive_val, max_finite_val)
    _warn("", counts, min_positive_val, max_finite_val)
    return half


def _kept(keep_io_types: bool | Iterable[str]) -> bool | tuple[str, ...]:
    if isinstance(keep_io_types, str):
        raise OptionError(
            f"keep_io_types is {keep_io_types!r}; allowed: True, False or a list of names"
        )
    if isinstance(keep_io_types, Iterable):
        return tuple(keep_io_types)
    return bool(keep_io_types)  # the original asks for truth only: 0, 1 and None are seen


def _escaped(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    """Rule 2: patterns that match these names and no others."""
    if isinstance(names, str):
        raise OptionError(f"{argument} is {names!r}, a string; allowed: a list of names")
    return tuple(re.escape(name) for name in names)


def _convert(source: _Source, options: ConvertOptions, check_ready: bool) -> ConvertResult:
    result = convert(source, options=options)
    if check_ready and result.identity and _has_float16(_model_of(result)):
        _check_not_all_half(source, options)
    _say(
        f"{result.half_node_count} of {result.float_node_count} float nodes are float16, "
        f"{len(result.casts)} casts inserted"
    )
    return result


def _model_of(result: ConvertResult) -> ModelProto:
    assert result.model is not None  # without a target the result holds it
    return result.model


def _check_not_all_half(source: _Source, options: ConvertOptions) -> None:
    """Tell a model that is all float16 from one whose float32 part the caller keeps."""
    free = replace(options, op_block=(), node_block=(), keep_io_types=False, progress=None)
    if convert(source, options=free).identity:
        where = "the model" if isinstance(source, ModelProto) else os.fspath(source)
        raise ModelError(
            f"{where} is already float16: it has no float32 that could be converted; allowed: a "
            "model with float32 in it; with check_fp16_ready=False it comes back unchanged"
        )


def _has_float16(model: ModelProto) -> bool:
    """Whether a weight, an annotated value or a type attribute of the model is float16."""
    graph = model.graph
    infos = (*graph.input, *graph.output, *graph.value_info)
    return (
        any(info.type.tensor_type.elem_type == DType.FLOAT16 for info in infos)
        or any(tensor.data_type == DType.FLOAT16 for _, tensor in iter_tensors(model))
        or any(
            attribute.name in ("to", "dtype") and attribute.i == DType.FLOAT16
            for node in graph.node
            for attribute in node.attribute
        )
    )


def _warn_all(result: ConvertResult, stacklevel: int) -> None:
    """Rule 3."""
    for warning in result.warnings:
        if not warning.startswith(NO_SUCH_OPS):  # the default list names what few models have
            warnings.warn(warning, stacklevel=stacklevel)


def _say(line: str) -> None:
    """Rule 4."""
    if os.environ.get("HALVE_QUIET", "") in ("", "0"):
        print(f"halve.float16: {line}", file=sys.stderr, flush=True)


def _show_written() -> Callable[[Progress], None]:
    """A line for each further GiB, so that small models have none."""
    shown = 0

    def show(progress: Progress) -> None:
        nonlocal shown
        if progress.done_bytes >> 30 > shown:
            shown = progress.done_bytes >> 30
            _say(f"{shown} of {progress.total_bytes / (1 << 30):.1f} GiB converted")

    return show


def _warn(label: str, counts: CastCounts, low: float, high: float) -> None:
    """At the line that called the public function."""
    clipped = counts.raised + counts.lowered
    if clipped:
        warnings.warn(
            f"{label}float16 conversion clipped {clipped} of {counts.elements} values: "
            f"{counts.raised} nonzero magnitudes below {low} were raised to it, "
            f"{counts.lowered} above {high} were lowered to it",
            stacklevel=3,
        )


def _clip(array: NDArray[Any], low: float, high: float) -> tuple[NDArray[np.float16], CastCounts]:
    if array.dtype.newbyteorder("=") == np.float32:
        return cast(array, np.float16, min_positive=low, max_finite=high)
    return _clip_other(array, low, high)


def _clip_other(
    array: NDArray[Any], low: float, high: float
) -> tuple[NDArray[np.float16], CastCounts]:
    if array.dtype.kind not in "fiub":
        raise CastError(f"array has dtype {array.dtype}; allowed: real numbers, such as float32")
    if not (0 <= low < np.inf and high > 0 and low <= high):
        raise CastError(
            f"min_positive_val is {low}, max_finite_val {high}; allowed: "
            "0 <= min_positive_val < inf, max_finite_val > 0 and >= min_positive_val"
        )
    # Integers are exact in float64 as far as float16 can tell; wider floats keep their type.
    values = array if array.dtype.kind == "f" else array.astype(np.float64)
    magnitude = np.abs(values)
    raised = (magnitude > 0) & (magnitude < low)
    lowered = np.isfinite(values) & (magnitude > high)
    bounded = np.where(raised, low, np.where(lowered, high, magnitude))
    with np.errstate(all="ignore"):
        half = np.asarray(np.copysign(bounded, values).astype(np.float16))
    counts = CastCounts(elements=array.size, raised=int(raised.sum()), lowered=int(lowered.sum()))
    return half, counts
