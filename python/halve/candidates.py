"""Mixed models as skeletons over weights that are converted once and kept once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto, TensorProto

from halve.convert import plan_model, rewrite_model
from halve.errors import OutputError
from halve.options import ConvertOptions
from halve.plan import analyse
from halve.source import iter_tensors, payload_index
from halve.types import CastJob, SourceModel, TensorRef
from halve.write import cast_payload, point_to_file

__all__ = ["CandidateStore"]

_WEIGHTS = "weights.bin"
# ONNX Runtime maps external data by pages where it begins at one.
_ALIGNMENT = 4096


class CandidateStore:
    """Makes the mixed model for any set of float32 nodes, small whatever the weights' size.

    Weights go into one file in `folder`, each at most once a type, the first time that a model
    needs them; models refer to it. Safe to use from several threads.
    """

    def __init__(self, model: SourceModel, options: ConvertOptions, folder: Path) -> None:
        """A store for one source and one set of options, but for the float32 nodes."""
        self._model = model
        self._options = replace(options, plan=None, progress=None)
        self._analysis = analyse(model.proto, options.type_oracle)
        self._lock = threading.Lock()
        self._places: dict[tuple[TensorRef, int], tuple[int, int]] = {}
        self._end = 0
        self.folder = folder
        self.path = folder / _WEIGHTS
        try:
            self.path.write_bytes(b"")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error

    def model(self, fp32_nodes: Sequence[int]) -> bytes:
        """The serialised mixed model; its external data is `path`.

        Raises:
            OutputError: the weights cannot be written (a full disk).
            DataError: the source's weights cannot be read.
        """
        fixed = (*self._options.fp32_nodes, *fp32_nodes)
        options = replace(self._options, fp32_nodes=tuple(sorted(set(fixed))))
        plan, _ = plan_model(self._model, self._analysis, options)
        rewritten, _ = rewrite_model(self._model, self._analysis, plan, options)
        proto = ModelProto()
        proto.CopyFrom(rewritten.proto)
        with self._lock:
            for _, tensor in iter_tensors(proto):
                index = payload_index(tensor)
                if index is not None:
                    self._refer(tensor, rewritten.jobs[index])
        return bytes(proto.SerializeToString())

    def _refer(self, tensor: TensorProto, job: CastJob) -> None:
        key = (job.ref, job.dtype)
        if key not in self._places:
            self._places[key] = self._append(job)
        point_to_file(tensor, _WEIGHTS, *self._places[key])

    def _append(self, job: CastJob) -> tuple[int, int]:
        offset = -(-self._end // _ALIGNMENT) * _ALIGNMENT
        try:
            with self.path.open("r+b") as file:
                file.seek(offset)
                file.write(cast_payload(job))
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written at byte {offset}: {error.strerror}; free some"
                " space, or name a workspace on a larger disk"
            ) from error
        self._end = offset + job.nbytes
        return offset, job.nbytes
