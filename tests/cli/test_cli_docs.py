"""docs/cli.md has every command's example, flags and statuses (its tables: test_documents.py)."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from halve.cli.main import COMMANDS
from halve.cli.parser import Parser

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
COMMON = ("--quiet", "--json", "--debug")


def parser_of(command: str) -> Parser:
    parser: Parser = importlib.import_module(COMMANDS[command].module).make_parser()
    return parser


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_is_that_of_the_help(command: str) -> None:
    epilog = parser_of(command).epilog
    assert epilog is not None
    example = epilog.splitlines()[-1].strip()
    assert f"\n{example}\n" in DOCUMENT.read_text("utf-8")


def test_common_flags_and_statuses_are_documented() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert all(f"| `{flag}` |" in text for flag in COMMON)
    assert all(f"| {status} |" in text for status in (0, 1, 2, 130))
