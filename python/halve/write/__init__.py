"""The last stage: payload and rewritten proto become files, or one proto in memory."""

from halve.write.memory import build_model
from halve.write.model import write_model
from halve.write.target import check_target

__all__ = ["build_model", "check_target", "write_model"]
