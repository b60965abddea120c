"""The models that `auto` leaves in a workspace: fp32.onnx, fp16.onnx and deploy.onnx."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from halve.auto.candidate import Judge
from halve.options import ConvertOptions
from halve.source import open_model
from halve.types import CastJob, RewrittenModel, SourceModel
from halve.write import write_model
from halve.write.target import resolve_target

__all__ = ["DEPLOY", "HALF", "SINGLE", "keep_deployed", "keep_runs"]

SINGLE, HALF, DEPLOY = "fp32.onnx", "fp16.onnx", "deploy.onnx"


def keep_runs(judge: Judge, given: Sequence[int], target: Path) -> None:
    """Leave the model that was searched, and the 16-bit one that keeps only `given` float32.

    Payload is streamed. A file that is the source or `target` itself is left alone; nothing is
    done where the workspace is not kept.

    Raises:
        OutputError: a file cannot be written; what was there is untouched.
    """
    single, half = (_place(judge, name, target) for name in (SINGLE, HALF))
    if single is not None:
        _copy(judge, judge.model, single)
    if half is not None:
        judge.convert(given, half)


def keep_deployed(judge: Judge, target: Path) -> None:
    """Leave a copy of the written model at `target`, under the conditions of `keep_runs`.

    Raises:
        OutputError: it cannot be written; what was there is untouched.
    """
    place = _place(judge, DEPLOY, target)
    if place is not None:
        _copy(judge, open_model(target), place)


def _place(judge: Judge, name: str, target: Path) -> Path | None:
    """Where a model of that name goes; None where it must not be written."""
    if not judge.workspace.kept:
        return None
    place = resolve_target(judge.workspace.folder / name)
    source = judge.model.path
    taken = [target, *judge.model.data_files, *([] if source is None else [source])]
    return None if place in map(resolve_target, taken) else place


def _copy(judge: Judge, model: SourceModel, place: Path) -> None:
    """Write a model as it is, but with data files where the options want them."""
    jobs = tuple(CastJob(ref.name, ref, ref.dtype) for ref in model.refs)
    same = RewrittenModel(model.proto, jobs, identity=not model.data_files)
    asked = judge.options.convert
    layout = ConvertOptions(
        external_data=asked.external_data,
        shard_size_bytes=asked.shard_size_bytes,
        threads=asked.threads,
        budget_bytes=asked.budget_bytes,
    )
    write_model(same, model, place, options=layout)
