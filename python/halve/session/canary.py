"""Proof, before anything is judged, that this runtime keeps casts to 16 bits and rounds in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from halve.errors import SessionError
from halve.session.installed import describe_runtime
from halve.session.roundings import OperatorRoundings
from halve.session.runtime import CPU_PROVIDER, load, run
from halve.session.switches import SWITCHES

__all__ = ["CanaryResult", "check_arithmetic", "check_canary"]

_HALVES: dict[str, tuple[int, Any]] = {
    "float16": (int(TensorProto.FLOAT16), np.float16),
    "bfloat16": (int(TensorProto.BFLOAT16), ml_dtypes.bfloat16),
}
# What each type must do with its corners: kept, a tie, rounded away, overflow, underflow.
_FLOAT16_VALUES = (1 + 2**-12, 1 + 2**-11, 65504.0, 65519.0, 65520.0, 2**-24, 2**-25, 1e-7, 300.0)
_BFLOAT16_VALUES = (1 + 2**-10, 1 + 2**-8, 1 + 3 * 2**-8, 3.3895e38, 3.3961e38, 1e-40, 2**-133)
_SPECIAL_VALUES = (0.0, -0.0, float("inf"), float("-inf"), float("nan"))
_SPREAD = 4096


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """A canary that held: where, for which type, and over how many values."""

    runtime: str
    provider: str
    optimise: bool | str
    dtype: str
    values: int


def check_canary(
    dtype: str = "float16",
    *,
    provider: str = CPU_PROVIDER,
    optimise: bool | str = True,
    threads: int = 1,
    roundings: OperatorRoundings | None = None,
) -> CanaryResult:
    """Show that a pair of casts to `dtype` and back, between float32 nodes, is kept at the given
    optimisation level and equals numpy's rounding bit for bit (NaN: is NaN). With `roundings`, show
    it of their operator, which stands in the place of each pair.

    Raises:
        SessionError: a pair was erased, or rounds otherwise: nothing may be judged there.
        BackendUnavailableError: ONNX Runtime or the provider is not here.
    """
    values = _values(dtype)
    where = f"canary for {dtype} casts"
    session = load(
        _model(dtype, roundings),
        provider=provider,
        optimise=optimise,
        threads=threads,
        operators=roundings is not None,
        where=where,
    )
    feeds: dict[str, NDArray[Any]] = {"x": values}
    if roundings is not None:
        feeds[SWITCHES] = np.array([False, True])
    measured, product = run(session, feeds)
    with np.errstate(all="ignore"):
        expected = _rounded(values, dtype)
        expected_product = _rounded(expected * expected, dtype)
    version = describe_runtime().version
    for got, wanted in ((measured, expected), (product, expected_product)):
        _compare(got, wanted, f"{where} on {provider} of ONNX Runtime {version}")
    return CanaryResult(version, provider, optimise, dtype, values.size)


def check_arithmetic(dtype: str, *, provider: str) -> None:
    """Show that a provider computes a 16-bit product in 16 bits.

    Raises:
        SessionError: it computes in a wider type, as ONNX Runtime's CPU provider does: nothing
            may be judged by real models there.
        BackendUnavailableError: ONNX Runtime or the provider is not here.
    """
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=_HALVES[dtype][0]),
        helper.make_node("Mul", ["a", "a"], ["b"]),
        helper.make_node("Sub", ["b", "a"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph(nodes, "arithmetic", ports[:1], ports[1:])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    values = np.array([1 + 2**-7, 3.0, 1.0, 1.5], np.float32)
    (got,) = run(load(model, provider=provider, where=f"canary for {dtype} on {provider}"),
                 {"x": values})  # fmt: skip
    expected = _rounded(_rounded(values * values, dtype) - values, dtype)
    _compare(got, expected, f"{dtype} arithmetic on {provider}")


def _values(dtype: str) -> NDArray[np.float32]:
    """Corners with both signs, and a fixed spread over all exponents."""
    corners = _FLOAT16_VALUES if dtype == "float16" else _BFLOAT16_VALUES
    spread = np.arange(_SPREAD, dtype=np.uint32) * np.uint32(2**32 // _SPREAD) + np.uint32(0x1ABC)
    named = np.array([*corners, *(-value for value in corners), *_SPECIAL_VALUES], np.float32)
    return np.concatenate([named, spread.view(np.float32)])


def _rounded(values: NDArray[np.float32], dtype: str) -> NDArray[np.float32]:
    return values.astype(_HALVES[dtype][1]).astype(np.float32)


def _model(dtype: str, roundings: OperatorRoundings | None) -> ModelProto:
    """x, rounded; and its square, rounded: between nodes that an optimiser could fuse."""
    nodes = [
        helper.make_node("Mul", ["x", "one"], ["scaled"]),
        *_round("scaled", "x32", dtype, roundings),
        helper.make_node("Mul", ["x32", "one"], ["y"]),
        helper.make_node("Mul", ["x32", "x32"], ["square"]),
        *_round("square", "square32", dtype, roundings),
        helper.make_node("Mul", ["square32", "one"], ["z"]),
    ]
    names = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xyz"}
    inputs, domains = [names["x"]], [helper.make_opsetid("", 17)]
    if roundings is not None:
        inputs.append(helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [2]))
        domains += [helper.make_opsetid(domain, 1) for domain in roundings.domains]
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    graph = helper.make_graph(nodes, "canary", inputs, [names["y"], names["z"]], [one])
    return helper.make_model(graph, ir_version=8, opset_imports=domains)


def _round(
    source: str, result: str, dtype: str, roundings: OperatorRoundings | None
) -> list[NodeProto]:
    """A value's rounding; by operators, one that is off and one that is on."""
    if roundings is None:
        return [
            helper.make_node("Cast", [source], [f"{source}.16"], to=_HALVES[dtype][0]),
            helper.make_node("Cast", [f"{source}.16"], [result], to=TensorProto.FLOAT),
        ]
    return [
        roundings.node("Round", [source], f"{source}.same", 0),
        roundings.node("Round", [f"{source}.same"], result, 1),
    ]


def _compare(got: NDArray[Any], wanted: NDArray[np.float32], where: str) -> None:
    same = (got.view(np.uint32) == wanted.view(np.uint32)) | (np.isnan(got) & np.isnan(wanted))
    if same.all():
        return
    index = int(np.argmin(same))
    raise SessionError(
        f"{where}: the rounding is erased or rounds otherwise: {int((~same).sum())} of "
        f"{same.size} values differ, the first is {got[index]!r} where {wanted[index]!r} is "
        f"right; nothing can be judged there: use another ONNX Runtime or a lower optimisation "
        f"level"
    )
