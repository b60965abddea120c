"""Makes the README's pictures from one real search: `python docs/make_pictures.py MODEL SAMPLES`.

    python docs/make_pictures.py $HALVE_MODELS/silero_vad_v3/model.onnx $HALVE_MODELS/silero_vad_v3

`pictures/search.svg` is the bar at moments of the search and the summary after it, as a terminal
shows them; `pictures/report.png` is the head of the page that `--report` writes, as headless
Chromium draws it. The model goes by the name of its folder. Needs Chromium and Pillow.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

import halve
from halve.report.bar import bar_lines
from halve.report.html import write_page
from halve.report.search_record import AutoReport
from halve.report.search_text import auto_summary_lines

FOLDER = Path(__file__).with_name("pictures")
COLUMNS = 116
# Shares of the trials after which the bar is shown.
MOMENTS = (0.1, 0.2, 0.35, 0.7)
PAGE_SIZE = (1180, 1240)
COLOURS = 64
# An SVG of rich without its web fonts, which an image on a page may not load.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" \
xmlns="http://www.w3.org/2000/svg"><style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; \
font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style><defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}<g transform="translate({terminal_x}, {terminal_y})" \
clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}<g class="{unique_id}-matrix">
{matrix}</g></g></svg>
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("model", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--browser", default=shutil.which("chromium") or "chromium")
    args = parser.parse_args()
    samples = halve.read_samples(args.samples)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        name = args.model.resolve().parent.name
        shutil.copyfile(args.model, Path(folder) / f"{name}.onnx")
        os.chdir(folder)
        events, report = search(Path(f"{name}.onnx"), samples)
        draw_terminal(FOLDER / "search.svg", name, events, report)
        write_page(Path("report.html"), report)
        draw_page(args.browser, FOLDER / "report.png")


def search(
    model: Path, samples: Sequence[halve.Sample]
) -> tuple[list[halve.SearchEvent], AutoReport]:
    events: list[halve.SearchEvent] = []
    options = halve.SearchOptions(
        convert=halve.ConvertOptions(keep_io_types=True), progress=events.append
    )
    target = model.with_name(f"{model.stem}_mixed.onnx")
    found = halve.auto(model, target, samples, options=options)
    versions = {name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime")}
    report = AutoReport.of(
        found.search,
        found.convert,
        halve_version=halve.__version__,
        source=model,
        borders=found.borders,
        versions=versions,
    )
    return events, report


def draw_terminal(
    path: Path, name: str, events: Sequence[halve.SearchEvent], report: AutoReport
) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    command = f"$ halve auto {name}.onnx {name}_mixed.onnx --sample-dir samples --keep-io-types"
    console.print(Text(command, style="bold"))
    for moment in (*(events[int(share * len(events))] for share in MOMENTS), events[-1]):
        console.print(Text(""))
        for line in bar_lines(moment, COLUMNS)[:3]:  # without the legend, which the last has
            console.print(line)
    console.print(bar_lines(events[-1], COLUMNS)[3])
    console.print(Text(""))
    for line in auto_summary_lines(report):
        style = "bold green" if line.startswith("verdict") else ""
        console.print(Text(line, style=style))
    path.write_text(
        console.export_svg(title="halve auto", theme=MONOKAI, code_format=SVG, unique_id="halve"),
        encoding="utf-8",
    )


def draw_page(browser: str, path: Path) -> None:
    width, height = PAGE_SIZE
    subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--window-size={width},{height}",
            "--screenshot=page.png",
            Path("report.html").resolve().as_uri(),
        ],
        check=True,
        capture_output=True,
    )
    # Few colours: a drawing needs no more, and the file is a quarter of the size.
    Image.open("page.png").convert("RGB").quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main()
