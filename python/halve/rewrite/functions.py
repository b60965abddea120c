"""Pass: put the rewritten instances of local functions back, one function for all equal ones.

1. Calls whose instances came out equal share one function; one variant keeps the name.
2. Each further variant gets a name of its own, and its calls use that.
3. A function that no node calls stays as it is.
4. A function whose body got a Cast imports the default domain.
"""

from __future__ import annotations

from onnx import FunctionProto

from halve.plan.analysis import Scope
from halve.rewrite.state import CAST_OPSET, Rewriting, unused
from halve.source import iter_function_tensors, payload_index, set_payload
from halve.source.scopes import function_path
from halve.types import CastJob

__all__ = ["Variants"]


class Variants:
    """The distinct instances of each function, collected from the innermost out."""

    def __init__(self, state: Rewriting) -> None:
        """Nothing collected yet."""
        self._state = state
        self._known: dict[str, dict[bytes, FunctionProto]] = {}
        self._names: set[str | bytes] = {f.name for f in state.proto.functions}
        self._jobs: dict[tuple[object, ...], int] = {}

    def add(self, scope: Scope, body: FunctionProto) -> None:
        """Take a finished instance, and name its variant in the call (rules 1, 2 and 4)."""
        _import_default_domain(scope, body)
        self._share_jobs(body)
        path = function_path(body)
        known = self._known.setdefault(path, {})
        chosen = known.setdefault(body.SerializeToString(deterministic=True), body)
        if chosen is body and len(known) > 1:
            chosen.name = unused(body.name, self._names)
        if scope.owner is not None:
            self._state.nodes[scope.owner.uid].op_type = chosen.name

    def _share_jobs(self, body: FunctionProto) -> None:
        """Give equal payloads of different instances one job, so that equal instances compare."""
        for tensor in iter_function_tensors(body):
            index = payload_index(tensor)
            if index is not None:
                key = _job_key(self._state.jobs[index])
                set_payload(tensor, self._jobs.setdefault(key, index))

    def place(self) -> None:
        """Replace the model's functions (rule 3)."""
        functions = self._state.proto.functions
        placed = [
            variant
            for function in functions
            for variant in self._known.get(function_path(function), {b"": function}).values()
        ]
        del functions[:]
        functions.extend(placed)


def _job_key(job: CastJob) -> tuple[object, ...]:
    ref = job.ref
    origin = ref.origin
    if isinstance(origin, bytes) and len(origin) > sum(span.nbytes for span in ref.spans):
        return id(origin), ref.spans, job.dtype  # a whole model in memory: identity is enough
    return origin, ref.spans, job.dtype


def _import_default_domain(scope: Scope, body: FunctionProto) -> None:
    imported = {entry.domain for entry in body.opset_import}
    needs = any(node.op_type == "Cast" and node.domain == "" for node in body.node)
    if needs and not imported & {"", "ai.onnx"}:
        body.opset_import.add(domain="", version=scope.opsets[""] or CAST_OPSET)
