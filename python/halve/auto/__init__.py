"""From a float32 model and samples to a verified mixed-precision model."""

from halve.auto.records import AutoResult, Border
from halve.auto.run import auto, search, search_model, verify_plan

__all__ = ["AutoResult", "Border", "auto", "search", "search_model", "verify_plan"]
