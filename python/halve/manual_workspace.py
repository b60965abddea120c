"""What manual mode keeps in a workspace: the models that ran, their optimised graphs, the plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from halve.auto.workspace import Workspace
from halve.errors import OutputError, PlanError, SessionError, WorkspaceError
from halve.files import write_text
from halve.manual_types import OutputFiles
from halve.plans import Plan
from halve.session.installed import describe_runtime
from halve.session.runtime import load

__all__ = ["DEPLOY", "ManualFiles"]

DEPLOY = "deploy.onnx"
_STATE = "manual.json"
# Layouts of the processor at hand belong to no file that is to be looked at.
_OPTIMISED = "extended"


@dataclass(slots=True)
class ManualFiles:
    """The files of one measurement; a model that is already there, byte for byte, is left as it is
    with its optimised graph, and named in `reused`. `settings` say how ONNX Runtime loads models.
    """

    workspace: Workspace
    model_hash: str
    settings: Mapping[str, Any] = field(default_factory=dict)
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

    def keep(self, exact: ModelProto, half: ModelProto) -> None:
        """Write the two models as they run, and their optimised graphs.

        Raises:
            OutputError: a file cannot be written.
        """
        if not self.workspace.kept:
            return
        self._state["model"] = self.model_hash
        self._keep("fp32", exact)
        self._keep("fp16", half)
        self._save()

    def save_plan(self, plan: Plan) -> None:
        """Write the plan.

        Raises:
            OutputError: it cannot be written.
        """
        if self.workspace.plan is not None:
            plan.save(self.workspace.plan)

    def deployed(self, plan: Plan, target: Path) -> None:
        """Remember by which plan the model at `target` was written, if it is the workspace's; the
        plan becomes that of the workspace. It keeps what it was verified on, where the same plan
        was measured before.

        Raises:
            OutputError: a file cannot be written.
        """
        if self.workspace.plan is None:
            return
        self._state["model"] = self.model_hash
        if target.resolve() == (self.workspace.folder / DEPLOY).resolve():
            self._state["deploy"] = f"{_digest(_decisions(plan))} {_stamp(target)}"
        self.save_plan(_as_verified(plan, self.workspace.plan))
        self._save()

    def _save(self) -> None:
        text = json.dumps(self._state, indent=1) + "\n"
        write_text(self.workspace.folder / _STATE, text, what="state of the workspace")

    def files(self, plan: Plan) -> OutputFiles:
        """The files that are there; the deployable model only if it was written by this plan."""
        if not self.workspace.kept:
            return OutputFiles()
        folder = self.workspace.folder
        names = {
            "fp16_executable": "fp16.onnx",
            "fp16_hlir": "fp16.optimised.onnx",
            "fp32_executable": "fp32.onnx",
            "fp32_hlir": "fp32.optimised.onnx",
            "deploy": DEPLOY,
            "plan": "plan.json",
        }
        written = f"{_digest(_decisions(plan))} {_stamp(folder / DEPLOY)}"
        if self._state.get("deploy") != written:
            del names["deploy"]
        found = {key: folder / name for key, name in names.items()}
        return OutputFiles(**{key: path for key, path in found.items() if path.is_file()})

    def _keep(self, name: str, model: ModelProto) -> None:
        folder = self.workspace.folder
        path, optimised = folder / f"{name}.onnx", folder / f"{name}.optimised.onnx"
        given = model.SerializeToString()
        loader = f"{describe_runtime().version} {self.settings.get('provider', '')}"
        if self._state.get(name) == loader and path.is_file() and path.read_bytes() == given:
            self.reused.append(path.name)
            return
        self._state.pop(name, None)
        for old in (path, optimised):
            old.unlink(missing_ok=True)
        try:
            path.write_bytes(given)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            load(
                path,
                optimise=_OPTIMISED,
                optimised=optimised,
                **self.settings,
            )
        except SessionError as error:
            self.notes.append(f"there is no optimised graph of {path.name}: {error}")
        self._state[name] = loader


def _stamp(path: Path) -> str:
    """Changes when a search, say, replaces the file."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"


def _digest(basis: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()


def _decisions(plan: Plan) -> dict[str, object]:
    """A plan but for what it was verified on."""
    return replace(plan, runtime="", provider="").record()


def _as_verified(plan: Plan, path: Path) -> Plan:
    try:
        known = Plan.load(path)
    except PlanError:
        return plan
    if _decisions(known) != _decisions(plan):
        return plan
    return replace(plan, runtime=known.runtime, provider=known.provider)
