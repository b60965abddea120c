"""Outputs that are judged in the device's memory, where they were made."""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from halve.compare.verdict import compare_on, compare_outputs
from halve.errors import BackendUnavailableError, SessionError
from halve.search_types import OutputTrial, Tolerances
from halve.session.runtime import Session
from halve.session.steps import Outputs
from halve.session.values import from_value

__all__ = ["DeviceJudge"]

# Types of outputs that the device compares with float32 references.
_PORT_TYPES = ("tensor(float)", "tensor(float16)", "tensor(bfloat16)")
# Types whose values float32 has, too.
_WITHIN_FLOAT32 = (np.float32, np.float16, ml_dtypes.bfloat16)


class DeviceJudge:
    """References in the devices' memory, each uploaded once, and outputs compared with them there.

    Safe to use from several threads.
    """

    def __init__(
        self,
        references: Sequence[Outputs],
        tolerances: Tolerances,
        upload: Callable[[NDArray[Any], int], Any],
    ) -> None:
        """`references` by sample; `upload(array, device)` makes a value that lies there."""
        self._references = tuple(references)
        self._tolerances = tolerances
        self._upload = upload
        self._lock = threading.Lock()
        self._values: dict[tuple[int, str, int], Any] = {}

    def clear(self) -> None:
        """Let go of what was uploaded; what is asked for again is uploaded again."""
        with self._lock:
            self._values.clear()

    def staying(self, session: Session, sample: int) -> list[str]:
        """The outputs that are judged on the device: floats with a reference that float32 holds.

        All else comes to the processor.
        """
        reference = self._references[sample]
        return [
            port.name
            for port in session.outputs
            if port.type in _PORT_TYPES
            and port.name in reference
            and reference[port.name].dtype in _WITHIN_FLOAT32
        ]

    def judge(
        self, session: Session, sample: int, values: Mapping[str, Any], device: int
    ) -> tuple[OutputTrial, ...]:
        """The trials of a sample's outputs, in the references' order; values are OrtValues.

        Raises:
            SessionError: the device fails, for want of memory for instance.
        """
        staying = set(self.staying(session, sample))
        return tuple(
            self._judge_there(sample, name, values[name], device)
            if name in staying
            else self._judge_here(sample, name, from_value(values[name], session.where))
            for name in self._references[sample]
        )

    def _judge_there(self, sample: int, name: str, value: Any, device: int) -> OutputTrial:
        reference = self._references[sample][name]
        if tuple(value.shape()) == reference.shape and reference.size:
            held = self._reference(sample, name, device)
            try:
                return compare_on(name, value, held, self._tolerances.of(name))
            except BackendUnavailableError as error:
                raise SessionError(f"output {name!r} cannot be compared: {error}") from error
        return self._judge_here(sample, name, np.empty(tuple(value.shape()), np.float32))

    def _judge_here(self, sample: int, name: str, array: NDArray[Any]) -> OutputTrial:
        reference = self._references[sample][name]
        return compare_outputs({name: array}, {name: reference}, self._tolerances)[0]

    def _reference(self, sample: int, name: str, device: int) -> Any:
        key = (sample, name, device)
        with self._lock:
            if key not in self._values:
                # ascontiguousarray would turn a scalar into one dimension.
                array = np.require(self._references[sample][name], np.float32, "C")
                self._values[key] = self._upload(array, device)
            return self._values[key]
