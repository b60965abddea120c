"""Options say what they do not accept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from halve import ConvertOptions, OptionError


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"min_positive": 1e5}, "max_finite is 65504.0"),
        ({"min_positive": 2.0, "max_finite": 1.0}, "at least min_positive, which is 2.0"),
        ({"keep_io_types": "logits"}, "the string 'logits'; allowed: True, False or a tuple"),
        ({"fp32_nodes": ("0",)}, "holds '0'; allowed: whole numbers"),
        ({"fp32_nodes": (1.5,)}, "holds 1.5; allowed: whole numbers"),
        ({"op_block": "Softmax"}, "op_block is a string"),
    ],
)
def test_what_is_not_allowed(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        ConvertOptions(**fields)


def test_bounds_of_a_type_that_has_none() -> None:
    assert ConvertOptions(dtype="bfloat16", min_positive=1e5).bounds.min_positive == 1e5


def test_ids_of_numpy_are_ids() -> None:
    assert ConvertOptions(fp32_nodes=tuple(np.arange(2))).fp32_nodes == (0, 1)
