"""Which units are gated together, and what a trial then enters."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from halve.options import ConvertOptions
from halve.plan import analyse, load_target
from halve.plan.units import search_units
from halve.search_types import Tolerances
from halve.session import Sample
from halve.session.gates import REGION, Gated, gate_units
from halve.session.probe import Probe, ProbeSettings, weight_rounding
from halve.source import open_model
from halve.types import CastBounds, DType
from onnx_text import parse

ROUNDING = weight_rounding(DType.FLOAT16, CastBounds())
CHAIN = """g (float[4] x) => (float[4] y) {
    a = Sin(x) b = Cos(a) c = Neg(b) d = Exp(c) y = Mul(d, a)
}"""


def gated(model: ModelProto, elements: dict[str, int]) -> Gated:
    options = ConvertOptions(target="any")
    units = search_units(analyse(open_model(model).proto), options, load_target("any"))
    return gate_units(model, units, int(DType.FLOAT16), ROUNDING, elements=elements)


def sized(names: str, elements: int = 4) -> dict[str, int]:
    return dict.fromkeys(names, elements)


def test_a_run_of_small_units_is_one_if() -> None:
    found = gated(parse(CHAIN), sized("xabcdy"))
    assert found.regions == (range(4),)
    ops = [node.op_type for node in found.model.graph.node]
    assert ops.count("If") == 1
    (region,) = (node for node in found.model.graph.node if node.op_type == "If")
    assert list(region.output) == ["y"]


def test_what_others_read_leaves_the_region() -> None:
    model = parse(
        """g (float[4] x) => (float[4] b, float[4] y) {
        a = Sin(x) b = Cos(a) c = Cast<to = 11>(a) d = Cast<to = 1>(c) e = Exp(d) y = Sin(e)
    }"""
    )
    found = gated(model, sized("xabdey"))
    assert found.regions == (range(2), range(2, 4))
    outputs = [list(node.output) for node in found.model.graph.node if node.op_type == "If"]
    assert [sorted(names) for names in outputs] == [["a", "b"], ["y"]]


@pytest.mark.parametrize("large", ["x", "b", "y"])
def test_a_large_value_ends_a_region(large: str) -> None:
    whole = gated(parse(CHAIN), sized("xabcdy"))
    found = gated(parse(CHAIN), sized("xabcdy") | {large: 1 << 20})
    assert found.regions != whole.regions
    assert sum(map(len, found.regions)) < 4


def test_sizes_that_are_not_known_are_not_small() -> None:
    assert gated(parse(CHAIN), {}).regions == ()


def test_a_region_has_a_limited_number_of_units() -> None:
    names = [f"v{number}" for number in range(40)]
    lines = "".join(f"{b} = Sin({a}) " for a, b in zip(["x", *names], [*names, "y"], strict=True))
    model = parse(f"g (float[4] x) => (float[4] y) {{ {lines} }}")
    found = gated(model, dict.fromkeys(["x", "y", *names], 4))
    assert [len(region) for region in found.regions] == [16, 16, 9]


def test_nodes_out_of_order_have_no_regions() -> None:
    model = parse(CHAIN)
    nodes = list(reversed([node.SerializeToString() for node in model.graph.node]))
    for node, data in zip(model.graph.node, nodes, strict=True):
        node.ParseFromString(data)
    assert gated(model, sized("xabcdy")).regions == ()


def test_the_mask_of_regions_says_what_is_alike() -> None:
    model = parse(CHAIN)
    options = ConvertOptions(target="any")
    units = search_units(analyse(open_model(model).proto), options, load_target("any"))
    feeds = {"x": np.ones(4, np.float32)}
    probe = Probe(
        model,
        units,
        [Sample(0, feeds)],
        Tolerances(),
        ProbeSettings(optimise="disabled"),
        elements=sized("xabcdy"),
    )
    masks = {
        fp32: tuple(probe._mask(fp32)[REGION]) for fp32 in map(frozenset, ((), range(4), (1,)))
    }
    assert masks[frozenset()] == (True, False)
    assert masks[frozenset(range(4))] == (False, True)
    assert masks[frozenset({1})] == (False, False)
