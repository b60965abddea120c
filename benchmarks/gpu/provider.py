"""Whether ONNX Runtime here has a provider, asked as a session would be."""

from __future__ import annotations

from halve.errors import HalveError
from halve.session.canary import check_canary

__all__ = ["CPU", "why_not"]

CPU = "CPUExecutionProvider"


def why_not(provider: str) -> str:
    """Why nothing can be run on a provider; empty where it can."""
    try:
        check_canary(provider=provider)
    except HalveError as error:
        return str(error)
    return ""
