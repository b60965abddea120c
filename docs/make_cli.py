"""Writes the tables of flags of docs/cli.md from the commands' parsers: `python docs/make_cli.py`.

What stands around the tables is written by hand. A section is `## halve COMMAND`, and its table is
the lines that begin with a flag.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from halve.cli.main import COMMANDS
from halve.cli.parser import Parser

PAGE = Path(__file__).with_name("cli.md")
# What every command has is told once.
COMMON = ("--quiet", "--json", "--debug")
HEAD = "| flag | meaning |\n|---|---|\n"


def main() -> None:
    PAGE.write_text(make_page(PAGE.read_text("utf-8")), encoding="utf-8")


def make_page(page: str) -> str:
    """The page with the tables that its commands have now."""
    for command in COMMANDS:
        page = re.sub(
            rf"^## halve {command}\n.*?(?=^## |\Z)",
            lambda found, command=command: with_table(found[0], command),
            page,
            flags=re.M | re.S,
        )
    return page


def with_table(section: str, command: str) -> str:
    """A command's section with its table, at the end where it has none yet."""
    rows = "".join(rows_of(parser_of(command)))
    plain = re.sub(r"(?:^\| `--.*\n)+", "", section, count=1, flags=re.M)
    if not rows:
        return plain.replace(HEAD, "")
    if HEAD not in plain:
        plain = f"{plain.rstrip()}\n\n{HEAD}\n"
    return plain.replace(HEAD, HEAD + rows, 1)


def parser_of(command: str) -> Parser:
    parser: Parser = importlib.import_module(COMMANDS[command].module).make_parser()
    return parser


def rows_of(parser: Parser) -> list[str]:
    """A row a flag of the command's own."""
    rows = []
    for action in parser._actions:
        flags = [flag for flag in action.option_strings if flag.startswith("--")]
        if flags and flags[0] not in ("--help", *COMMON):
            metavar = escaped(str(action.metavar or ""))
            space = " " if metavar and not metavar.startswith("[=") else ""
            rows.append(f"| `{flags[0]}{space}{metavar}` | {escaped(action.help or '')} |\n")
    return rows


def escaped(text: str) -> str:
    """Text in a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
