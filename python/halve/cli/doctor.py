"""`halve doctor`: what this machine can do, and the reason for what it cannot."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from halve import __version__
from halve._native import cuda, features
from halve.cli.device_choice import measure_choice
from halve.cli.parser import Parser
from halve.errors import BackendUnavailableError, HalveError
from halve.options import ConvertOptions
from halve.session import check_canary, describe_runtime

__all__ = ["collect", "make_parser", "run"]

SCHEMA_VERSION = 1
_HALF_TYPES = ("float16", "bfloat16")
_HOLDS, _FAILS, _NOT_RUN = "holds", "fails", "not run"
_FAILED_VERDICT = 2


def make_parser() -> Parser:
    """The parser of `halve doctor`."""
    return Parser(
        "doctor",
        description="Say what this machine can do: kernels, CUDA, ONNX Runtime, emulation. "
        "Exit status 2 where float16 cannot be emulated although ONNX Runtime is here.",
        usage="",
        example="halve doctor --json",
    )


def run(args: Sequence[str]) -> int:
    """Prints the findings; returns 2 where a canary fails, else 0."""
    parsed = make_parser().parse(args)
    record = collect()
    if parsed.json:
        print(json.dumps(record, indent=2))
    elif not parsed.quiet:
        print("\n".join(_lines(record)))
    states = {row["state"] for row in record["canary"].values()}
    return _FAILED_VERDICT if _FAILS in states else 0


def collect() -> dict[str, Any]:
    """Everything that was found, as JSON values; nothing missing is an error."""
    runtime = asdict(describe_runtime())
    found = cuda.status()
    tf32 = runtime.pop("tf32")
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "doctor",
        "halve_version": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": ConvertOptions().worker_threads,
        "packages": {name: importlib.metadata.version(name) for name in ("onnx", "numpy")},
        "kernels": _kernels(),
        "cuda": asdict(found),
        "cast_choice": asdict(measure_choice(found)),
        "onnxruntime": runtime,
        "tf32": tf32,
        "canary": {dtype: _canary(dtype) for dtype in _HALF_TYPES},
    }


def _kernels() -> dict[str, Any]:
    record = {
        "chosen": "",
        "problem": "",
        "forced": features.forced_backend(),
        "backends": [asdict(row) for row in features.backends()],
    }
    try:
        record["chosen"] = features.chosen_backend()
    except BackendUnavailableError as error:
        record["problem"] = str(error)
    return record


def _canary(dtype: str) -> dict[str, str]:
    """Whether a cast pair rounds here as numpy does, which emulation rests on."""
    try:
        result = check_canary(dtype)
    except BackendUnavailableError as error:
        return {"state": _NOT_RUN, "detail": str(error)}
    except HalveError as error:
        return {"state": _FAILS, "detail": str(error)}
    return {"state": _HOLDS, "detail": f"{result.values} values on {result.provider}"}


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    rows = (
        ("halve", f"{record['halve_version']} on {record['platform']}"),
        ("python", f"{record['python']} with {packages}"),
        ("threads", str(record["threads"])),
        *_kernel_rows(record["kernels"]),
        *_cuda_rows(record["cuda"]),
        ("casts", _choice_text(record["cast_choice"])),
        *_runtime_rows(record["onnxruntime"]),
        ("TF32", record["tf32"]),
        *((f"{name} canary", _with_detail(row)) for name, row in record["canary"].items()),
    )
    return (f"{label:<17}{text}" for label, text in rows)


def _kernel_rows(kernels: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    forced = " (HALVE_FORCE_BACKEND)" if kernels["forced"] and kernels["chosen"] else ""
    yield "CPU kernels", (kernels["chosen"] or kernels["problem"]) + forced
    for row in kernels["backends"]:
        state = "usable" if row["usable"] else "not supported by this processor or system"
        chosen = ", chosen" if row["chosen"] else ""
        yield f"  {row['name']}", (state if row["compiled"] else "not compiled in") + chosen


def _cuda_rows(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "CUDA module", "usable" if status["usable"] else f"not usable: {status['reason']}"
    if status["built"]:
        driver = status["driver"] or "none"
        yield "  versions", f"runtime {status['runtime']}, driver supports {driver}"
    for device in status["devices"]:
        major, minor = device["capability"]
        memory = device["memory_bytes"] / (1 << 30)
        ran = f"runs code for {device['architecture']}" if device["architecture"] else "unusable"
        name = f"{device['name']}, {major}.{minor}, {memory:.0f} GiB, {ran}"
        yield f"  device {device['index']}", name


def _choice_text(choice: Mapping[str, Any]) -> str:
    """Who casts weights faster: the processor does it unless `--device` names another."""
    if choice["reason"]:
        return f"by the processor: {choice['reason']}"
    devices = ", ".join(f"device {i} {rate:.1f}" for i, rate in choice["devices_gb_s"])
    faster = choice["faster"]
    advice = (
        "leave --device out" if faster == "cpu" else f"halve convert --device {faster} is faster"
    )
    return f"GB of float32 a second: processor {choice['cpu_gb_s']:.1f}, {devices}; {advice}"


def _runtime_rows(runtime: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    supported = f"supported: {runtime['supported_range']}"
    version = runtime["distribution"] or runtime["version"] or "not installed"
    yield "ONNX Runtime", f"{version} ({supported})"
    if runtime["providers"]:
        yield "  providers", ", ".join(runtime["providers"])
    if runtime["note"]:
        yield "  note", runtime["note"]


def _with_detail(row: Mapping[str, str]) -> str:
    return f"{row['state']}: {row['detail']}"
