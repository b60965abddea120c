"""Options say what they do not accept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from halve import ConvertOptions, OptionError, SearchOptions


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"min_positive": 1e5}, "max_finite is 65504.0"),
        ({"min_positive": 2.0, "max_finite": 1.0}, "at least min_positive, which is 2.0"),
        ({"keep_io_types": "logits"}, "is 'logits'; allowed: True or False or a tuple of"),
        ({"fp32_nodes": ("0",)}, r"fp32_nodes is \('0',\); allowed: a tuple of whole numbers"),
        ({"fp32_nodes": (1.5,)}, r"fp32_nodes is \(1.5,\); allowed: a tuple of whole numbers"),
        ({"op_block": "Softmax"}, "op_block is 'Softmax'; allowed: a tuple of strings"),
        ({"threads": 1025}, "threads is 1025; allowed: 0 to 1024"),
    ],
)
def test_what_is_not_allowed(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        ConvertOptions(**fields)


def test_bounds_of_a_type_that_has_none() -> None:
    assert ConvertOptions(dtype="bfloat16", min_positive=1e5).bounds.min_positive == 1e5


def test_ids_of_numpy_are_ids() -> None:
    assert ConvertOptions(fp32_nodes=tuple(np.arange(2))).fp32_nodes == (0, 1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"holdout": 1}, "holdout is 1, which leaves nothing to search with; allowed: 0, 2 or"),
        ({"threads_per_trial": 10**6}, "threads_per_trial is 1000000; allowed: .* 1 to 1024"),
        ({"workers": 1025}, "workers is 1025; allowed: a whole number, 0 to 1024"),
        ({"holdout": "4"}, "holdout is '4'; allowed: a whole number"),
        ({"max_trials": 0}, "max_trials is 0; allowed: a whole number, 1 or more"),
        ({"margin": "0.8"}, "margin is '0.8'; allowed: a number"),
        ({"time_budget_s": "9"}, "time_budget_s is '9'; allowed: a number or None"),
        ({"devices": ()}, r"devices is \(\); allowed: one device id or more"),
        ({"devices": 3}, "devices is 3; allowed: a tuple of whole numbers"),
        ({"devices": "3"}, "devices is '3'; allowed: a tuple of whole numbers"),
        ({"devices": (-1,), "provider": "CUDAExecutionProvider"}, "each 0 or more, in a tuple"),
        ({"devices": (3,)}, "CPUExecutionProvider has none to choose from; name the provider"),
    ],
)
def test_what_a_search_does_not_allow(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        SearchOptions(**fields)


def test_what_a_search_allows() -> None:
    assert SearchOptions(holdout=np.int64(3)).holdout == 3
    made = SearchOptions(provider="CUDAExecutionProvider", devices=(0, 3))
    assert made.devices == (0, 3)
