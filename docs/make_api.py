"""Writes docs/api.md from the signatures and docstrings of the package: `python docs/make_api.py`.

What is public is `halve.__all__`. A function has its signature and docstring; a class its
docstring, its fields with what stands below each of them in the source, and its methods.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import halve

PAGE = Path(__file__).with_name("api.md")
HEAD = """# The library

`import halve` is cheap; what needs numpy, onnx or ONNX Runtime is loaded by its first use. Nothing
is printed, and no logging is configured. Functions may be called from several threads. Everything
that goes wrong on purpose is a `halve.HalveError`. Written by `python docs/make_api.py` from the
docstrings.

The drop-in modules have the signatures of what they replace: see [migrating.md](migrating.md).
"""
# In this order; what is none of them is a function.
SECTIONS = ("Functions", "Options", "Records", "Errors")


def main() -> None:
    PAGE.write_text(make_page(), encoding="utf-8")


def make_page() -> str:
    """The page as text."""
    parts: dict[str, list[str]] = {section: [] for section in SECTIONS}
    for name in sorted(halve.__all__):
        value = getattr(halve, name)
        if not name.startswith("__"):
            parts[section_of(value)].append("\n".join(entry(name, value)))
    body = [f"## {section}\n\n" + "\n\n".join(parts[section]) for section in SECTIONS]
    return "\n".join([HEAD, "\n\n".join(body), ""])


def section_of(value: Any) -> str:
    if not inspect.isclass(value):
        return "Functions"
    if issubclass(value, Exception):
        return "Errors"
    return "Options" if value.__name__.endswith("Options") else "Records"


def entry(name: str, value: Any) -> Iterator[str]:
    """A heading, the docstring, and what belongs to it."""
    yield f"### halve.{name}\n"
    if not inspect.isclass(value):
        yield f"```text\n{signature(name, value)}\n```\n"
    elif issubclass(value, Exception):
        bases = ", ".join(f"`{base.__name__}`" for base in value.__bases__)
        yield f"A {bases}.\n"
    yield prose(inspect.getdoc(value) or "")
    if dataclasses.is_dataclass(value) and isinstance(value, type):
        yield from fields(value)
    if inspect.isclass(value) and not issubclass(value, Exception | enum.Enum):
        yield from members(value)


def signature(name: str, function: Callable[..., Any]) -> str:
    """A parameter a line, as it stands in the source."""
    found = inspect.signature(function)
    lines = [str(parameter) for parameter in found.parameters.values()]
    kinds = [parameter.kind for parameter in found.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds:
        lines.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    body = "".join(f"    {line},\n" for line in lines)
    result = found.return_annotation
    text = f"{name}(\n{body}) -> {result}"
    return text.replace("'", "").replace("_Path", "str | os.PathLike[str]")


def fields(cls: type) -> Iterator[str]:
    """A line a field: its type, its default, and its own docstring."""
    told = field_docs(cls)
    yield "\n**Fields**\n"
    for field in dataclasses.fields(cls):
        line = f"- `{field.name}: {field.type}{default_of(field)}`"
        text = told.get(field.name, "")
        yield line + (f"  \n  {prose(text).replace(chr(10), chr(10) + '  ')}" if text else "")


def default_of(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f" = {field.default!r}"
    factory = field.default_factory
    return "" if factory is dataclasses.MISSING else f" = {factory.__name__}()"


def field_docs(cls: type) -> dict[str, str]:
    """The texts that stand below fields in the source."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for item, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            value = after.value if isinstance(after, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[item.target.id] = inspect.cleandoc(value.value)
    return found


def members(cls: type) -> Iterator[str]:
    """Public methods and properties of its own."""
    heading = "\n**Methods and properties**\n"
    for name, member in vars(cls).items():
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        shown = name if isinstance(member, property) else f"{name}{inspect.signature(function)}"
        text = prose(inspect.getdoc(function) or "").replace("\n", "\n  ")
        if heading:
            yield heading
            heading = ""
        yield f"- `{shown}`  \n  {text}"


def prose(text: str) -> str:
    """A docstring as Markdown: its lists of arguments and errors become lists."""
    text = text.replace("*", r"\*")
    text = re.sub(r"^Returns:\n((?:    .*\n?)+)", _returns, text, flags=re.M)
    text = re.sub(r"^(Args|Raises):$", r"**\1**\n", text, flags=re.M)
    text = re.sub(r"^    (\S[^:\n]*): ", r"- `\1`: ", text, flags=re.M)
    return re.sub(r"^        (\S)", r"  \1", text, flags=re.M)


def _returns(found: re.Match[str]) -> str:
    return "**Returns**\n\n" + textwrap.dedent(found[1])


if __name__ == "__main__":
    main()
