"""Sudden death: a process is killed at every step and at random instants of writing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from write_support import check_halved, halved, make_model, names_in, save

from halve.options import ConvertOptions
from halve.source import open_model
from halve.write import write_model

# Reads "source target shard rounds step" lines; answers with the process that does it, then with
# its exit status. With step n that process kills itself before its n-th change to a folder.
_SERVER = """
import os, signal, sys
from pathlib import Path
from write_support import halved
from halve.options import ConvertOptions
from halve.source import open_model
from halve.write import write_model

EVENTS = ("open", "os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")

def die_at(step):
    left = step
    def hook(event, args):
        nonlocal left
        if event in EVENTS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def work(source, target, shard, rounds, step):
    model = open_model(source)
    rewritten = halved(model)
    options = ConvertOptions(
        external_data="always", shard_size_bytes=int(shard) or None, threads=1
    )
    if int(step):
        die_at(int(step))
    for _ in range(int(rounds)):
        write_model(rewritten, model, Path(target), options=options)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        work(*line.split())
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


class Writers:
    """Starts processes that write, from one that has imported everything."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self, source: Path, target: Path, *, shard: int = 0, rounds: int = 1, step: int = 0
    ) -> int:
        assert self._server.stdin is not None
        self._server.stdin.write(f"{source} {target} {shard} {rounds} {step}\n")
        self._server.stdin.flush()
        return self._answer()

    def status(self) -> int:
        """The wait status of the process that was started last, when it has ended."""
        return self._answer()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())

    def close(self) -> None:
        self._server.communicate()


@pytest.fixture
def writers() -> Iterator[Writers]:
    """A server of writing processes."""
    server = Writers()
    yield server
    server.close()


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A model with external data."""
    (tmp_path / "in").mkdir()
    save(make_model(), tmp_path / "in" / "first.onnx", external=True)
    return tmp_path / "in" / "first.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for many outputs: in memory where that can be, since a disk takes its time to flush
    each of them.
    """
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else tmp_path
    path = Path(tempfile.mkdtemp(dir=parent))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def models(first: Path) -> tuple[Path, Path]:
    """That, and another one that can be told from it."""
    model = make_model(2.0)
    model.metadata_props.add(key="second", value="yes")
    save(model, first.with_name("second.onnx"), external=True)
    return first, first.with_name("second.onnx")


def write(source: Path, target: Path) -> list[str]:
    model = open_model(source)
    options = ConvertOptions(external_data="always")
    summary = write_model(halved(model), model, target, options=options)
    return [path.name for path in summary.files]


def check_state(target: Path, scales: set[float]) -> None:
    """That the target is absent or whole, and at most one temporary folder remains."""
    assert sum(name.startswith(".halve-tmp-") for name in names_in(target.parent)) <= 1
    if not target.exists():
        assert 0.0 in scales
        return
    scale = 2.0 if _is_second(target) else 1.0
    assert scale in scales
    check_halved(target, scale)


def _is_second(target: Path) -> bool:
    model = onnx.load(target, load_external_data=False)
    return any(p.key == "second" for p in model.metadata_props)


@pytest.mark.parametrize("shard", [0, 300_000])
@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_before_every_step(
    writers: Writers, models: tuple[Path, Path], folder: Path, overwrite: bool, shard: int
) -> None:
    first, second = models
    seen: set[float] = set()
    for step in range(1, 1000):
        target = folder / f"step{step}" / "m.onnx"
        target.parent.mkdir()
        if overwrite:
            write(first, target)
        writers.start(second, target, shard=shard, step=step)
        status = writers.status()
        check_state(target, {1.0 if overwrite else 0.0, 2.0})
        seen.add(2.0 if target.exists() and _is_second(target) else 1.0)
        files = write(first, target)
        assert names_in(target.parent) == sorted(files)
        check_halved(target)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert 10 < step < 999
    assert seen == {1.0, 2.0}


@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_at_random_instants(
    writers: Writers, models: tuple[Path, Path], tmp_path: Path, overwrite: bool
) -> None:
    first, second = models
    chance = random.Random(overwrite)
    killed = 0
    for number in range(15):
        target = tmp_path / f"round{number}" / "m.onnx"
        target.parent.mkdir()
        if overwrite:
            write(first, target)
        child = writers.start(second, target, rounds=1000)
        time.sleep(chance.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        killed += writers.status() != 0
        check_state(target, {1.0 if overwrite else 0.0, 2.0})
        files = write(first, target)
        assert names_in(target.parent) == sorted(files)
    assert killed > 0


def test_killed_again_and_again_in_one_folder(
    writers: Writers, first: Path, tmp_path: Path
) -> None:
    chance = random.Random(5)
    target = tmp_path / "m.onnx"
    for _ in range(10):
        child = writers.start(first, target, rounds=1000)
        time.sleep(chance.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        writers.status()
        check_state(target, {0.0, 1.0})
    files = write(first, target)
    assert names_in(tmp_path) == sorted([*files, "in"])


def test_two_processes_with_one_target(first: Path, tmp_path: Path) -> None:
    servers = [Writers(), Writers()]
    target = tmp_path / "m.onnx"
    for server in servers:
        server.start(first, target, rounds=10)
    for server in servers:
        assert server.status() == 0
        server.close()
    check_halved(target)
    used = {
        entry.value
        for tensor in onnx.load(target, load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert names_in(tmp_path) == sorted({"in", "m.onnx", *used})
