"""What stands in README.md and docs/ runs: code blocks, commands, flags, files and links.

A block with a language is executed, page by page in one folder that holds a model and what pages
take as given. `<!-- needs a GPU -->`, `<!-- run by .ci/run -->` or
`<!-- run by pytest -m torch -->`
above a block says why it is not.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import halve
from halve.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
DEMO = Path(halve.__file__).parent / "data" / "demo"
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "examples" / "README.md"])
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>.*?) -->\n+)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
MARKS = ("needs a GPU", "run by .ci/run", "run by pytest -m torch")
# What is shown, not run.
SHOWN = ("", "text", "mermaid", "json")
# What a page may use without making it, as its reader has it.
NAMES = {"array": np.linspace(-1, 1, 16, dtype=np.float32)}
# Seconds of measurement that a page does not need.
QUICK = {"bench": ["--rounds", "2", "--round-time", "0.01"]}


class Block(NamedTuple):
    page: Path
    kind: str
    text: str
    mark: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(page, found["kind"], found["text"], found["mark"] or "")
        for found in BLOCK.finditer(text)
    ]


def commands(text: str) -> list[list[str]]:
    """The commands of a shell block, without comments; lines that end in a backslash go on."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages take as given: a model, samples, and what earlier steps made of them."""
    folder = tmp_path_factory.mktemp("given")
    shutil.copy(DEMO / "model.onnx", folder / "model.onnx")
    shutil.copytree(DEMO, folder / "samples", ignore=shutil.ignore_patterns("model*", "labels*"))
    keep = halve.ConvertOptions(keep_io_types=True)
    halve.convert(folder / "model.onnx", folder / "model_fp16.onnx", options=keep)
    found = halve.auto(folder / "model.onnx", folder / "mixed.onnx", folder / "samples")
    found.search.plan.save(folder / "plan.json")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current folder."""
    own = tmp_path / "reader"
    shutil.copytree(made, own)
    monkeypatch.chdir(own)
    return own


# Equal commands of several pages run once a session.
_DONE: set[str] = set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("folder")
def test_blocks_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = dict(NAMES)
    for block in blocks(page):
        assert block.kind in ("sh", "python", *SHOWN), f"{page.name}: a block of {block.kind}"
        assert block.mark in ("", *MARKS), f"{page.name}: marked {block.mark!r}"
        if block.mark or block.kind in SHOWN:
            continue
        if block.kind == "python":
            exec(compile(block.text, page.name, "exec"), names)
        else:
            run_commands(block, capsys)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("folder")
def test_blocks_with_torch_run(page: Path) -> None:
    names: dict[str, object] = dict(NAMES)
    for block in blocks(page):
        if block.mark == "run by pytest -m torch":
            exec(compile(block.text, page.name, "exec"), names)


def run_commands(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(block.text):
        line = shlex.join(words)
        assert words[0] == "halve", f"{block.page.name}: {line!r} is not run by any test"
        if line in _DONE:
            continue
        _DONE.add(line)
        status = main([*words[1:], *QUICK.get(words[1], [])])
        assert status == 0, f"{block.page.name}: {line}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_marked_is_so(page: Path) -> None:
    """What .ci/run runs it finds by its end, in a line of its own."""
    script = (ROOT / ".ci" / "run").read_text("utf-8") if (ROOT / ".ci").is_dir() else ""
    for block in blocks(page):
        if block.mark == "run by .ci/run" and script:
            end = block.text.strip().rpartition("&& ")[2]
            assert re.search(rf"run_readme_command '?{re.escape(end)}'?", script), end


def inline(page: Path) -> Iterator[str]:
    text = BLOCK.sub("", page.read_text("utf-8"))
    for span in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", text):
        yield " ".join(span.replace("\\|", "|").split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    """Every `halve COMMAND --flag` has that flag, and every `python FILE` that file."""
    for span in inline(page):
        words = span.split()
        if words[:1] == ["halve"] and len(words) > 1 and re.fullmatch(r"[a-z][a-z-]*", words[1]):
            assert words[1] in COMMANDS, f"{page.name}: {span}"
            flags = [word.partition("=")[0] for word in words[2:] if word.startswith("--")]
            known = flags_of(words[1]) | {"--help"}
            unknown = [f for f in flags if re.match(r"--[a-z-]+", f)[0] not in known]  # type: ignore[index]
            assert not unknown, f"{page.name}: {span}"
        elif words[:1] == ["python"] and len(words) > 1 and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), f"{page.name}: {span}"


def flags_of(command: str) -> set[str]:
    parser = importlib.import_module(COMMANDS[command].module).make_parser()
    return {flag for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not re.match(r"https?://", target):
            path = page.parent / target.partition("#")[0]
            assert path.exists(), f"{page.name} links to {target}"


def test_the_reference_is_what_the_code_says() -> None:
    with contextlib.ExitStack() as stack:
        sys.path.insert(0, str(ROOT / "docs"))
        stack.callback(sys.path.remove, str(ROOT / "docs"))
        make_api = importlib.import_module("make_api")
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert page == make_api.make_page(), "run python docs/make_api.py"
    for name in halve.__all__:
        assert name.startswith("__") or f"\n### halve.{name}\n" in page


def test_the_demo_prints_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    found = capsys.readouterr().out.strip()
    shown = next(b.text for b in blocks(ROOT / "README.md") if b.text.startswith("handwritten"))
    assert found == shown.strip()
