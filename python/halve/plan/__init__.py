"""Which node computes in which type: analysis, policy, plan files."""

from __future__ import annotations

from halve.plan.analysis import Analysis, analyse
from halve.plan.decide import make_plan, unmatched_names
from halve.plan.plan_file import match_plan
from halve.plan.targets import TargetProfile, load_target

__all__ = [
    "Analysis",
    "TargetProfile",
    "analyse",
    "load_target",
    "make_plan",
    "match_plan",
    "unmatched_names",
]
