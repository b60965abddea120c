"""Write a mixed model for a set of float32 nodes, and have it judged."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from halve.auto.validating import by_name, checked
from halve.auto.workspace import Workspace
from halve.convert import convert
from halve.search_options import SearchOptions
from halve.search_types import FinalVerdict
from halve.session.samples import Sample
from halve.session.steps import Outputs
from halve.session.written import JudgeSettings, check_loads, open_written, reference_outputs
from halve.source import open_model
from halve.types import ConvertResult, SourceModel
from halve.write import copy_model

__all__ = ["Judge", "judge_settings"]

_CPU = "CPUExecutionProvider"
_FOLDER = "scratch-candidate"


def judge_settings(options: SearchOptions) -> JudgeSettings:
    """At which level, and how, a written model is judged under these options."""
    target = options.convert.target
    level = "cpu" if target == "cpu" else "emulated" if options.provider == _CPU else "device"
    return JudgeSettings(
        level=level,
        provider=options.provider,
        provider_options={"device_id": str(options.devices[0])} | dict(options.provider_options)
        if level == "device"
        else options.provider_options,
        session_options=options.session_options,
        threads=options.threads_per_trial,
        custom_op_library=options.convert.custom_op_library,
        feedback=options.feedback,
        # The CPU provider has hardly a bfloat16 kernel, and so loads hardly a bfloat16 model.
        require_load=options.convert.dtype == "float16",
    )


@dataclass(frozen=True, slots=True)
class Judge:
    """Writes candidates into a workspace and judges the files on every sample.

    `longest_s` is the time that the source took for the slowest sample.
    """

    source: Path | ModelProto
    samples: tuple[Sample, ...]
    held_out: frozenset[int]
    references: tuple[Outputs, ...]
    longest_s: float
    options: SearchOptions
    workspace: Workspace
    model: SourceModel

    @classmethod
    def prepare(
        cls,
        source: Path | ModelProto,
        samples: Sequence[Sample],
        held_out: frozenset[int],
        options: SearchOptions,
        workspace: Workspace,
    ) -> Judge:
        """Run the source for what samples without golden outputs are judged against.

        Raises:
            OptionError: a tolerance is for an output that there is not.
            HalveError: as reference_outputs raises.
        """
        model = open_model(source, allow_links=options.convert.allow_links)
        references, longest_s = reference_outputs(source, samples, judge_settings(options))
        rows = tuple(references)
        options.tolerances.check_names({name for reference in rows for name in reference})
        return cls(source, tuple(samples), held_out, rows, longest_s, options, workspace, model)

    def convert(self, fp32_ids: Sequence[int], target: Path) -> ConvertResult:
        """Write the model that keeps these nodes float32."""
        options = replace(
            self.options.convert, fp32_nodes=tuple(fp32_ids), progress=None, plan=None
        )
        return convert(self.source, target, options=options)

    def judge_file(self, path: Path, *, require_load: bool = True) -> FinalVerdict:
        """The verdict on a written file, on all samples at the whole tolerance.

        Without `require_load`, it is for the caller to see that the file itself loads.
        """
        options = self.options
        settings = judge_settings(options)
        settings = replace(settings, require_load=settings.require_load and require_load)
        accept = None if options.validate is None else by_name(checked(options.validate))
        return open_written(path, settings).judge(
            self.samples,
            self.references,
            None if options.validate_only else options.tolerances,
            held_out=self.held_out,
            accept=accept,
        )

    def check_loads(self, path: Path) -> None:
        """Whether ONNX Runtime takes a written file itself.

        Raises:
            SessionError: it does not.
        """
        check_loads(path, judge_settings(self.options))

    def candidate(
        self,
        fp32_ids: Sequence[int],
        name: str,
        *,
        beside: Callable[[Path], object] | None = None,
    ) -> tuple[ConvertResult, FinalVerdict]:
        """Write a candidate inside the workspace, and judge it.

        `beside` is called with the file before that; it is then for the caller to see that the file
        itself loads.
        """
        path = self.workspace.scratch(_FOLDER) / name
        result = self.convert(fp32_ids, path)
        if beside is not None:
            beside(path)
        return result, self.judge_file(path, require_load=beside is None)

    def path_of(self, name: str) -> Path:
        """Where the last candidate of that name is."""
        return self.workspace.folder / _FOLDER / name

    def deliver(
        self, fp32_ids: Sequence[int], target: Path, judged: ConvertResult, verdict: FinalVerdict
    ) -> tuple[ConvertResult, FinalVerdict]:
        """Write the model to `target`. Its bytes are those that were judged, or it is judged
        again: data files may have other names there.
        """
        if len(judged.summary.files) == 1:
            summary = copy_model(judged.summary, self.model, target)
            warnings = tuple(dict.fromkeys((*judged.warnings, *summary.warnings)))
            return replace(judged, target=target, summary=summary, warnings=warnings), verdict
        result = self.convert(fp32_ids, target)
        pairs = zip(judged.summary.files, result.summary.files, strict=True)
        if all(filecmp.cmp(first, second, shallow=False) for first, second in pairs):
            return result, verdict
        return result, self.judge_file(target)
