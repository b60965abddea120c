"""Rows of a plan against nodes that may have changed: what finds what, and what is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from halve.plan.matching import listed, match_rows
from halve.plans import PlanNode


def row(number: int, key: str, *, name: str = "", dtype: str = "float16") -> PlanNode:
    return PlanNode(number, name, "MatMul", "", key, dtype)


def ids(rows: list[PlanNode], nodes: list[PlanNode]) -> dict[int, int]:
    return {a.id: b.id for a, b in match_rows(rows, nodes).pairs}


def test_the_same_keys() -> None:
    assert ids([row(0, "a.x"), row(1, "b.y")], [row(0, "b.y"), row(1, "a.x")]) == {0: 1, 1: 0}


def test_what_is_used_otherwise_is_found_by_what_it_computes() -> None:
    assert ids([row(0, "a.x"), row(1, "b.y")], [row(5, "b.z"), row(6, "a.w")]) == {0: 6, 1: 5}


def test_what_computes_otherwise_is_found_by_its_use() -> None:
    assert ids([row(0, "a.x")], [row(3, "c.y"), row(4, "c.x")]) == {0: 4}


def test_the_last_rule_is_the_name() -> None:
    assert ids([row(0, "a.x", name="n")], [row(3, "c.y", name="m"), row(4, "d.z", name="n")]) == {
        0: 4
    }


def test_equals_of_one_decision_are_paired_in_order() -> None:
    rows = [row(0, "a.x", dtype="float32"), row(1, "a.y", dtype="float32")]
    assert ids(rows, [row(3, "a.v"), row(4, "a.w")]) == {0: 3, 1: 4}


def test_equals_of_two_decisions_are_told_apart_by_name_or_not_at_all() -> None:
    rows = [row(0, "a.x", name="p", dtype="float32"), row(1, "a.y", name="q")]
    named = match_rows(rows, [row(3, "a.v", name="q"), row(4, "a.w", name="p")])
    assert [(a.id, b.id) for a, b in named.pairs] == [(0, 4), (1, 3)]
    unnamed = match_rows(rows, [row(3, "a.v"), row(4, "a.w")])
    assert unnamed.pairs == ()
    assert [len(unnamed.lost), len(unnamed.new)] == [2, 2]


def test_one_row_and_two_candidates_is_no_match() -> None:
    found = match_rows([row(0, "a.x", dtype="float32")], [row(3, "a.v"), row(4, "a.w")])
    assert (found.pairs, len(found.lost), len(found.new)) == ((), 1, 2)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), max_size=8),
       st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), max_size=8))  # fmt: skip
def test_each_row_and_node_is_counted_once(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    rows = [row(i, f"{up}.{down}.{i}") for i, (up, down) in enumerate(first)]
    nodes = [row(i, f"{up}.{down}.{i}") for i, (up, down) in enumerate(second)]
    found = match_rows(rows, nodes)
    assert sorted([a.id for a, _ in found.pairs] + [r.id for r in found.lost]) == [
        r.id for r in rows
    ]
    assert sorted([b.id for _, b in found.pairs] + [n.id for n in found.new]) == [
        n.id for n in nodes
    ]


def test_a_list_for_a_message_is_short() -> None:
    nodes = [PlanNode(i, "n" * 200, "Add", "3.body", "", "") for i in range(10)]
    text = listed(nodes)
    assert text.startswith(f"node 0 (Add {'n' * 80!r} in 3.body), ")
    assert text.endswith(" and 2 more")
