"""The last stage: payload and rewritten proto become files, or one proto in memory."""

from halve.write.memory import build_model, cast_payload
from halve.write.model import copy_model, write_model
from halve.write.payload import point_to_file
from halve.write.target import check_target

__all__ = [
    "build_model",
    "cast_payload",
    "check_target",
    "copy_model",
    "point_to_file",
    "write_model",
]
