"""`halve.from_torch`: a PyTorch module exported in float32 and converted.

1. The module is exported as it is, where it is: in eval mode, its flags put back afterwards.
2. A module with 16-bit parameters or buffers is exported as a float32 copy, which holds the same
   values; 16-bit arguments are widened with it.
3. An autocast that surrounds the call is off while exporting; one inside `forward` is part of the
   module, and its casts are part of the model.
4. Only this file knows PyTorch, and imports it when asked.
"""

# ruff: noqa: ANN401 - PyTorch's objects have no type outside it

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from halve.conversion import convert
from halve.errors import BackendUnavailableError, ModelError, OptionError
from halve.files import given_path
from halve.options import ConvertOptions
from halve.types import ConvertResult

__all__ = ["EXPORTERS", "export_torch", "from_torch"]

EXPORTERS = ("dynamo", "torchscript")
_INSTALL_HINT = "install the extra halve[torch]"


def from_torch(  # noqa: PLR0913 - keywords, all with defaults
    module: Any,
    args: Any,
    target: str | os.PathLike[str] | None = None,
    *,
    dtype: str = "float16",
    options: ConvertOptions | None = None,
    kwargs: Mapping[str, Any] | None = None,
    exporter: str = "dynamo",
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    opset: int | None = None,
) -> ConvertResult:
    """Export a module in float32 on whatever device it is on, and convert the model.

    Float32 constants in `forward`, operators without a 16-bit kernel on that device, and machines
    without a GPU are no obstacle, because PyTorch never computes in 16 bits. The module is not
    changed; a `.half()`-ed one is exported as a float32 copy of the same values.

    Args:
        module: a `torch.nn.Module`.
        args: what `forward` takes by position: a tuple, or one tensor.
        target: where to write, or None: `result.model` holds the model then.
        dtype: "float16" or "bfloat16".
        options: how to convert; see `halve.convert`.
        kwargs: what `forward` takes by name.
        exporter: "dynamo" (torch.export, keeps control flow such as torch.cond) or
            "torchscript" (traces; what data decides is fixed by `args`).
        input_names, output_names: names in the model; None leaves them to the exporter.
        dynamic_axes: for "torchscript": {input name: {axis: name}}, as torch.onnx.export takes it.
        dynamic_shapes: for "dynamo": shapes as torch.export.export takes them.
        opset: of the model; None is the exporter's default.

    Raises:
        BackendUnavailableError: PyTorch, or for "dynamo" onnxscript, is not installed.
        OptionError: an argument has a value that is not allowed.
        ModelError: PyTorch cannot export the module.
        HalveError: as `halve.convert` raises. What was at the target is untouched.
    """
    path = None if target is None else given_path(target, what="the new model")
    made = _options(dtype, options)
    with tempfile.TemporaryDirectory(prefix="halve-export-") as folder:
        exported = Path(folder) / "model.onnx"
        export_torch(
            module,
            args,
            exported,
            kwargs=kwargs,
            exporter=exporter,
            input_names=input_names,
            output_names=output_names,
            dynamic_axes=dynamic_axes,
            dynamic_shapes=dynamic_shapes,
            opset=opset,
        )
        return convert(exported, path, options=made)


def export_torch(  # noqa: PLR0913 - keywords, all with defaults
    module: Any,
    args: Any,
    target: str | os.PathLike[str],
    *,
    kwargs: Mapping[str, Any] | None = None,
    exporter: str = "dynamo",
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    opset: int | None = None,
) -> Path:
    """The first half of `from_torch`: the float32 model, as a search needs it for `halve.auto`.

    Weights lie beside the file where PyTorch puts them there.

    Raises:
        BackendUnavailableError, OptionError, ModelError: as `from_torch` raises.
    """
    torch = _torch()
    _check(torch, module, exporter, dynamic_axes, dynamic_shapes)
    path = given_path(target, what="the exported model")
    settings: dict[str, Any] = {
        "input_names": input_names and list(input_names),
        "output_names": output_names and list(output_names),
        "opset_version": opset,
    }
    if exporter == "dynamo":
        settings |= {"dynamo": True, "dynamic_shapes": dynamic_shapes, "verbose": False}
    else:
        settings |= {"dynamo": False, "dynamic_axes": dynamic_axes}
    with _exportable(torch, module) as ready:
        place = _on_device(torch, ready)
        positional = args if isinstance(args, tuple) else (args,)
        given = _mapped(torch, positional, place), _mapped(torch, dict(kwargs or {}), place)
        try:
            torch.onnx.export(ready, given[0], str(path), kwargs=given[1], **settings)
        except Exception as error:  # the exporter's errors share no class below this
            raise ModelError(_cannot_export(ready, exporter, error)) from error
    return path


def _options(dtype: str, options: ConvertOptions | None) -> ConvertOptions:
    given = options or ConvertOptions()
    if given.dtype not in (ConvertOptions().dtype, dtype):
        raise OptionError(
            f"dtype is {dtype!r} and options.dtype is {given.dtype!r}; give the type as dtype alone"
        )
    return replace(given, dtype=dtype)


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise BackendUnavailableError(
            f"PyTorch cannot be imported ({error}); {_INSTALL_HINT}"
        ) from error


def _check(torch: Any, module: Any, exporter: str, axes: object, shapes: object) -> None:
    if exporter not in EXPORTERS:
        raise OptionError(f"exporter is {exporter!r}; allowed: {', '.join(EXPORTERS)}")
    if not isinstance(module, torch.nn.Module):
        raise OptionError(f"module is {type(module).__name__}; allowed: a torch.nn.Module")
    other = {"dynamo": ("dynamic_axes", axes), "torchscript": ("dynamic_shapes", shapes)}
    name, value = other[exporter]
    if value is not None:
        right = "dynamic_shapes" if exporter == "dynamo" else "dynamic_axes"
        raise OptionError(
            f"{name} is not what the exporter {exporter!r} takes; give it {right}, or change "
            "exporter"
        )
    if exporter == "dynamo":
        _check_onnxscript()


def _check_onnxscript() -> None:
    try:
        importlib.import_module("onnxscript")
    except ImportError as error:
        raise BackendUnavailableError(
            f"the exporter 'dynamo' needs onnxscript, which cannot be imported ({error}); "
            f"{_INSTALL_HINT}, or use exporter='torchscript'"
        ) from error


@contextlib.contextmanager
def _exportable(torch: Any, module: Any) -> Iterator[Any]:
    """The module in float32 and in eval mode, without autocast around it (rules 1 to 3)."""
    ready = module
    if any(value.dtype in _halves(torch) for value in _state(module)):
        ready = copy.deepcopy(module)
        for value in _state(ready):
            if value.dtype in _halves(torch):
                value.data = value.data.float()
    training = {part: part.training for part in ready.modules()}
    with contextlib.ExitStack() as stack:
        for kind in {value.device.type for value in _state(ready)} | {"cpu"}:
            if torch.amp.is_autocast_available(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_plain_attention(torch))
        ready.eval()
        try:
            yield ready
        finally:
            for part, flag in training.items():
                part.training = flag


@contextlib.contextmanager
def _plain_attention(torch: Any) -> Iterator[None]:
    """PyTorch's fused encoder layers, which have no ONNX form, switched off meanwhile."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _state(module: Any) -> list[Any]:
    return [*module.parameters(), *module.buffers()]


def _halves(torch: Any) -> tuple[Any, ...]:
    return torch.float16, torch.bfloat16


def _on_device(torch: Any, module: Any) -> Callable[[Any], Any]:
    """What puts an argument where the module is, in float32."""
    device = next((value.device for value in _state(module)), None)

    def place(value: Any) -> Any:
        if value.dtype in _halves(torch):
            value = value.float()
        return value if device is None else value.to(device)

    return place


def _mapped(torch: Any, value: Any, place: Callable[[Any], Any]) -> Any:
    """`value` with `place` of every tensor in its tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        return place(value)
    if isinstance(value, dict):
        return {key: _mapped(torch, item, place) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(torch, item, place) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(_mapped(torch, item, place) for item in value)
    return value


def _cannot_export(module: Any, exporter: str, error: Exception) -> str:
    other = next(name for name in EXPORTERS if name != exporter)
    text = " ".join(str(error).split())[:500]
    return (
        f"{type(module).__name__}: torch.onnx.export cannot export it with the exporter "
        f"{exporter!r} ({type(error).__name__}: {text}); try exporter={other!r}, or export it "
        "yourself and give the file to halve.convert"
    )
