"""What stands in README.md and docs/ runs: code blocks, commands, flags, files and links.

A block with a language is executed, page by page in one folder that holds a model and what pages
take as given; so are the commands in the text that name their files. A block of `console` has what
its commands print. `<!-- needs a GPU -->`, `<!-- run by .ci/run -->`, `<!-- run by hand -->` (for
benchmarks) or `<!-- run by pytest -m torch -->` above a block says why it is not.
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
OTHERS = [ROOT / name for name in ("README.md", "examples/README.md", "benchmarks/README.md")]
PAGES = sorted([*OTHERS, *ROOT.glob("docs/*.md")])
# Pages that begin in an empty folder, and make a model themselves.
FROM_NOTHING = {"tutorial.md"}
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>.*?) -->\n+)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
MARKS = ("needs a GPU", "run by .ci/run", "run by hand", "run by pytest -m torch")
# What is shown, not run.
SHOWN = ("", "text", "mermaid", "json")
PROGRAM = re.compile(r"^(?:\$ )?(?:halve|python3?|pip|pytest|apt-get) ", re.M)
# What commands in the text call their files; those that need a GPU are not run.
STANDS_FOR = {
    "IN": "model.onnx",
    "A": "model.onnx",
    "B": "mixed.onnx",
    "OUT": "out.onnx",
    "D": "samples",
    "W": "work",
    "W/plan.json": "work/plan.json",
    "@W/plan.json": "@work/plan.json",
    "PLAN.json": "plan.json",
    "F.json": "f.json",
}
GPU = {"--device", "CUDAExecutionProvider"}
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


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)


def commands(text: str) -> list[str]:
    """The commands of a shell block; lines that end in a backslash go on."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if shlex.split(line, comments=True)]


def steps(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it prints."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.M)
    return list(zip(parts[1::2], parts[2::2], strict=True))


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
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder, which is the current one: a copy of what is given, or empty."""
    own = tmp_path / "reader"
    if request.getfixturevalue("page").name in FROM_NOTHING:
        own.mkdir()
    else:
        shutil.copytree(request.getfixturevalue("made"), own)
    monkeypatch.chdir(own)
    return own


@EACH_PAGE
@pytest.mark.usefixtures("folder")
def test_blocks_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = dict(NAMES)
    for block in blocks(page):
        if block.mark or block.kind in SHOWN:
            continue
        if block.kind == "python":
            exec(compile(block.text, name_of(page), "exec"), names)
        elif block.kind == "console":
            run_console(block, capsys)
        else:
            for line in commands(block.text):
                run_once(page, line, capsys)


@EACH_PAGE
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in ("sh", "python", "console", *SHOWN), f"a block of {block.kind}"
        assert block.mark in ("", *MARKS), f"marked {block.mark!r}"
        assert block.mark != "run by hand" or "benchmarks/" in block.text
        if block.kind in SHOWN:
            assert not PROGRAM.search(block.text), f"a command that is only shown: {block.text}"
    plain = BLOCK.sub("", page.read_text("utf-8"))
    assert not re.search(r"\n\n    \S", plain), "an indented block, which nothing runs"


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@EACH_PAGE
@pytest.mark.usefixtures("folder")
def test_blocks_with_torch_run(page: Path) -> None:
    names: dict[str, object] = dict(NAMES)
    for block in blocks(page):
        if block.mark == "run by pytest -m torch":
            exec(compile(block.text, name_of(page), "exec"), names)


# Equal commands of several pages run once a session.
_DONE: set[str] = set()


def run_once(page: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    if line not in _DONE:
        _DONE.add(line)
        run_command(page, line, capsys)


def run_command(
    page: Path,
    line: str,
    capsys: pytest.CaptureFixture[str],
    *,
    statuses: tuple[int, ...] = (0,),
) -> str:
    """What a command prints."""
    words = shlex.split(line, comments=True)
    assert words[0] == "halve", f"{name_of(page)}: {line!r} is not run by any test"
    status = main([*words[1:], *QUICK.get(words[1], [])])
    found = capsys.readouterr()
    assert status in statuses, f"{name_of(page)}: {line}: {found.err or found.out}"
    return found.out


def run_console(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    for line, shown in steps(block.text):
        capsys.readouterr()
        command, _, sought = line.partition(" | grep ")
        found = run_command(block.page, command, capsys, statuses=(0, 2) if sought else (0,))
        found = "\n".join(text for text in found.splitlines() if sought in text)
        (words, numbers), (wanted, values) = said(found), said(shown)
        assert words == wanted, line
        # Other processors round otherwise; small counts are the same on all.
        assert numbers == pytest.approx(values, rel=0.05), line
        assert [n for n in numbers if is_count(n)] == [n for n in values if is_count(n)], line


def said(text: str) -> tuple[str, list[float]]:
    """A command's output without its numbers, and those but for times."""
    text = re.sub(r"\d+\.\d+ s\b", "# s", text.strip())
    number = r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*[a-z])"
    found = [float(value.replace(",", "")) for value in re.findall(number, text)]
    return re.sub(r" *#", " #", re.sub(number, "#", text)), found


def is_count(number: float) -> bool:
    return number.is_integer() and number < 100


@EACH_PAGE
@pytest.mark.usefixtures("folder")
def test_commands_in_the_text_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that name a model to work on, in the order of the page; `[` marks a synopsis."""
    for span in inline(page):
        words = span.split()
        complete = {"IN", "A", "model.onnx"} & {*words} and not any("[" in word for word in words)
        if words[0] == "halve" and complete and not GPU & {*words}:
            run_once(page, shlex.join(STANDS_FOR.get(word, word) for word in words), capsys)


@EACH_PAGE
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


@EACH_PAGE
def test_commands_in_the_text_exist(page: Path) -> None:
    """Every `halve COMMAND --flag` has that flag, and every `python FILE` that file."""
    for span in inline(page):
        words = span.split()
        if words[:1] == ["halve"] and len(words) > 1 and re.fullmatch(r"[a-z][a-z-]*", words[1]):
            assert words[1] in COMMANDS, f"{name_of(page)}: {span}"
            flags = [word.partition("=")[0] for word in words[2:] if word.startswith("--")]
            known = flags_of(words[1]) | {"--help"}
            unknown = [f for f in flags if re.match(r"--[a-z0-9-]+", f)[0] not in known]  # type: ignore[index]
            assert not unknown, f"{name_of(page)}: {span}"
        elif words[:1] == ["python"] and len(words) > 1 and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), f"{name_of(page)}: {span}"


def flags_of(command: str) -> set[str]:
    parser = importlib.import_module(COMMANDS[command].module).make_parser()
    return {flag for action in parser._actions for flag in action.option_strings}


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not re.match(r"https?://", target):
            path = page.parent / target.partition("#")[0]
            assert path.exists(), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("name", ["api", "cli"])
def test_the_reference_is_what_the_code_says(name: str) -> None:
    with contextlib.ExitStack() as stack:
        sys.path.insert(0, str(ROOT / "docs"))
        stack.callback(sys.path.remove, str(ROOT / "docs"))
        maker = importlib.import_module(f"make_{name}")
    page = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    assert page == (maker.make_page() if name == "api" else maker.make_page(page)), (
        f"run python docs/make_{name}.py"
    )


def test_the_reference_has_every_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    for name in halve.__all__:
        assert name.startswith("__") or f"\n### halve.{name}\n" in page


def cells(text: str, start: str) -> list[list[str]]:
    """The cells of every row of a table that begins so."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_against_others_has_the_figures_of_the_benchmarks() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    measured = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    (half, *peers, _, auto) = cells(measured, "right, of 17")[0][2:]
    assert cells(readme, "exports of PyTorch")[0][1:] == [auto, *peers, half]

    names = cells(measured, "| halve any |")[0]
    both = cells(measured, "right, of 10")
    for column, name in enumerate(
        ("halve cuda", "onnxconverter-common", "ort-transformers", "ModelOpt AutoCast"), 1
    ):
        shown = cells(readme, "trained models")[0][column].split(", ")
        assert shown == [row[names.index(name)] for row in both], name

    for column, name in enumerate(("halve |", "onnxconverter-common |", "ort-transformers |"), 1):
        shown = cells(readme, "a model of 2.5 GB")[0][column].split(", ")
        # The first table of that benchmark is that of this model.
        rows = cells(measured[measured.index("| 2.5 GB external") :], name)
        assert shown == rows[0][1:3], name
