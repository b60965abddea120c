"""docs/cli.md has a row for every flag of every command, and no other."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from halve.cli.main import COMMANDS
from halve.cli.parser import Parser

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
COMMON = ("--quiet", "--json", "--debug")


def rows_of(parser: Parser) -> list[str]:
    """The table rows of a parser's own flags, as the document must have them."""
    rows = []
    for action in parser._actions:
        flags = [flag for flag in action.option_strings if flag.startswith("--")]
        if flags and flags[0] not in ("--help", *COMMON):
            metavar = str(action.metavar or "").replace("|", "\\|")
            space = " " if metavar and not metavar.startswith("[=") else ""
            rows.append(f"| `{flags[0]}{space}{metavar}` | {action.help} |")
    return rows


def documented_rows(command: str) -> list[str]:
    text = DOCUMENT.read_text("utf-8")
    (section,) = re.findall(rf"^## halve {command}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return [line for line in section.splitlines() if line.startswith("| `--")]


def parser_of(command: str) -> Parser:
    parser: Parser = importlib.import_module(COMMANDS[command].module).make_parser()
    return parser


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_has_its_row(command: str) -> None:
    assert documented_rows(command) == rows_of(parser_of(command))


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
