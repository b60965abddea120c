"""Peak memory of a search on a large model, against the model's float32 bytes.

    python benchmarks/search_memory.py --dir /path/on/the/disk [--gb 2.5] [--max-trials 3]

The model is made here (benchmarks/models.py, external data) and removed at the end. What counts is
the peak resident memory of the `halve auto` process, mapped pages of weight files included. (The
child that loads the written file in the end has less, and does so after the peak.)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from processes import run_child
from timing import machine, versions, write_json

_HERE = Path(__file__).resolve().parent
_GB = 10**9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dir", type=Path, help="a folder on the disk to use (default: here)")
    parser.add_argument("--gb", type=float, default=2.5, help="decimal GB of weights")
    parser.add_argument("--max-trials", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="halve-benchmark-", dir=args.dir or Path()) as name:
        folder = Path(name)
        source, log = folder / "model.onnx", folder / "log"
        make = (sys.executable, str(_HERE / "models.py"), "external", str(int(args.gb * _GB)))
        if run_child((*make, str(source)), log).status:
            raise SystemExit(log.read_text())
        nbytes = source.with_name(source.name + ".data").stat().st_size
        auto = (sys.executable, "-m", "halve", "auto", str(source), str(folder / "out.onnx"))
        flags = ("--keep-io-types", "--min-shapes", "x:[1,2,2048]", "--external-data", "always")
        run = run_child((*auto, *flags, "--max-trials", str(args.max_trials), "--quiet"), log)
        if run.status:
            raise SystemExit(log.read_text())
    row = {
        "float32_bytes": nbytes,
        "peak_rss_bytes": run.peak_rss_bytes,
        "peak_over_float32": run.peak_rss_bytes / nbytes,
        "limit_bytes": 2.5 * nbytes + _GB,
        "elapsed_s": run.elapsed_s,
    }
    print(
        f"{nbytes / _GB:.2f} GB float32: peak {run.peak_rss_bytes / _GB:.2f} GB"
        f" ({row['peak_over_float32']:.2f}x), limit {row['limit_bytes'] / _GB:.2f} GB,"
        f" {run.elapsed_s:.0f} s, {args.max_trials} trials"
    )
    if args.json:
        packages = versions("onnx", "onnxruntime", "numpy")
        write_json(args.json, {"machine": machine(), "versions": packages, "memory": row})


if __name__ == "__main__":
    main()
