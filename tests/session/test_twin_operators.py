"""The operators that measure values inside ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from halve._native.twin import TwinBoard, TwinRow, TwinRule, measure_twin
from halve.errors import SessionError
from halve.session import Session, load, run
from halve.types import DType

RULE = TwinRule(ge=65504.0, le=2.0**-14, limit=65504.0, rtol=1e-2, atol=1e-2, samples=4096)
BOTH, EXACT, HALF = 3, 1, 2


def session(board: int, *, op_type: str = "Measure", row: int = 0, **fields: int) -> Session:
    """x is the float32 run's value, and the square of `root` the other run's."""
    how = {"reads": BOTH, "round": 1, "second": 1, "keep": 1} | fields
    nodes = [
        helper.make_node("Mul", ["root", "root"], ["half"]),
        helper.make_node(
            op_type, ["x", "half", "x"], ["y"], domain="halve", board=board, row=row, **how
        ),
        helper.make_node("Neg", ["y"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "measured",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "root")],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("halve", 1)]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return load(model, optimise=False, operators=True, in_order=True)


def feeds(*shape: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name in ("x", "root")}


def taken(board: TwinBoard, row: int = 0) -> TwinRow:
    found = board.take()[row]
    assert found is not None
    return found


@pytest.mark.parametrize("op_type", ["Measure", "MeasureInPlace"])
def test_a_value_is_rounded_and_measured(op_type: str) -> None:
    board = TwinBoard(2, RULE)
    given = feeds(7, 900)
    (z,) = run(session(board.number, op_type=op_type, row=1), given)
    half = given["root"] ** 2
    np.testing.assert_array_equal(-z, half.astype(np.float16).astype(np.float32))
    first, row = board.take()
    assert first is None
    assert row is not None
    expected = measure_twin(given["x"], half, RULE, rounding=DType.FLOAT16, second="own")
    assert (row.exact, row.half) == (expected.exact, expected.half)
    assert (row.total, row.local) == (expected.total, expected.local)
    assert row.exact_shape == row.half_shape == (7, 900)
    assert board.take() == [None, None]


def test_exponents_are_counted() -> None:
    board = TwinBoard(1, RULE)
    given = feeds(10_000)
    given["x"][::6] = 0
    run(session(board.number), given)
    row = taken(board)
    sample = given["x"][::3]
    exponents = np.frexp(sample[sample != 0])[1] - 1
    values, counts = np.unique(exponents, return_counts=True)
    assert row.sampled == len(sample)
    assert row.exponents == tuple(zip(values.tolist(), counts.tolist(), strict=True))


def test_values_of_different_shapes_are_not_compared() -> None:
    board = TwinBoard(1, RULE)
    given = feeds(30) | {"x": np.full((2, 15), 1e6, np.float32)}
    run(session(board.number, second=2), given)
    row = taken(board)
    assert (row.exact_shape, row.half_shape) == ((2, 15), (30,))
    assert row.total is None
    assert row.local is None
    assert row.exact_over == row.exact.elements if row.exact else False
    half = given["root"] ** 2
    alone = measure_twin(None, half, RULE, rounding=DType.FLOAT16)
    assert (row.half, row.half_over) == (alone.half, 0)


@pytest.mark.parametrize("reads", [EXACT, HALF])
def test_one_run_alone(reads: int) -> None:
    board = TwinBoard(1, RULE)
    run(session(board.number, reads=reads, second=0, keep=int(reads == HALF)), feeds(300))
    row = taken(board)
    assert (row.exact is None, row.half is None) == (reads == HALF, reads == EXACT)
    assert row.total is None
    assert row.local is None


def test_what_is_not_kept_is_empty() -> None:
    board = TwinBoard(1, RULE)
    (z,) = run(session(board.number, keep=0), feeds(5))
    assert z.shape == (0,)
    assert taken(board).half_shape == (5,)


def test_values_without_elements() -> None:
    board = TwinBoard(1, RULE)
    (z,) = run(session(board.number), feeds(0, 4))
    row = taken(board)
    assert z.shape == (0, 4)
    assert row.total is not None
    assert (row.total.elements, row.sampled) == (0, 0)


def test_a_row_that_the_board_does_not_have() -> None:
    board = TwinBoard(1, RULE)
    with pytest.raises(SessionError, match="no place for its result"):
        session(board.number, row=1)


def test_a_board_that_is_gone() -> None:
    number = TwinBoard(1, RULE).number
    with pytest.raises(SessionError, match="no place for its result"):
        session(number)


def test_boards_have_numbers_of_their_own() -> None:
    boards = [TwinBoard(1, RULE) for _ in range(3)]
    assert len({board.number for board in boards}) == len(boards)
