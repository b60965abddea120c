"""A model without its payload: its graph, and where each payload lies."""

from halve.source.open import open_model
from halve.source.payload import (
    data_size,
    inline_ref,
    payload_array,
    payload_pieces,
    read_array,
    read_payload,
)
from halve.source.tensors import (
    clear_payload,
    iter_function_tensors,
    iter_tensors,
    payload_index,
    payload_indices,
    set_payload,
    text,
)

__all__ = [
    "clear_payload",
    "data_size",
    "inline_ref",
    "iter_function_tensors",
    "iter_tensors",
    "open_model",
    "payload_array",
    "payload_index",
    "payload_indices",
    "payload_pieces",
    "read_array",
    "read_payload",
    "set_payload",
    "text",
]
