"""The canary: holds here, and sees what erases it."""

from __future__ import annotations

import pytest
from onnx import ModelProto

from halve.errors import SessionError
from halve.session import canary, runtime
from halve.session.canary import check_canary
from halve.session.installed import describe_runtime
from halve.session.roundings import OperatorRoundings
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

    def erasable(name: str, roundings: OperatorRoundings | None) -> ModelProto:
        model = make(name, roundings)
        for index, node in enumerate(model.graph.node):
            node.name = f"InsertedPrecisionFreeCast_{index}"
        return model

    monkeypatch.setattr(canary, "_model", erasable)
    with pytest.raises(SessionError, match=rf"{dtype}.*the rounding is erased or rounds"):
        check_canary(dtype)


@pytest.mark.parametrize("optimise", ["basic", "all"])
def test_an_optimiser_that_erases_casts_is_seen(
    optimise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option that erases pairs, where this release has it, is seen; and it is pinned off."""
    key = "optimization.enable_cast_chain_elimination"
    assert runtime._CONFIG[key] == "0"
    monkeypatch.setitem(runtime._CONFIG, key, "1")
    if describe_runtime().version < "1.31":
        pytest.skip("seen to erase pairs in 1.31; older releases may not have the option")
    with pytest.raises(SessionError, match="erased"):
        check_canary(optimise=optimise)
