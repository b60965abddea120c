"""Trials and kept cost of the search against bisection in graph order, on simulated models.

Both ask the same simulated evaluator (tests/search/simulated.py): hard failures, where a few of
the units must be float32, and error budgets, where every unit adds a little. Every judged set
counts as a trial, in whatever phase.

    python benchmarks/search_simulated.py [--seeds 20] [--units 300] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "search"))

from simulated import Simulated, budget, hard, problem

from halve.search import Problem, search

Case = Callable[[int], tuple[Problem, Simulated]]
HARD = ("infinite", "finite", "infinite pairs", "pairs", "both", "mixed")
OVER = (3.0, 10.0, 30.0)


def hard_case(kind: str, units: int) -> Case:
    return lambda seed: (problem(units), hard(seed, kind, units))


def budget_case(over: float, units: int) -> Case:
    def case(seed: int) -> tuple[Problem, Simulated]:
        evaluator, costs = budget(seed, units, over)
        return problem(units, costs), evaluator

    return case


def measure(name: str, case: Case, seeds: int) -> dict[str, float | str]:
    """Means over the seeds; the ratios are of the means, and the worst of any seed."""
    trials, prices = [], []
    for seed in range(seeds):
        searched, evaluator = case(seed)
        ours = search(searched, evaluator)
        classic = search(replace(searched, strategy="bisection"), evaluator)
        if not (ours.passed and classic.passed):
            raise RuntimeError(f"{name}, seed {seed}: a set that does not pass was returned")
        trials.append((len(ours.trials), len(classic.trials)))
        prices.append((ours.price, classic.price))
    ours_trials, classic_trials = (statistics.mean(column) for column in zip(*trials, strict=True))
    ours_price, classic_price = (statistics.mean(column) for column in zip(*prices, strict=True))
    return {
        "case": name,
        "trials": ours_trials,
        "bisection_trials": classic_trials,
        "trials_ratio": ours_trials / classic_trials,
        "worst_trials_ratio": max(a / b for a, b in trials),
        "cost": ours_price,
        "bisection_cost": classic_price,
        "cost_ratio": ours_price / classic_price,
        "worst_cost_ratio": max(a / b for a, b in prices),
    }


def table(rows: list[dict[str, float | str]]) -> str:
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [v if isinstance(v, str) else f"{v:.2f}" for v in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20, help="models a case")
    parser.add_argument("--units", type=int, default=300, help="units a model")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    cases = [(kind, hard_case(kind, options.units)) for kind in HARD]
    cases += [(f"budget x{over:g}", budget_case(over, options.units)) for over in OVER]
    rows = [measure(name, case, options.seeds) for name, case in cases]
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
