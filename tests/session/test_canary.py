"""The canary: holds here, and sees what erases it."""

from __future__ import annotations

import pytest
from onnx import ModelProto

from halve.errors import SessionError
from halve.session import canary
from halve.session.canary import check_canary
from halve.session.runtime import OPTIMISE_LEVELS


@pytest.mark.parametrize("optimise", OPTIMISE_LEVELS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_holds_at_every_level(dtype: str, optimise: str) -> None:
    result = check_canary(dtype, optimise=optimise)
    assert (result.dtype, result.optimise) == (dtype, optimise)
    assert result.values > 4096
    assert result.runtime


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_erased_casts_are_seen(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = canary._model

    def erasable(name: str) -> ModelProto:
        model = make(name)
        for index, node in enumerate(model.graph.node):
            node.name = f"InsertedPrecisionFreeCast_{index}"
        return model

    monkeypatch.setattr(canary, "_model", erasable)
    with pytest.raises(SessionError, match=rf"{dtype}.*the cast pair is erased or rounds"):
        check_canary(dtype)
