"""What manual mode keeps in a workspace: the models that ran, their optimised graphs, the plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnx import ModelProto

from halve.auto.workspace import Workspace
from halve.errors import OutputError, SessionError, WorkspaceError
from halve.files import write_text
from halve.manual_types import OutputFiles
from halve.plans import Plan
from halve.session.runtime import load

__all__ = ["ManualFiles"]

_STATE = "manual.json"
# Layouts of the processor at hand belong to no file that is to be looked at.
_OPTIMISED = "extended"


@dataclass(slots=True)
class ManualFiles:
    """The files of one measurement; a file that is already there for the same model and plan is
    left as it is, and named in `reused`.
    """

    workspace: Workspace
    model_hash: str
    custom_op_library: Path | None = None
    reused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _state: dict[str, str] = field(default_factory=dict)

    def open(self) -> None:
        """Read what the workspace holds.

        Raises:
            WorkspaceError: it is of another model.
        """
        path = self.workspace.folder / _STATE
        if not self.workspace.kept or not path.is_file():
            return
        try:
            state = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise WorkspaceError(f"{path} cannot be read: {error}; clean the workspace") from error
        self._state = {str(key): str(value) for key, value in dict(state).items()}
        known = self._state.get("model", self.model_hash)
        if known != self.model_hash:
            raise WorkspaceError(
                f"workspace {self.workspace.folder} is of another model ({known[:12]}, and not"
                f" {self.model_hash[:12]}); clean it, or name another folder"
            )

    def keep(self, exact: ModelProto, half: ModelProto, plan: Plan) -> None:
        """Write the two models as they run, their optimised graphs, and the plan.

        Raises:
            OutputError: a file cannot be written.
        """
        if not self.workspace.kept:
            return
        self._state["model"] = self.model_hash
        self._keep("fp32", exact, {"model": self.model_hash})
        self._keep("fp16", half, {"model": self.model_hash, "plan": plan.record()})
        plan.save(self.workspace.folder / "plan.json")
        text = json.dumps(self._state, indent=1) + "\n"
        write_text(self.workspace.folder / _STATE, text, what="state of the workspace")

    def files(self) -> OutputFiles:
        """The files that are there."""
        if not self.workspace.kept:
            return OutputFiles()
        folder = self.workspace.folder
        names = {
            "fp16_executable": "fp16.onnx",
            "fp16_hlir": "fp16.optimised.onnx",
            "fp32_executable": "fp32.onnx",
            "fp32_hlir": "fp32.optimised.onnx",
            "deploy": "deploy.onnx",
            "plan": "plan.json",
        }
        found = {key: folder / name for key, name in names.items()}
        return OutputFiles(**{key: path for key, path in found.items() if path.is_file()})

    def _keep(self, name: str, model: ModelProto, basis: Mapping[str, object]) -> None:
        folder = self.workspace.folder
        path, optimised = folder / f"{name}.onnx", folder / f"{name}.optimised.onnx"
        digest = hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()
        if self._state.get(name) == digest and path.is_file():
            self.reused.append(path.name)
            return
        self._state.pop(name, None)
        for old in (path, optimised):
            old.unlink(missing_ok=True)
        try:
            path.write_bytes(model.SerializeToString())
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            load(
                path,
                optimise=_OPTIMISED,
                optimised=optimised,
                custom_op_library=self.custom_op_library,
            )
        except SessionError as error:
            self.notes.append(f"there is no optimised graph of {path.name}: {error}")
        self._state[name] = digest
