"""One JSON of what the steps of run.sh left, with the device's name and each step's end.

python benchmarks/gpu/collect.py FOLDER > gpu.json
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def devices() -> list[str]:
    """A line a device: name, driver, memory."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return [f"nvidia-smi: {error}"]
    return done.stdout.strip().splitlines()


def main() -> None:
    folder = Path(sys.argv[1])
    record: dict[str, Any] = {
        "schema_version": 1,
        "kind": "gpu",
        "devices": devices(),
        "host": f"{platform.system()} {platform.machine()}",
        "steps": {},
    }
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        if path.name.endswith(".end.json"):
            record["steps"][path.name.removesuffix(".end.json")] = content
        else:
            record[path.stem] = content
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
