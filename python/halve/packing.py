"""Where payloads lie in the data files of a result: which go there, and at what offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["EMBED_BELOW_BYTES", "LEAST_EXTERNAL_BYTES", "Shard", "pack"]

# "auto" keeps one file up to here: under it, half of what protobuf can hold, every tool still
# loads it, with room for what they add.
EMBED_BELOW_BYTES = 1 << 30
# Smaller results stay in the model file: a reference costs about 100 bytes, and a read of its own.
LEAST_EXTERNAL_BYTES = 1024
# A large tensor starts on a page, so that it can be mapped, or read past the page cache, alone.
_PAGE_BYTES = 4096
_LEAST_PAGED_BYTES = 1 << 20
# A smaller one starts on a cache line: vector loads stay aligned, and a page each would be waste.
_LINE_BYTES = 64


class Shard(NamedTuple):
    """One data file: (index, offset) of the payloads in it, in order, and its size in bytes."""

    offsets: tuple[tuple[int, int], ...]
    nbytes: int


def pack(sizes: Iterable[tuple[int, int]], shard_size_bytes: int | None) -> Iterator[Shard]:
    """Put payloads, given as (index, bytes), into as few files as their order allows.

    None is one file of any size. A payload larger than a shard has one of its own.
    """
    offsets: list[tuple[int, int]] = []
    end = 0
    for index, nbytes in sizes:
        offset = _aligned(end, nbytes)
        if offsets and shard_size_bytes is not None and offset + nbytes > shard_size_bytes:
            yield Shard(tuple(offsets), end)
            offsets, offset = [], 0
        offsets.append((index, offset))
        end = offset + nbytes
    if offsets:
        yield Shard(tuple(offsets), end)


def _aligned(end: int, nbytes: int) -> int:
    alignment = _PAGE_BYTES if nbytes >= _LEAST_PAGED_BYTES else _LINE_BYTES
    return -(-end // alignment) * alignment
