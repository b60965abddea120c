"""A session with its inputs and outputs bound: a run copies nothing to or from Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from halve.session.feeds import check_feeds
from halve.session.installed import runtime_module
from halve.session.runtime import Session, raised_as_session_error
from halve.session.values import from_value, to_value

__all__ = ["BoundRun"]

# Where a provider's tensors live, by ONNX Runtime's names of devices; others take the CPU's.
_DEVICES = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}


class BoundRun:
    """One caller's run of a session, as often as wanted; make one for each thread.

    Inputs are put on the device once. Outputs get buffers there in the first run, which is made
    here, and the same ones are written by every later run.
    """

    def __init__(
        self, session: Session, feeds: Mapping[str, NDArray[Any]], *, device: int = 0
    ) -> None:
        """Bind, and run once.

        Raises:
            SampleError: an input is missing, unknown, or has the wrong type or shape.
            SessionError: ONNX Runtime fails while it runs.
        """
        ready = check_feeds(session.inputs, session.optional, feeds, session.where)
        ort = runtime_module()
        self._session = session
        self._run = session.inner.run_with_iobinding
        self._kept = {name: to_value(ort, array) for name, array in ready.items()}
        self._arrays = ready  # a value may share its array's memory
        self.binding = session.inner.io_binding()
        kind = _DEVICES.get(session.provider, "cpu")
        with raised_as_session_error(session):
            for name, value in self._kept.items():
                self.binding.bind_ortvalue_input(name, value)
            for port in session.outputs:
                self.binding.bind_output(port.name, kind, device if kind != "cpu" else 0)
            self()
            self._keep_buffers()

    def __call__(self) -> None:
        """Run, and wait until the outputs are there."""
        self._run(self.binding)
        self.binding.synchronize_outputs()

    def outputs(self) -> list[NDArray[Any]]:
        """The last run's outputs in graph order, as arrays."""
        return [from_value(value, self._session.where) for value in self._values()]

    def _values(self) -> list[Any]:
        return list(self.binding.get_outputs())

    def _keep_buffers(self) -> None:
        values = self._values()
        if not all(value.is_tensor() for value in values):
            return
        # Each takes its own place again. They are references into the binding's list of outputs, so
        # that clearing that list would leave them without what they refer to.
        for port, value in zip(self._session.outputs, values, strict=True):
            self.binding.bind_ortvalue_output(port.name, value)
