"""Nodes of opset 1 to 6 as the oldest form that onnx's version converter raises.

1. Its steps lack Pad, LpPool, GlobalLpPool and Split of opset 1, and Cast of opset 5.
2. Selu had other defaults before opset 6, which it does not tell.
3. Split with its sizes as an operand, and Tile, have no form: in opset 1 such operands were of the
   type of the data, and Tile repeated along one axis, where later it wants a number for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import AttributeProto, NodeProto, TensorProto, helper

__all__ = ["oldest_convertible"]

_CODES: dict[str, int] = dict(TensorProto.DataType.items())
_OLD_SELU = {"alpha": 1.6732, "gamma": 1.0507}


class _NoFormError(Exception):
    """Why a node has no later form."""


def oldest_convertible(item: NodeProto, opset: int) -> tuple[int, str]:
    """Change `item`, a node of `opset`, to an equal one of a later opset where it needs that.

    The opset that it then is of, and "" or why there is none.
    """
    step = _STEPS.get(item.op_type)
    if step is None or opset >= step[0]:
        return opset, ""
    try:
        return max(opset, step[1](item)), ""
    except _NoFormError as reason:
        return opset, str(reason)


def _attributes(item: NodeProto) -> Mapping[str, AttributeProto]:
    return {attr.name: attr for attr in item.attribute}


def _pad(item: NodeProto) -> int:
    found = _attributes(item).get("paddings")
    if found is not None:
        found.name = "pads"
    return 2


def _norm_pool(item: NodeProto) -> int:
    found = _attributes(item).get("p")
    if found is not None and found.type == AttributeProto.FLOAT:
        if not found.f.is_integer():
            raise _NoFormError(
                f"its norm {found.f:g} is a fraction, and an integer from opset 2 on"
            )
        found.CopyFrom(helper.make_attribute("p", int(found.f)))
    return 2


def _split(item: NodeProto) -> int:
    if len(item.input) > 1 and item.input[1]:
        raise _NoFormError("its sizes are an operand of the data's type, and integers later")
    return 2


def _cast(item: NodeProto) -> int:
    found = _attributes(item).get("to")
    if found is not None and found.type == AttributeProto.STRING:
        name = found.s.decode("ascii", "replace").upper()
        code = _CODES.get(name)
        if code is None:
            raise _NoFormError(f"its type {name!r} is none of ONNX")
        found.CopyFrom(helper.make_attribute("to", code))
    return 6


def _selu(item: NodeProto) -> int:
    given = _attributes(item)
    for name, value in _OLD_SELU.items():
        if name not in given:
            item.attribute.append(helper.make_attribute(name, value))
    return 0


def _tile(_: NodeProto) -> int:
    raise _NoFormError("it repeats along an axis that an operand tells, and along all from 6 on")


# Operator -> the first opset whose form needs nothing, and what makes an older one such.
_STEPS: dict[str, tuple[int, Callable[[NodeProto], int]]] = {
    "Cast": (6, _cast),
    "GlobalLpPool": (2, _norm_pool),
    "LpPool": (2, _norm_pool),
    "Pad": (2, _pad),
    "Selu": (6, _selu),
    "Split": (2, _split),
    "Tile": (6, _tile),
}
