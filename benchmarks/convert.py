"""Conversion of large models: wall time against `cp` and other converters, and peak memory.

    python benchmarks/convert.py --dir /path/on/the/disk

Every contender runs as a process of its own, on a source that is in the page cache, and its time
ends when `sync` returns. Rounds are interleaved (one run of each contender a round, the order
turned by one each time), ratios are of medians of this run. Sizes with an "e" are one embedded
file. The models are made here, and everything is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from processes import ChildRun, run_child, warm

_HERE = Path(__file__).resolve().parent
_GB = 10**9
_PEERS = ("onnxconverter-common", "ort-transformers")
# Above this size there is room for halve's result beside the source, not for a copy.
_COPY_LIMIT_BYTES = 4 * _GB


@dataclass(frozen=True, slots=True)
class Case:
    """A source model: its kind ("external" or "embedded") and about how many bytes it has."""

    kind: str
    size_bytes: int

    @classmethod
    def parse(cls, text: str) -> Case:
        """From "2.5" or "1.9e": decimal gigabytes, "e" for embedded."""
        kind = "embedded" if text.endswith("e") else "external"
        return cls(kind, int(float(text.removesuffix("e")) * _GB))

    @property
    def name(self) -> str:
        return f"{self.size_bytes / _GB:g} GB {self.kind}"


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that is timed: a command and how many rounds it takes part in."""

    name: str
    command: tuple[str, ...]
    rounds: int


def _contenders(case: Case, source: Path, out: Path, args: argparse.Namespace) -> list[Contender]:
    target = str(out / "out.onnx")
    halve = (sys.executable, "-m", "halve", "convert", str(source), target, "--quiet")
    result = [Contender("halve", (*halve, *args.flag), args.rounds)]
    if case.size_bytes <= _COPY_LIMIT_BYTES:
        copy = ("cp", str(_payload(case, source)), str(out / "copy"))
        result.append(Contender("cp", copy, args.rounds))
    if args.peers and case.size_bytes <= _COPY_LIMIT_BYTES and case.kind == "external":
        script = str(_HERE / "peers.py")
        for peer in _PEERS:
            command = (sys.executable, script, peer, str(source), target)
            result.append(Contender(peer, command, args.peer_rounds))
    return result


def _payload(case: Case, source: Path) -> Path:
    """The file that holds the weights, which is what `cp` copies."""
    return source.with_name(source.name + ".data") if case.kind == "external" else source


def _schedule(contenders: Sequence[Contender]) -> Iterator[Contender]:
    """One run of each contender a round, the order turned by one each round."""
    for number in range(max(contender.rounds for contender in contenders)):
        turn = number % len(contenders)
        for contender in (*contenders[turn:], *contenders[:turn]):
            if number < contender.rounds:
                yield contender


def _measure(case: Case, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    source, out = folder / "model.onnx", folder / "out"
    make = (sys.executable, str(_HERE / "models.py"), case.kind, str(case.size_bytes), str(source))
    made = run_child(make, folder / "log")
    if made.status:
        raise SystemExit(f"making {case.name}: {made.error}")
    runs: dict[str, list[ChildRun]] = {}
    for contender in _schedule(_contenders(case, source, out, args)):
        out.mkdir()
        warm(_payload(case, source))
        run = run_child(contender.command, folder / "log")
        shutil.rmtree(out)
        _say(f"{case.name}: {contender.name}: {_describe(run)}")
        runs.setdefault(contender.name, []).append(run)
    size = _payload(case, source).stat().st_size
    generator = {"elapsed_s": made.elapsed_s, "peak_rss_bytes": made.peak_rss_bytes}
    return {"name": case.name, "payload_bytes": size, "generator": generator, **_summary(runs)}


def _summary(runs: Mapping[str, Sequence[ChildRun]]) -> dict[str, object]:
    """Medians over the runs that succeeded, and halve's ratios to every other contender."""
    rows: dict[str, dict[str, object]] = {}
    medians: dict[str, float] = {}
    for name, found in runs.items():
        good = [run for run in found if run.status == 0]
        rows[name] = {"runs": [asdict(run) for run in found], "failed": len(found) - len(good)}
        if good:
            medians[name] = statistics.median(run.elapsed_s for run in good)
            rows[name]["median_s"] = medians[name]
            rows[name]["peak_rss_bytes"] = max(run.peak_rss_bytes for run in good)
    ours = medians.get("halve")
    ratios = {} if ours is None else {f"{n} / halve": t / ours for n, t in medians.items()}
    ratios.pop("halve / halve", None)
    return {"contenders": rows, "ratios": ratios}


def _describe(run: ChildRun) -> str:
    if run.status:
        return f"failed ({run.error})"
    peak_mib = run.peak_rss_bytes / 2**20
    return f"{run.elapsed_s:.2f} s, processor {run.processor_s:.2f} s, peak {peak_mib:.0f} MiB"


def _table(case: Mapping[str, Any]) -> str:
    """The case's medians as a Markdown table, for benchmarks/README.md."""
    lines = ["| {name} | seconds, median | peak RSS, MiB | x halve's time |".format(**case)]
    lines.append("|---|---|---|---|")
    for name, row in case["contenders"].items():
        if "median_s" not in row:
            lines.append(f"| {name} | failed | | |")
            continue
        ratio = case["ratios"].get(f"{name} / halve", 1.0)
        peak_mib = row["peak_rss_bytes"] / 2**20
        lines.append(f"| {name} | {row['median_s']:.2f} | {peak_mib:.0f} | {ratio:.2f} |")
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _environment(folder: Path) -> dict[str, object]:
    names = ("halve", "onnx", "numpy", "onnxruntime", "onnxconverter-common")
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "free_disk_bytes": shutil.disk_usage(folder).free,
        "versions": versions,
    }


def _cpu_model() -> str:
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.machine()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--sizes", nargs="+", default=["2.5"], help='decimal GB; "1.9e" is embedded (default: 2.5)'
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of halve and cp (default: 5)")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--peer-rounds", type=int, default=1, help="runs of each peer (default: 1)")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure (default: here)")
    parser.add_argument("--flag", action="append", default=[], help="passed on to halve convert")
    parser.add_argument("--json", type=Path, help="where to write the result (default: stdout)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    cases = [Case.parse(text) for text in args.sizes]
    results = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="halve-benchmark-", dir=args.dir or Path()) as name:
            environment = _environment(Path(name))
            results.append(_measure(case, Path(name), args))
            _say(_table(results[-1]))
    text = json.dumps({"environment": environment, "cases": results}, indent=1)
    if args.json is None:
        print(text)
    else:
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
