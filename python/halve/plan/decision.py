"""What the policy decides for one node."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CAST_COST", "Decision"]

# The reason of a node that could be 16-bit, and is float32 because that takes fewer casts.
CAST_COST = "cast cost"


@dataclass(frozen=True, slots=True)
class Decision:
    """The type variables of a node that become 16-bit, and the reason where none or not all do."""

    half_vars: frozenset[str]
    reason: str = ""
