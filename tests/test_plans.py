"""Plan files: read back as written, and refused where they are damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest

from halve import OutputError, Plan, PlanError, PlanNode

SCHEMA = Path(__file__).parents[1] / "docs" / "plan.schema.json"
NODE = PlanNode(3, "n\udcff", "Mul", "", "k", "float16", {"in1": "float32"}, "why")
PLAN = Plan("hash", {"dtype": "float16"}, (NODE, PlanNode(4, "", "If", "", "l", "")))


def changed(**fields: object) -> str:
    record = PLAN.record()
    node = dict(record["nodes"][0])  # type: ignore[index]
    return json.dumps(record | {"nodes": [node | fields]})


def test_a_plan_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")
    PLAN.save(path)
    assert Plan.load(str(path)) == PLAN
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_an_infinite_bound_is_a_text_in_the_file(tmp_path: Path) -> None:
    plan = Plan("hash", {"dtype": "bfloat16", "max_finite": math.inf}, (NODE,))
    plan.save(tmp_path / "plan.json")
    text = (tmp_path / "plan.json").read_text("ascii")
    assert '"max_finite": "inf"' in text
    assert Plan.load(tmp_path / "plan.json") == plan


def test_plan_files_follow_their_schema() -> None:
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    record = json.loads(json.dumps(PLAN.record()))
    schema.validate(record)
    assert not schema.is_valid(record | {"more": 1})
    for name in record:
        assert not schema.is_valid({key: record[key] for key in record if key != name})
    for change in ({"dtype": "int8"}, {"id": -1}, {"operands": {"x": "float32"}}):
        assert not schema.is_valid(json.loads(changed(**change)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "schema_version"),
        ('{"schema_version": 2}', "schema_version 2"),
        ('{"schema_version": 1}', "not a plan"),
        (json.dumps(PLAN.record() | {"nodes": {}}), "nodes is not a list"),
        (json.dumps(PLAN.record() | {"nodes": [1]}), "not a plan"),
        (changed(dtype="x"), "dtype 'x'"),
        (changed(dtype=[]), "dtype"),
        (changed(id=1.5), "id 1.5"),
        (changed(id=float("inf")), "id inf"),
        (changed(id=True), "id True"),
        (changed(id=-1), "id -1"),
        (changed(operands={"in0": "int8"}), "dtype 'int8'"),
        (changed(operands={"x": "float32"}), "operand 'x'"),
        (changed(operands=3), "not a plan"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(PlanError, match=words):
        Plan.load(tmp_path / "plan.json")


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read"):
        Plan.load(tmp_path / "plan.json")


def test_a_folder_in_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        PLAN.save(tmp_path / "plan.json")
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]
