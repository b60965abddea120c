"""A digest of a model with its weights, for what is kept of a model from one run to the next."""

from __future__ import annotations

import hashlib

from halve.source.payload import payload_pieces
from halve.types import SourceModel

__all__ = ["contents_digest"]

_PIECE = 1 << 20


def contents_digest(model: SourceModel) -> str:
    """BLAKE2b-256 of the model's digest and of every payload's bytes, in hex; reads them all.

    Raises:
        DataError: a payload cannot be read.
    """
    state = hashlib.blake2b(model.digest.encode(), digest_size=32)
    for ref in model.refs:
        for piece in payload_pieces(ref, _PIECE):
            state.update(piece)
    return state.hexdigest()
