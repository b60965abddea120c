"""Node ids, decisions and their reasons, structural keys, plan files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from onnx import ModelProto

from halve.convert import convert
from halve.errors import OptionError, PlanError
from halve.options import ConvertOptions
from halve.plan import analyse, load_target, make_plan
from halve.plan.analysis import iter_nodes
from halve.plan.keys import node_keys
from halve.types import Plan
from onnx_text import parse

NET = """g (float[2] x) => (float[2] y)
<float[2] w = {1.5, 2.5}> {
    [first] a = Mul(x, w)
    [second] b = Tanh(a)
    [third] c = Tanh(b)
    [fourth] y = Add(c, w)
}"""
NESTED = """g (bool c, float[2] x) => (float[2] y, float[2] z) {
    a = Sin(x)
    y = If(c) <
        then_branch = t () => (float[2] p) {
            p = If(c) <
                then_branch = tt () => (float[2] q) { q = Cos(a) },
                else_branch = te () => (float[2] r) { r = Tan(a) }
            >
        },
        else_branch = e () => (float[2] s) { s = Exp(a) }
    >
    z = local.twice(y)
}"""
FUNCTION = '<domain: "local", opset_import: ["" : 17]>\ntwice (u) => (v) { v = Add(u, u) }'


def plan_of(model: ModelProto, **options: object) -> Plan:
    options.setdefault("target", "any")
    chosen = ConvertOptions(**options)  # type: ignore[arg-type]
    return make_plan(analyse(model), chosen, load_target(chosen.target), model_hash="hash")


def kept(plan: Plan) -> list[int]:
    return [node.id for node in plan.nodes if node.dtype == "float32"]


def test_ids_are_main_graph_then_subgraphs_pre_order_then_functions() -> None:
    found = [
        (number, scope, node.op_type)
        for number, scope, node in iter_nodes(parse(NESTED, functions=FUNCTION))
    ]
    assert found == [
        (0, "", "Sin"),
        (1, "", "If"),
        (2, "", "twice"),
        (3, "1.then_branch", "If"),
        (4, "1.then_branch/3.then_branch", "Cos"),
        (5, "1.then_branch/3.else_branch", "Tan"),
        (6, "1.else_branch", "Exp"),
        (7, "local::twice", "Add"),
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"op_block": ("Tanh",)}, [1, 2]),
        ({"op_block": ("T.n.",)}, [1, 2]),
        ({"op_block": ("Tan",)}, []),
        ({"node_block": ("second",)}, [1]),
        ({"node_block": (".*r.*",)}, [0, 2, 3]),
        ({"fp32_nodes": (3, 0)}, [0, 3]),
    ],
)
def test_blocking(options: dict[str, object], expected: list[int]) -> None:
    assert kept(plan_of(parse(NET), **options)) == expected


def test_node_names_with_odd_characters_match_literally() -> None:
    model = parse(NET)
    model.graph.node[1].name = "a(b[c"
    assert kept(plan_of(model, node_block=("a(b[c",))) == [1]


def test_an_id_that_does_not_exist() -> None:
    with pytest.raises(OptionError, match="op id 4 does not exist; this model has ids 0 to 3"):
        plan_of(parse(NET), fp32_nodes=(4,))


def test_a_kernel_that_the_target_lacks_keeps_the_node_float() -> None:
    text = """g (float[1,1,4,4] x, float[1,4,4,2] grid) => (float[1,1,4,4] y)
    { a = Relu(x) y = GridSample(a, grid) }"""
    plan = plan_of(parse(text), target="cuda")
    assert [node.dtype for node in plan.nodes] == ["float16", "float32"]
    assert "GridSample" in plan.nodes[1].reason
    assert [node.dtype for node in plan_of(parse(text), target="any").nodes] == ["float16"] * 2


def test_an_opset_without_half_keeps_the_node_float() -> None:
    text = "g (float[2] x, int64 k) => (float[2] y) { y = CumSum(x, k) }"
    old = plan_of(parse(text, opset=12)).nodes[0]
    assert (old.dtype, old.reason) == ("float32", "CumSum has no float16 at opset 12")
    assert plan_of(parse(text, opset=14)).nodes[0].dtype == "float16"


def test_a_newer_opset_than_known_warns() -> None:
    model = parse(NET, opset=99)
    (warning,) = analyse(model).warnings
    assert "99" in warning
    assert kept(plan_of(model)) == []


def test_operands_that_deviate_are_listed() -> None:
    text = """g (float[2,4] x) => (float[2,4] y, float[2,1] m)
    <float[4] s = {1, 1, 1, 1}> { y, m = LayerNormalization(x, s) }"""
    node = plan_of(parse(text)).nodes[0]
    assert (node.dtype, node.operands) == ("float16", {"out1": "float32"})


def test_keys_do_not_depend_on_names() -> None:
    renamed = parse(NET.replace("first", "one").replace("a =", "aa =").replace("(a)", "(aa)"))
    assert node_keys(analyse(renamed)) == node_keys(analyse(parse(NET)))


def test_keys_differ_for_other_weights_operators_and_inputs() -> None:
    keys = node_keys(analyse(parse(NET)))
    assert len(set(keys)) == 4
    wider = parse(NET.replace("float[2]", "float[3]").replace("{1.5, 2.5}", "{1, 2, 3}"))
    assert not set(keys) & set(node_keys(analyse(wider)))


def test_equal_nodes_are_told_apart_by_their_ordinal() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Sin(x) b = Sin(x) y = Neg(x) }"
    first, second, _ = node_keys(analyse(parse(text)))
    assert second == f"{first}.1"


def test_plan_file_round_trip(tmp_path: Path) -> None:
    plan = plan_of(parse(NET), node_block=("second",))
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    record = json.loads((tmp_path / "plan.json").read_text())
    assert record["schema_version"] == 1
    assert set(record) == {
        "schema_version",
        "model_hash",
        "runtime",
        "provider",
        "options",
        "nodes",
    }
    assert record["nodes"][1] | {"key": ""} == {
        "id": 1,
        "name": "second",
        "type": "Tanh",
        "scope": "",
        "key": "",
        "dtype": "float32",
        "reason": "blocked by name",
    }


def test_a_plan_survives_a_re_export_with_other_names(tmp_path: Path) -> None:
    plan_of(parse(NET), node_block=("third",)).save(tmp_path / "plan.json")
    renamed = parse(NET.replace("third", "other").replace("b =", "bb =").replace("(b)", "(bb)"))
    options = ConvertOptions(plan=tmp_path / "plan.json", target="any")
    result = convert(renamed, options=options)
    assert kept(result.plan) == [2]
    assert any("structure" in text for text in result.warnings)


def test_a_plan_of_another_model_is_refused(tmp_path: Path) -> None:
    plan_of(parse(NET), node_block=("third",)).save(tmp_path / "plan.json")
    other = parse("g (float[2] x) => (float[2] y) { y = Sin(x) }")
    with pytest.raises(PlanError, match="another model"):
        convert(other, options=ConvertOptions(plan=tmp_path / "plan.json"))
