"""Small files: whole or not at all, and nothing left behind by processes that died."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from halve.errors import OutputError
from halve.files import remove_leftovers, write_text

# Writes, and dies or waits before the rename.
CODE = """
import os, signal, sys
from pathlib import Path
from halve import files
class Stuck(type(Path())):
    def replace(self, target):
        print("ready", flush=True)
        {act}
files.Path = Stuck
files.write_text(Path(sys.argv[1]), "new", what="report")
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 100 + ".json")
    path.write_text("old")
    write_text(path, "ä\n", what="report")
    assert path.read_text("utf-8") == "ä\n"
    assert names(tmp_path) == [path.name]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "r.json").mkdir()
    with pytest.raises(OutputError, match=r"report .*r\.json cannot be written"):
        write_text(tmp_path / "r.json", "x", what="report")
    with pytest.raises(OutputError, match="No such file"):
        write_text(tmp_path / "absent" / "r.json", "x", what="report")
    assert names(tmp_path) == ["r.json"]


def test_a_killed_process_leaves_one_file_that_the_next_run_removes(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    code = CODE.format(act="os.kill(os.getpid(), signal.SIGKILL)")
    done = subprocess.run([sys.executable, "-c", code, path], stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert sum(name.startswith(".halve-tmp-") for name in names(tmp_path)) == 1
    write_text(tmp_path / "other.json", "x", what="report")
    assert names(tmp_path) == ["other.json", "r.json"]


def test_a_file_that_is_being_written_stays(tmp_path: Path) -> None:
    code = CODE.format(act="sys.stdin.read(); os.replace(self, target)")
    path = tmp_path / "r.json"
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == b"ready\n"
        remove_leftovers(tmp_path)
        writer.stdin.close()
        assert writer.wait() == 0
    assert path.read_text() == "new"
    assert names(tmp_path) == ["r.json"]


def test_only_own_leftovers_go(tmp_path: Path) -> None:
    keep = [".halve-tmp-folder", ".halve-tmp-link", "halve-tmp-x", "x.halve-tmp-y"]
    (tmp_path / keep[0]).mkdir()
    (tmp_path / keep[1]).symlink_to("nowhere")
    for name in (*keep[2:], ".halve-tmp-1-r.json"):
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(keep)
    remove_leftovers(tmp_path / "absent")
