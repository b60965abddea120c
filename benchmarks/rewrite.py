"""Planning and rewriting of graphs of 10,000 to 100,000 nodes: seconds, and growth a doubling.

    python benchmarks/rewrite.py

The baseline is what any tool must do with such a graph, in the same process and round: protobuf's
parse and serialise. Both run in one thread, so ratios and growth are of processor time, which a
busy machine disturbs less. `--blocked 10` keeps every tenth node float32, which makes casts;
0 keeps none.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from onnx import ModelProto

from halve.options import ConvertOptions
from halve.plan import analyse, load_target, make_plan
from halve.rewrite import rewrite
from halve.source import open_model
from halve.types import RewrittenModel
from models import chain_model

_T = TypeVar("_T")


def _timed(function: Callable[[], _T]) -> tuple[float, float, _T]:
    """Seconds of the wall clock, seconds of this process's processor time, and the result."""
    wall, processor = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - processor, result


def _baseline(data: bytes) -> None:
    ModelProto.FromString(data).SerializeToString()


def _convert(model: ModelProto, options: ConvertOptions) -> RewrittenModel:
    source = open_model(model)
    analysis = analyse(source.proto)
    plan = make_plan(analysis, options, load_target(options.target), model_hash=source.digest)
    return rewrite(source, analysis, plan, options)


def _measure(node_count: int, args: argparse.Namespace) -> dict[str, object]:
    model = chain_model(node_count)
    data = model.SerializeToString()
    ids = range(0, node_count, args.blocked) if args.blocked else ()
    options = ConvertOptions(fp32_nodes=tuple(ids))
    ours, baseline = [], []
    for _ in range(args.rounds):
        ours.append(_timed(lambda: _convert(model, options)))
        baseline.append(_timed(lambda: _baseline(data)))
    processor_s = statistics.median(run[1] for run in ours)
    baseline_s = statistics.median(run[1] for run in baseline)
    row = {
        "nodes": node_count,
        "casts": len(ours[0][2].casts),
        "elapsed_s": statistics.median(run[0] for run in ours),
        "processor_s": processor_s,
        "baseline_processor_s": baseline_s,
        "ratio": processor_s / baseline_s,
    }
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def _growth(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """How much longer twice the nodes take (2 is linear), from each size to the next."""
    result = []
    for small, large in itertools.pairwise(rows):
        nodes = math.log2(large["nodes"] / small["nodes"])
        factor = (large["processor_s"] / small["processor_s"]) ** (1 / nodes)
        result.append({"from": small["nodes"], "to": large["nodes"], "a_doubling": factor})
    return result


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    sizes = [10_000, 20_000, 50_000, 100_000]
    parser.add_argument("--nodes", type=int, nargs="+", default=sizes)
    parser.add_argument("--blocked", type=int, default=10, help="keep every n-th node float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the result (default: stdout)")
    args = parser.parse_args(argv)
    rows = [_measure(count, args) for count in args.nodes]
    text = json.dumps({"sizes": rows, "growth": _growth(rows)}, indent=1)
    if args.json is None:
        print(text)
    else:
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
