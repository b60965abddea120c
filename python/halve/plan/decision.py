"""What the policy decides for one node."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Decision"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The type variables of a node that become 16-bit, and the reason where none or not all do."""

    half_vars: frozenset[str]
    reason: str = ""
