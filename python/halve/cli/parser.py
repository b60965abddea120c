"""What the commands' parsers share: spelling of flags, wrong usage, common flags, lists."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from halve.errors import OptionError

__all__ = ["Parser", "normalise", "split_list"]

# Splits at commas, but not at those inside a regular expression's braces, brackets or parentheses,
# nor at escaped ones.
_ITEM = re.compile(r"(?:\\.|\{[^{}]*\}|\[[^\]]*\]|\([^()]*\)|[^,\\])+")


class Parser(argparse.ArgumentParser):
    """A command's parser: wrong usage raises OptionError, and every command has three flags."""

    def __init__(self, command: str, *, description: str, usage: str, example: str) -> None:
        """A parser for `halve COMMAND`, with an example below its help."""
        super().__init__(
            prog=f"halve {command}",
            usage=f"halve {command} {usage}".rstrip() + " [options]",
            description=description,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            # A flag that was not given is absent, so that defaults stay where they are defined.
            argument_default=argparse.SUPPRESS,
        )
        common = self.add_argument_group("output")
        for flag, text in (
            ("--quiet", "no progress, no summary, no warnings; errors only"),
            ("--json", "print the result as JSON on stdout"),
            ("--debug", "show the trace of an error"),
        ):
            common.add_argument(flag, action="store_true", default=False, help=text)

    def error(self, message: str) -> NoReturn:
        """Raises OptionError in place of argparse's own exit, whose status would mean a verdict."""
        raise OptionError(f"{message}; see {self.prog} --help")

    def parse(self, args: Sequence[str]) -> argparse.Namespace:
        """Parses with flags and positionals in any order, `_` and `-` alike in flags."""
        return self.parse_intermixed_args(normalise(args))


def normalise(args: Sequence[str]) -> list[str]:
    """Spells flags with `-`, and a bare `--keep-io-types` as `--keep-io-types=`.

    The latter because that flag's value is optional and must not swallow the argument after it.
    """
    end = list(args).index("--") if "--" in args else len(args)
    return [_flag(arg) for arg in args[:end]] + list(args[end:])


def _flag(arg: str) -> str:
    if not arg.startswith("--"):
        return arg
    name, equals, value = arg.partition("=")
    name = name.replace("_", "-")
    bare = name == "--keep-io-types" and not equals
    return f"{name}=" if bare else name + equals + value


def split_list(values: Sequence[str]) -> tuple[str, ...]:
    """The items of comma-separated lists; commas inside (), [], {} or after a backslash stay."""
    return tuple(item for value in values for item in _ITEM.findall(value))
