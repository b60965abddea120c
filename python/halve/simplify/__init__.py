"""Shape inference, constant folding and fusion before a conversion, with ids of the file given."""

from halve.simplify.chain import StandIn, convert_simplified, simplified_model
from halve.simplify.origins import find_origins
from halve.simplify.run import SimplifiedOutput, SimplifyResult, simplify

__all__ = [
    "SimplifiedOutput",
    "SimplifyResult",
    "StandIn",
    "convert_simplified",
    "find_origins",
    "simplified_model",
    "simplify",
]
