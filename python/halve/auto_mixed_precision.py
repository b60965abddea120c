"""Drop-in replacement of onnxconverter-common's `auto_mixed_precision` modules.

What it does otherwise than the original, beside being right about float16:
1. Candidates are judged by a real rounding of every float16 tensor, never by a float16 graph on
   ONNX Runtime's CPU provider, which would compute it in float32.
2. The set of float32 nodes that is returned has been minimised, and nodes in the bodies of If,
   Loop and Scan are decided like any other.
3. Weights are clipped as by `halve.float16` (1e-7, 1e4). Operators of its DEFAULT_OP_BLOCK_LIST
   stay float32, as in the original.
4. Progress goes to stderr as plain lines; HALVE_QUIET=1 switches it off.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from halve.auto import auto, search_model
from halve.errors import OptionError, OutputError
from halve.float16 import DEFAULT_OP_BLOCK_LIST
from halve.options import ConvertOptions
from halve.report.lines import progress_lines
from halve.search_options import SearchOptions
from halve.search_types import OutputTolerance, Tolerances

__all__ = ["auto_convert_mixed_precision", "auto_convert_mixed_precision_model_path"]

_Feed = Mapping[str, NDArray[Any]]
_Validate = Callable[[list[NDArray[Any]], list[NDArray[Any]]], bool]
_Provider = str | tuple[str, Mapping[str, object]]
_Providers = str | Sequence[_Provider]
_CPU = "CPUExecutionProvider"
# (rtol, atol) for what is not given: numpy.allclose's, and those of the original for files.
_NUMPYS, _PATHS = (1e-5, 1e-8), (1e-3, 1e-5)


def auto_convert_mixed_precision(  # noqa: PLR0913, PLR0917 - the signature that is replaced
    model: ModelProto,
    feed_dict: _Feed | Sequence[_Feed],
    validate_fn: _Validate | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    keep_io_types: bool = False,
) -> ModelProto:
    """Convert a float32 model to float16 but for the nodes that must stay float32.

    Args:
        model: not changed.
        feed_dict: arrays by input name, in the model's float32 types; or a list of such feeds, all
            of which must pass.
        validate_fn: called with (float32 outputs, mixed outputs), two lists of arrays in graph
            order, once a feed; must return True. Instead of or in addition to rtol and atol.
        rtol: as numpy.allclose; given without atol, that is 1e-8.
        atol: as numpy.allclose; given without rtol, that is 1e-5.
        keep_io_types: keep graph inputs and outputs float32.

    Returns:
        A new model, which was judged on every feed.

    Raises:
        ValueError: neither validate_fn nor a tolerance is given.
        VerdictError: the float32 model fails its own check.
        OptionError: validate_fn raises, or returns anything but a bool.
        SampleError: a feed does not fit the model's inputs.
    """
    if validate_fn is None and rtol is None and atol is None:
        raise OptionError("neither a validate function nor rtol or atol is given; give one of them")
    options = _options(validate_fn, (rtol, atol), _NUMPYS, keep_io_types, verbose=False)
    return search_model(model, feed_dict, options=options)


def auto_convert_mixed_precision_model_path(  # noqa: PLR0913, PLR0917 - the signature replaced
    source_model_path: str | os.PathLike[str],
    input_feed: _Feed | Sequence[_Feed],
    target_model_path: str | os.PathLike[str],
    provider: _Providers | None,
    location: str | None = None,
    customized_validate_func: _Validate | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    keep_io_types: bool = True,
    verbose: bool = False,
) -> None:
    """Convert the model in a file, of any size, and write the mixed model to another.

    Args:
        source_model_path: the float32 model.
        input_feed: as `feed_dict` above.
        target_model_path: where to write; its folder is made where it is missing.
        provider: ONNX Runtime's execution provider, or a list that begins with it, alone or as a
            (name, options) pair; None is the CPU's.
        location: any name asks for weights beside the model, as external_data="always" does; the
            file is called after the target.
        customized_validate_func: as `validate_fn` above.
        rtol: as above, but for the default, which without a validate function is 1e-3.
        atol: likewise; the default is 1e-5.
        keep_io_types: keep graph inputs and outputs float32.
        verbose: a line a trial, instead of one where the phase or the clusters change.

    Raises:
        The same, and OutputError where the target cannot be written.
    """
    options = _options(
        customized_validate_func,
        (rtol, atol),
        _PATHS,
        keep_io_types,
        verbose=verbose,
        provider=_first(provider),
        external_data="auto" if location is None else "always",
    )
    source, target = Path(source_model_path), Path(target_model_path)
    try:
        target.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: its folder cannot be made ({error})") from error
    auto(source, target, input_feed, options=options)


def _first(provider: _Providers | None) -> tuple[str, Mapping[str, str]]:
    """The provider that is used, and its options."""
    if not provider:
        return _CPU, {}
    given = provider if isinstance(provider, str) else provider[0]
    if isinstance(given, str):
        return given, {}
    name, options = given
    return name, {key: str(value) for key, value in options.items()}  # as ONNX Runtime takes them


def _options(  # noqa: PLR0913 - one a keyword of the faces
    validate: _Validate | None,
    tolerances: tuple[float | None, float | None],
    defaults: tuple[float, float],
    keep_io_types: bool,
    *,
    verbose: bool,
    provider: tuple[str, Mapping[str, str]] = (_CPU, {}),
    external_data: str = "auto",
) -> SearchOptions:
    rtol, atol = (
        default if given is None else given
        for given, default in zip(tolerances, defaults, strict=True)
    )
    convert = ConvertOptions(
        target="any",  # as halve.float16: only the block list keeps an operator float32
        keep_io_types=bool(keep_io_types),
        min_positive=1e-7,
        max_finite=1e4,
        op_block=tuple(map(re.escape, DEFAULT_OP_BLOCK_LIST)),
        external_data=external_data,
    )
    return SearchOptions(
        convert=convert,
        tolerances=Tolerances(OutputTolerance(rtol, atol)),
        validate=validate,
        validate_only=validate is not None and tolerances == (None, None),
        provider=provider[0],
        provider_options=provider[1],
        progress=progress_lines(every=verbose),
    )
