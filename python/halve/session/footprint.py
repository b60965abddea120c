"""What a model costs a process of its own: the time to load it, its memory, and where nodes run.

`python -m halve.session.footprint` is that process: it reads a request in JSON on stdin and
writes the answer in JSON on stdout. `measure_footprint` is its caller.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from halve.errors import SessionError
from halve.session.bound import BoundRun
from halve.session.installed import runtime_module
from halve.session.runtime import Session, load, raised_as_session_error, run
from halve.session.samples import Sample, read_samples, write_samples

__all__ = ["Footprint", "NodeRun", "measure_footprint"]

# ONNX Runtime's profile calls the run of a node so.
_KERNEL = "_kernel_time"
_FLOATS = ("float", "float16", "bfloat16", "double")
_RUNS = 3
_MARK = "halve-footprint:"


@dataclass(frozen=True, slots=True)
class NodeRun:
    """A node as ONNX Runtime ran it. `index` is its place in its graph as ONNX Runtime holds it,
    which is that in the file for nodes that were not made by ONNX Runtime; `types` are the float
    types of its inputs and outputs.
    """

    name: str
    index: int
    op_type: str
    provider: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Footprint:
    """See BenchModel. `nodes` are of the graph as the file has it, without optimisation."""

    load_s: float
    loaded_bytes: int
    peak_bytes: int
    nodes: tuple[NodeRun, ...] = field(default=())


def measure_footprint(
    model: Path,
    feeds: Mapping[str, NDArray[Any]],
    settings: Mapping[str, Any],
    *,
    timeout_s: float = 600.0,
) -> Footprint:
    """Load and run a model in a fresh process, and once more to see where its nodes run.

    `settings` are arguments of `load`.

    Raises:
        SessionError: it does not load or run there, or the process dies or does not end.
    """
    with tempfile.TemporaryDirectory(prefix="halve-bench-") as folder:
        write_samples(folder, [Sample(0, feeds)])
        request = {"model": str(model.resolve()), "folder": folder, "settings": dict(settings)}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "halve.session.footprint"],
                input=json.dumps(request, default=str),
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SessionError(f"{model}: its process did not end in {timeout_s:g} s") from error
    answer = done.stdout.partition(_MARK)[2]
    if not answer:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise SessionError(f"{model}: its process failed: {lines[-1]}")
    found = json.loads(answer)
    nodes = tuple(NodeRun(**{**row, "types": tuple(row["types"])}) for row in found.pop("nodes"))
    return Footprint(**found, nodes=nodes)


def _answer(request: Mapping[str, Any]) -> Footprint:
    path, folder, settings = Path(request["model"]), Path(request["folder"]), request["settings"]
    if settings.get("custom_op_library"):
        settings["custom_op_library"] = Path(settings["custom_op_library"])
    (sample,) = read_samples(folder)
    runtime_module()  # what importing it takes is no model's
    before = _peak_bytes()
    start = time.perf_counter()
    session = load(path, **settings)
    load_s = time.perf_counter() - start
    loaded = _peak_bytes()
    bound = BoundRun(session, sample.inputs)
    for _ in range(_RUNS):
        bound()
    peak = _peak_bytes()
    del bound, session
    nodes = _placed(path, sample.inputs, settings, folder / "profile")
    return Footprint(load_s, loaded - before, peak - before, nodes)


def _peak_bytes() -> int:
    """The most resident memory of this process so far.

    Linux counts the parent's into getrusage's number of a child, but not into this one.
    """
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def _placed(
    path: Path, feeds: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], prefix: Path
) -> tuple[NodeRun, ...]:
    """The nodes that ran, without optimisation: fused nodes would hide those of the file."""
    session = load(path, **{**settings, "optimise": "disabled"}, profile=prefix)
    run(session, feeds)
    profile = _end_profiling(session)
    events = json.loads(profile.read_text("utf-8"))
    rows = [_node(event) for event in events if event.get("cat") == "Node"]
    # A node inside a loop runs several times.
    return tuple(dict.fromkeys(row for row in rows if row is not None))


def _end_profiling(session: Session) -> Path:
    with raised_as_session_error(session):
        return Path(session.inner.end_profiling())


def _node(event: Mapping[str, Any]) -> NodeRun | None:
    name, args = str(event.get("name", "")), event.get("args", {})
    if not name.endswith(_KERNEL) or "op_name" not in args:
        return None
    operands = [*args.get("input_type_shape", ()), *args.get("output_type_shape", ())]
    types = sorted({kind for operand in operands for kind in operand if kind in _FLOATS})
    return NodeRun(
        name=name.removesuffix(_KERNEL),
        index=int(args.get("node_index", -1)),
        op_type=str(args["op_name"]),
        provider=str(args.get("provider", "")),
        types=tuple(types),
    )


def _main() -> None:
    answer = _answer(json.load(sys.stdin))
    print(_MARK + json.dumps(asdict(answer)))


if __name__ == "__main__":
    _main()
