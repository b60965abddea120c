"""A search whose verdict, or a part of it, is a function's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from auto_search import find, normal
from halve import ConvertOptions
from halve.errors import OptionError, VerdictError
from worked_example import worked_example


def raising(reference: list[Any], mixed: list[Any]) -> bool:
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("validate", "words"),
    [(raising, "raised KeyError"), (lambda a, b: 1, "returned int"), (lambda a, b: None, "None")],
)
def test_a_validate_function_that_misbehaves(validate: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        find(worked_example(), {"x": normal(1, 16)}, validate=validate)


def test_a_validate_function_decides_alone() -> None:
    asked = []

    def close(reference: list[NDArray[Any]], mixed: list[NDArray[Any]]) -> bool:
        asked.append(len(mixed))
        return bool(np.allclose(reference[0], mixed[0], atol=1e-2))

    result = find(worked_example(), {"x": normal(1, 16)}, validate=close, validate_only=True)
    assert len(result.required) == 2
    assert set(asked) == {1}
    assert not result.verdict.by_tolerance


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_validate_function_is_shown_what_the_mixed_model_gives(dtype: str) -> None:
    """In trials as in the verdict; and it may do with its arguments what it likes."""
    shown: list[tuple[str, str]] = []

    def scaled(reference: list[NDArray[Any]], mixed: list[NDArray[Any]]) -> bool:
        shown.append((reference[0].dtype.name, mixed[0].dtype.name))
        reference[0] *= 3
        mixed[0] *= 3
        return bool(np.allclose(reference[0], mixed[0].astype(np.float32), 5e-2, 5e-2))

    convert = ConvertOptions(dtype=dtype, keep_io_types=("x",))
    result = find(
        worked_example(), {"x": normal(1, 16)}, validate=scaled, validate_only=True, convert=convert
    )
    assert result.verdict.passed
    assert set(shown) == {("float32", dtype)}


def test_what_a_validate_function_accepts_passes_whatever_the_error() -> None:
    always = {"validate": lambda a, b: True, "validate_only": True}
    result = find(worked_example(), {"x": normal(1, 16)}, **always)
    (row,) = result.verdict.samples
    assert [output.passed for output in row.outputs] == [True]
    assert row.outputs[0].error > 1


def test_a_validate_that_never_agrees_finds_nothing() -> None:
    with pytest.raises(VerdictError):
        find(worked_example(), {"x": normal(1, 16)}, validate=lambda a, b: False)
