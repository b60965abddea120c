"""Nodes of opset 1 to 6 as the oldest form that onnx's version converter raises.

1. Its steps lack Pad, LpPool, GlobalLpPool and Split of opset 1, and Cast of opset 5.
2. Selu had other defaults before opset 6, which it does not tell.
3. Split of opset 1 could take its sizes as an operand, which opset 2 to 12 cannot.
4. Tile of opset 1 has no form at all: it repeats along one axis, both told by operands of the
   type of the data, where later ones want an integer for every axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import AttributeProto, NodeProto, TensorProto, helper

__all__ = ["oldest_convertible"]

_SIZES_AS_OPERAND = 13  # Split has them so from here on
_CODES: dict[str, int] = dict(TensorProto.DataType.items())
_OLD_SELU = {"alpha": 1.6732, "gamma": 1.0507}


class _NoFormError(Exception):
    """Why a node has no later form."""


def oldest_convertible(item: NodeProto, opset: int, goal: int) -> tuple[int, str]:
    """Change `item`, a node of `opset`, to an equal one of a later opset where it needs that.

    The opset that it then is of, and "" or why there is none up to `goal`.
    """
    step = _STEPS.get(item.op_type)
    if step is None or opset >= step[0]:
        return opset, ""
    try:
        return max(opset, step[1](item, goal)), ""
    except _NoFormError as reason:
        return opset, str(reason)


def _attributes(item: NodeProto) -> Mapping[str, AttributeProto]:
    return {attr.name: attr for attr in item.attribute}


def _pad(item: NodeProto, goal: int) -> int:
    del goal
    found = _attributes(item).get("paddings")
    if found is not None:
        found.name = "pads"
    return 2


def _norm_pool(item: NodeProto, goal: int) -> int:
    del goal
    found = _attributes(item).get("p")
    if found is not None and found.type == AttributeProto.FLOAT:
        if not found.f.is_integer():
            raise _NoFormError(
                f"its norm {found.f:g} is a fraction, and an integer from opset 2 on"
            )
        found.CopyFrom(helper.make_attribute("p", int(found.f)))
    return 2


def _split(item: NodeProto, goal: int) -> int:
    if len(item.input) < 2 or not item.input[1]:
        return 2
    if goal < _SIZES_AS_OPERAND:
        raise _NoFormError("its sizes are an operand, which Split has not from opset 2 to 12")
    kept = [attr for attr in item.attribute if attr.name != "split"]
    del item.attribute[:]
    item.attribute.extend(kept)
    return _SIZES_AS_OPERAND


def _cast(item: NodeProto, goal: int) -> int:
    del goal
    found = _attributes(item).get("to")
    if found is not None and found.type == AttributeProto.STRING:
        name = found.s.decode("ascii", "replace").upper()
        code = _CODES.get(name)
        if code is None:
            raise _NoFormError(f"its type {name!r} is none of ONNX")
        found.CopyFrom(helper.make_attribute("to", code))
    return 6


def _selu(item: NodeProto, goal: int) -> int:
    del goal
    given = _attributes(item)
    for name, value in _OLD_SELU.items():
        if name not in given:
            item.attribute.append(helper.make_attribute(name, value))
    return 0


def _tile(item: NodeProto, goal: int) -> int:
    del item, goal
    raise _NoFormError("it repeats along an axis that an operand tells, and along all from 6 on")


# Operator -> the first opset whose form needs nothing, and what makes an older one such.
_STEPS: dict[str, tuple[int, Callable[[NodeProto, int], int]]] = {
    "Cast": (6, _cast),
    "GlobalLpPool": (2, _norm_pool),
    "LpPool": (2, _norm_pool),
    "Pad": (2, _pad),
    "Selu": (6, _selu),
    "Split": (2, _split),
    "Tile": (6, _tile),
}
