"""Which node computes in which type: analysis, policy, plan files."""

from __future__ import annotations

from halve.plan.analysis import Analysis, analyse
from halve.plan.decide import make_plan, unmatched_names, unmatched_ops, unmatched_wishes
from halve.plan.plan_file import JUDGE_AGAIN, match_plan, plan_warnings
from halve.plan.targets import TargetProfile, load_target

__all__ = [
    "JUDGE_AGAIN",
    "Analysis",
    "TargetProfile",
    "analyse",
    "load_target",
    "make_plan",
    "match_plan",
    "plan_warnings",
    "unmatched_names",
    "unmatched_ops",
    "unmatched_wishes",
]
