"""One JSON of what the steps of run.sh left: the devices, each step's end and last words, results.

python benchmarks/gpu/collect.py FOLDER > gpu.json
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

# Of a step's log, in lines: the result of a test run, or an error with its trace.
_LAST_WORDS = 40


def devices() -> list[str]:
    """A line a device: name, driver, memory."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return [f"nvidia-smi: {error}"]
    return done.stdout.strip().splitlines()


def ends(folder: Path) -> dict[str, Any]:
    """Every step's exit status and seconds, with the end of what it printed."""
    steps = {}
    for path in sorted((folder / "results").glob("*.end.json")):
        name = path.name.removesuffix(".end.json")
        log = (folder / f"{name}.log").read_text("utf-8", "replace").splitlines()
        steps[name] = {**json.loads(path.read_text("utf-8")), "log": log[-_LAST_WORDS:]}
    return steps


def result(path: Path) -> Any:  # noqa: ANN401 - a script's record
    """What a step left; its time may have ended while it wrote."""
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        return {"failure": f"{path.name} is cut short: {error}"}


def main() -> None:
    folder = Path(sys.argv[1])
    record: dict[str, Any] = {
        "schema_version": 1,
        "kind": "gpu",
        "devices": devices(),
        "host": f"{platform.system()} {platform.machine()}",
        "steps": ends(folder),
    }
    for path in sorted((folder / "results").glob("*.json")):
        if not path.name.endswith(".end.json"):
            record[path.stem] = result(path)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
