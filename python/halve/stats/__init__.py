"""Manual mode's statistics: values of both runs become numbers as they appear."""

from halve.stats.collect import Collector, Limits
from halve.stats.outputs import merge_model_outputs, model_outputs

__all__ = ["Collector", "Limits", "merge_model_outputs", "model_outputs"]
