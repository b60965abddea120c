"""The flags of a conversion against the record that they describe."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from halve.cli.convert import make_parser
from halve.cli.flags import FLAGS, WITHOUT_FLAG, convert_options
from halve.cli.parser import normalise, split_list
from halve.errors import OptionError
from halve.options import DTYPES, EXTERNAL_DATA, TARGETS, ConvertOptions


def options(*args: str) -> ConvertOptions:
    return convert_options(make_parser().parse(["in.onnx", "out.onnx", *args]))


def test_every_field_has_a_flag() -> None:
    fields = {field.name for field in dataclasses.fields(ConvertOptions)}
    flags = [flag.field for flag in FLAGS]
    assert sorted(flags) == sorted(fields - WITHOUT_FLAG)
    assert fields >= WITHOUT_FLAG


def test_defaults_are_those_of_the_record() -> None:
    assert options() == ConvertOptions()


@pytest.mark.parametrize(
    ("field", "allowed"),
    [("dtype", DTYPES), ("target", TARGETS), ("external_data", EXTERNAL_DATA)],
)
def test_help_shows_the_choices(field: str, allowed: tuple[str, ...]) -> None:
    (flag,) = (flag for flag in FLAGS if flag.field == field)
    assert flag.metavar == "|".join(allowed)
    for value in allowed:
        assert getattr(options(flag.name, value), field) == value


@pytest.mark.parametrize(
    ("args", "field", "value"),
    [
        (["--keep-io-types"], "keep_io_types", True),
        (["--keep_io_types"], "keep_io_types", True),
        (["--keep-io-types=x_1,y"], "keep_io_types", ("x_1", "y")),
        (["--keep_io_types=x", "--keep-io-types=y"], "keep_io_types", ("x", "y")),
        (["--op-block", "Add,Mul", "--op_block=Re.*"], "op_block", ("Add", "Mul", "Re.*")),
        (["--node-block", r"/layer\.\d{1,2}/.*,n2"], "node_block", (r"/layer\.\d{1,2}/.*", "n2")),
        (["--fp32-nodes", "3,5", "--fp32_nodes", "8"], "fp32_nodes", (3, 5, 8)),
        (["--fp32-nodes", "@p.json"], "plan", Path("p.json")),
        (["--min-positive-val", "1e-7"], "min_positive", 1e-7),
        (["--max_finite_val", "1e4"], "max_finite", 1e4),
        (["--max-finite-val", "inf"], "max_finite", math.inf),
        (["--shard-size", "2G"], "shard_size_bytes", 2 << 30),
        (["--threads", "3"], "threads", 3),
        (["--custom-op-library", "ops.so"], "custom_op_library", Path("ops.so")),
        (["--allow_links"], "allow_links", True),
    ],
)
def test_a_flag_sets_its_field(args: list[str], field: str, value: object) -> None:
    expected = dataclasses.replace(ConvertOptions(), **{field: value})
    assert options(*args) == expected


def test_ids_and_a_plan_together() -> None:
    made = options("--fp32-nodes", "1", "--fp32-nodes", "@p.json")
    assert (made.fp32_nodes, made.plan) == ((1,), Path("p.json"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--dtype", "int8"], "dtype is 'int8'; allowed: float16, bfloat16"),
        (["--target", "tpu"], "target is 'tpu'; allowed: cuda, cpu, tensorrt, any"),
        (["--threads", "two"], "--threads is 'two'; allowed: a whole number"),
        (["--threads", "-1"], "threads is -1; allowed: 0 to 1024"),
        (["--fp32-nodes", "1,a"], "--fp32-nodes is 'a'; allowed: a whole number"),
        (["--fp32-nodes=@a", "--fp32-nodes=@b"], "names 2 plan files; allowed: one"),
        (["--min-positive-val", "x"], "--min-positive-val is 'x'; allowed: a number"),
        (["--min-positive-val", "-1"], "min_positive is -1.0; allowed: 0"),
        (["--max-finite-val", "nan"], "max_finite is nan; allowed: positive"),
        (["--min-positive-val", "1e5"], "max_finite is 65504.0; allowed: positive and at least"),
        (["--shard-size", "big"], "size 'big' is not understood; write it like"),
        (["--keep-io", "x"], "unrecognized arguments"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(args: list[str], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        options(*args)
    assert message in str(caught.value)


def test_bare_keep_io_types_takes_no_path() -> None:
    parsed = make_parser().parse(["--keep-io-types", "in.onnx", "--threads", "1", "out.onnx"])
    assert parsed.paths == ["in.onnx", "out.onnx"]
    assert convert_options(parsed).keep_io_types is True


def test_only_flags_are_respelled() -> None:
    args = ["my_model.onnx", "--op_block=A_b", "--", "--a_b"]
    assert normalise(args) == ["my_model.onnx", "--op-block=A_b", "--", "--a_b"]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a,b", ("a", "b")),
        ("a", ("a",)),
        ("a,,b,", ("a", "b")),
        ("a{1,2},b", ("a{1,2}", "b")),
        ("[,x],(a,b)", ("[,x]", "(a,b)")),
        (r"a\,b,c", (r"a\,b", "c")),
    ],
)
def test_lists_split_outside_brackets(text: str, items: tuple[str, ...]) -> None:
    assert split_list([text]) == items


def test_an_open_bracket_is_a_character() -> None:
    assert split_list(["(a,b"]) == ("(a", "b")
