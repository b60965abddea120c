"""The copies that the cast is measured against move every byte."""

from __future__ import annotations

import numpy as np
import pytest

from halve._native.cast import copy_into
from halve.errors import CastError


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("streaming", [False, True])
def test_copy_is_a_copy(streaming: bool, threads: int) -> None:
    source = np.random.default_rng(9).integers(0, 256, 100_003, dtype=np.uint8)
    target = np.zeros_like(source)
    copy_into(source, target, threads=threads, streaming=streaming)
    np.testing.assert_array_equal(target, source)


def test_unequal_sizes_are_refused() -> None:
    with pytest.raises(CastError, match="equal sizes"):
        copy_into(np.zeros(4, np.uint8), np.zeros(3, np.uint8))
