"""Drop-in replacement of TopsIDEAS's `mix_precision` module.

What it does otherwise than the original:
1. Candidates are judged by a real rounding of every 16-bit tensor, wherever there is no provider
   that computes in 16 bits; the model that is returned was written, read back and judged.
2. The set of float32 nodes is minimal: without any one of them the verdict fails.
3. Progress goes to stderr as plain lines; HALVE_QUIET=1 switches it off.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve.auto import search
from halve.conversion import convert
from halve.errors import OptionError, SampleError
from halve.files import given_path
from halve.options import ConvertOptions
from halve.report.lines import progress_lines
from halve.search_options import SearchOptions
from halve.search_types import OutputTolerance, Tolerances
from halve.session.installed import describe_runtime
from halve.session.runtime import CPU_PROVIDER, load
from halve.session.samples import Sample
from halve.source import open_model, text

__all__ = ["AutoMixPrecision", "parse_resource_mode"]

_CUDA = "CUDAExecutionProvider"
_DEPLOY = "deploy.onnx"
_Arrays = Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]
_Validate = Callable[[list[NDArray[Any]], list[NDArray[Any]]], bool]


def parse_resource_mode(mode: str) -> tuple[int, int]:
    """(workers, threads of each) of a mode such as "4c2t", or TopsIDEAS's "1c4s".

    Raises:
        OptionError: the mode is not understood.
    """
    match = re.fullmatch(r"([1-9]\d*)c([1-9]\d*)[st]", mode.strip().lower())
    if match is None:
        raise OptionError(
            f'resource_mode is {mode!r}; allowed: WORKERSc and THREADSt, as in "4c2t" ("1c4s")'
        )
    return int(match[1]), int(match[2])


class AutoMixPrecision:
    """Finds the nodes of a model that must stay float32, and makes the deployable model.

    `workspace` (None: none is kept) may be set to a folder for the journal, the plan and
    deploy.onnx.
    """

    def __init__(
        self,
        input_onnx: str | os.PathLike[str],
        input_names: Sequence[str],
        input_shapes: Sequence[Sequence[int]],
        min_shapes: Sequence[Sequence[int]] | None = None,
        max_shapes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Open a model.

        Args:
            input_onnx: the float32 model.
            input_names: its inputs, in the order in which samples give them.
            input_shapes: a shape an input; samples must have it, unless there is a range.
            min_shapes: the smallest shape an input, where shapes vary.
            max_shapes: the largest, likewise.

        Raises:
            OptionError: names or shapes do not fit each other or the model.
            ModelError: the model cannot be read.
        """
        self._path = given_path(input_onnx, what="input_onnx")
        graph = open_model(self._path).proto.graph
        weights = {tensor.name for tensor in graph.initializer}
        known = [text(info.name) for info in graph.input if info.name not in weights]
        self._names = list(input_names)
        if sorted(self._names) != sorted(known):
            raise OptionError(f"input_names is {self._names}; allowed: the model's inputs, {known}")
        self._outputs = [text(info.name) for info in graph.output]
        self._low = self._by_name("min_shapes", min_shapes or input_shapes)
        self._high = self._by_name("max_shapes", max_shapes or input_shapes)
        self.workspace: Path | None = None

    def run(  # noqa: PLR0913, PLR0917 - the signature that is replaced
        self,
        sample_inputs: Sequence[_Arrays],
        sample_outputs: Sequence[_Arrays] | None,
        block_op_ids: Sequence[int] | None = None,
        rtol: float = 1e-2,
        atol: float = 1e-2,
        val_func: _Validate | None = None,
        card_id: int = 0,
        cluster_id: int = -1,
        resource_mode: str | None = None,
    ) -> list[int]:
        """Search.

        Args:
            sample_inputs: a sample is a list of arrays in the order of input_names, or a dict.
            sample_outputs: golden outputs, a list of arrays in graph order (or a dict) a sample;
                None judges against the float32 run.
            block_op_ids: ids of nodes that stay float32 whatever is found.
            rtol: an element matches where |a - b| <= atol + rtol·|b|.
            atol: see rtol.
            val_func: (golden, current) -> bool replaces rtol and atol; called once a sample, and
                must be true for all.
            card_id: the device, where there is a CUDA provider; the processor is one.
            cluster_id: pins the search to one worker slot; -1 uses all.
            resource_mode: see parse_resource_mode; None is a worker a core.

        Returns:
            The ids of the nodes that must stay float32, ascending, block_op_ids included.

        Raises:
            VerdictError: the float32 model fails its own check, or no set of nodes passes.
            SampleError, OptionError: an argument does not fit the model, or val_func raises or
                returns anything but a bool.
        """
        blocked = tuple(block_op_ids or ())
        workers, threads = parse_resource_mode(resource_mode) if resource_mode else (0, 1)
        provider = _provider()
        options = SearchOptions(
            convert=ConvertOptions(fp32_nodes=blocked),
            tolerances=Tolerances(OutputTolerance(rtol=rtol, atol=atol)),
            validate=val_func,
            validate_only=val_func is not None,
            workers=workers if cluster_id < 0 else 1,
            threads_per_trial=threads,
            devices=(card_id,) if provider == _CUDA else (0,),
            provider=provider,
            workspace=self.workspace,
            progress=progress_lines(),
        )
        result = search(self._path, self._samples(sample_inputs, sample_outputs), options=options)
        return sorted({*blocked, *result.required, *result.carried})

    def finalize(
        self,
        fp32_ids: Sequence[int],
        card_id: int = 0,
        cluster_id: int = -1,
        resource_mode: str | None = None,
    ) -> Any:  # noqa: ANN401 - ONNX Runtime's session has no type outside it
        """The deployable model in which these nodes are float32, ready to run; saved as deploy.onnx
        where there is a workspace.

        `card_id` is the device; `cluster_id` is taken for compatibility, a session has one slot;
        the threads of `resource_mode` are those of the session.

        Returns:
            An onnxruntime.InferenceSession.

        Raises:
            OptionError: an id that the model does not have, or a mode that is not understood.
            SessionError: the model does not load.
        """
        _, threads = parse_resource_mode(resource_mode) if resource_mode else (1, 1)
        options = ConvertOptions(fp32_nodes=tuple(fp32_ids))
        if self.workspace is not None:
            self.workspace.mkdir(parents=True, exist_ok=True)
            return self._written(self.workspace / _DEPLOY, options, card_id, threads)
        with tempfile.TemporaryDirectory(prefix="halve-deploy-") as folder:
            return self._written(Path(folder) / _DEPLOY, options, card_id, threads)

    def _written(self, path: Path, options: ConvertOptions, card_id: int, threads: int) -> Any:  # noqa: ANN401 - as finalize
        convert(self._path, path, options=options)
        provider = _provider()
        device = {"device_id": str(card_id)} if provider == _CUDA else {}
        session = load(path, provider=provider, provider_options=device, threads=threads)
        return session.inner

    def _by_name(self, what: str, shapes: Sequence[Sequence[int]]) -> dict[str, tuple[int, ...]]:
        if len(shapes) != len(self._names):
            raise OptionError(
                f"{what} has {len(shapes)} shapes for {len(self._names)} inputs; allowed: one each"
            )
        return {name: tuple(shape) for name, shape in zip(self._names, shapes, strict=True)}

    def _samples(
        self, inputs: Sequence[_Arrays], outputs: Sequence[_Arrays] | None
    ) -> tuple[Sample, ...]:
        if outputs is not None and len(outputs) != len(inputs):
            raise SampleError(
                f"there are {len(inputs)} sample_inputs and {len(outputs)} sample_outputs; allowed:"
                " as many"
            )
        rows = []
        for number, given in enumerate(inputs):
            arrays = _named(given, self._names, f"sample {number}: inputs")
            self._check_shapes(arrays, number)
            golden = None
            if outputs is not None:
                golden = _named(outputs[number], self._outputs, f"sample {number}: outputs")
            rows.append(Sample(number, arrays, golden))
        return tuple(rows)

    def _check_shapes(self, arrays: Mapping[str, NDArray[Any]], number: int) -> None:
        for name, array in arrays.items():
            low, high = self._low[name], self._high[name]
            fits = array.ndim == len(low) == len(high) and all(
                a <= size <= b for a, size, b in zip(low, array.shape, high, strict=True)
            )
            if not fits:
                raise SampleError(
                    f"sample {number}: input {name!r} has shape {list(array.shape)}; allowed:"
                    f" {list(low)}" + ("" if low == high else f" to {list(high)}")
                )


def _named(given: _Arrays, names: Sequence[str], where: str) -> dict[str, NDArray[Any]]:
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise SampleError(f"{where} are {sorted(given)}; allowed: {sorted(names)}")
        return {name: np.asarray(given[name]) for name in names}
    if len(given) != len(names):
        raise SampleError(f"{where}: {len(given)} arrays; allowed: {len(names)}, for {list(names)}")
    return {name: np.asarray(array) for name, array in zip(names, given, strict=True)}


def _provider() -> str:
    return _CUDA if _CUDA in describe_runtime().providers else CPU_PROVIDER
