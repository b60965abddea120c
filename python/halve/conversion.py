"""`halve.convert`: the chain of `halve.convert.convert`, with ONNX Runtime to ask for types."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from halve.ahead import Ahead
from halve.convert import convert as convert_without_runtime
from halve.options import ConvertOptions
from halve.types import ConvertResult, TypeAnswer, TypeOracle, TypeQuestion

__all__ = ["convert", "convert_begun"]


def convert(
    source: str | os.PathLike[str] | ModelProto,
    target: str | os.PathLike[str] | None = None,
    *,
    options: ConvertOptions | None = None,
) -> ConvertResult:
    """Convert a float32 model to float16 or bfloat16.

    `source` is a path or a ModelProto, which is not changed. With a `target` path the result is
    written there, the weights streamed past in bounded memory; without one `result.model` holds
    it. float32 operands that stay float32, and why, stand in `result.plan`. Weights are rounded to
    nearest even within the bounds of the options; what was clipped or flushed is counted in
    `result.summary` and named in `result.warnings`. Nothing is run, so nothing is said of accuracy.

    Where the model has operators without an ONNX schema, ONNX Runtime is asked what types they
    make, with `options.custom_op_library` where one is given; what it does not know, and anything
    where it is not installed, stays as it is and is named in `result.warnings`.

    With `options.simplify` the model is simplified first, as `halve.simplify` does it.

    Raises:
        OptionError: an option does not fit this model (an unknown id or graph output).
        ModelError, DataError: the source cannot be read.
        UnsupportedModelError: the source has what this version cannot convert.
        PlanError: the plan in the options cannot be read or is of another model.
        VerdictError: the simplified model does not compute what the source does.
        SessionError: the custom-op library cannot be loaded.
        OutputError: the target cannot be written, or is the source. What was there is untouched.
    """
    asking = _asking_runtime(options)
    if asking.simplify is None:
        return convert_without_runtime(source, target, options=asking)
    # Here, because a conversion alone runs nothing, and imports nothing that could.
    from halve.simplify import convert_simplified

    return convert_simplified(source, target, asking)


def convert_begun(
    source: Path, target: Path, *, options: ConvertOptions, ahead: Ahead | None
) -> ConvertResult:
    """`convert` to a file, of which `ahead` may have written a part already.

    `ahead` is what `write_ahead` began for this source, target and options.
    """
    if ahead is None:
        return convert(source, target, options=options)
    return convert_without_runtime(source, target, options=_asking_runtime(options), ahead=ahead)


def _asking_runtime(options: ConvertOptions | None) -> ConvertOptions:
    """The options with ONNX Runtime as the type oracle where they name none."""
    options = options or ConvertOptions()
    if options.type_oracle is not None:
        return options
    return replace(options, type_oracle=_RuntimeTypes(options.custom_op_library))


class _RuntimeTypes:
    """The oracle of `session`, which is imported when it is needed: for few models."""

    def __init__(self, custom_op_library: Path | None) -> None:
        self._library = custom_op_library

    def __call__(self, questions: Sequence[TypeQuestion]) -> list[TypeAnswer]:
        # To ask nothing finds out whether the library can be loaded, and there may be none.
        return self._oracle(questions) if questions or self._library is not None else []

    @functools.cached_property
    def _oracle(self) -> TypeOracle:
        from halve.session.type_oracle import RuntimeTypes

        return RuntimeTypes(self._library)
