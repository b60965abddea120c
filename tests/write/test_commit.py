"""All or nothing: what the target's folder holds after success and after errors."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from write_support import check_halved, contents, halved, make_model, names_in, save

from halve.errors import DataError, HalveError, OutputError
from halve.options import ConvertOptions, Progress
from halve.types import SourceModel
from halve.write import copy_model, write_model
from halve.write.locks import try_lock, unlock
from halve.write.staging import Staging, clear_leftovers

EMBEDDED = ConvertOptions()
EXTERNAL = ConvertOptions(external_data="always")
SHARDS = ConvertOptions(shard_size_bytes=300_000)


@pytest.fixture
def source(tmp_path: Path) -> SourceModel:
    """A model in a folder of its own."""
    (tmp_path / "in").mkdir()
    return save(make_model(), tmp_path / "in" / "in.onnx", external=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the output."""
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users reach too."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Without root's right to do everything, where the test has it."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def write(source: SourceModel, target: Path, options: ConvertOptions = EXTERNAL) -> list[str]:
    summary = write_model(halved(source), source, target, options=options)
    return [path.name for path in summary.files]


def leftovers(folder: Path) -> list[str]:
    return [name for name in names_in(folder) if name.startswith(".halve-tmp-")]


# What a second run leaves.


@pytest.mark.parametrize("first", [EMBEDDED, EXTERNAL, SHARDS])
@pytest.mark.parametrize("second", [EMBEDDED, EXTERNAL, SHARDS])
def test_a_second_run_replaces_the_first(
    source: SourceModel, folder: Path, first: ConvertOptions, second: ConvertOptions
) -> None:
    write(source, folder / "m.onnx", first)
    files = write(source, folder / "m.onnx", second)
    assert names_in(folder) == sorted(files)
    check_halved(folder / "m.onnx")


def test_a_copy_replaces_a_model_and_its_data(source: SourceModel, folder: Path) -> None:
    made = write_model(halved(source), source, folder / "made.onnx", options=EMBEDDED)
    write(source, folder / "m.onnx", SHARDS)
    summary = copy_model(made, source, folder / "m.onnx")
    assert names_in(folder) == ["m.onnx", "made.onnx"]
    assert (summary.files, summary.rows) == ((folder / "m.onnx",), made.rows)
    assert (folder / "m.onnx").read_bytes() == (folder / "made.onnx").read_bytes()


def test_a_copy_does_not_replace_the_source(source: SourceModel, folder: Path) -> None:
    made = write_model(halved(source), source, folder / "made.onnx", options=EMBEDDED)
    assert source.path is not None
    before = source.path.read_bytes()
    with pytest.raises(OutputError, match="the source is never overwritten"):
        copy_model(made, source, source.path)
    assert source.path.read_bytes() == before


def test_live_data_is_never_overwritten(source: SourceModel, folder: Path) -> None:
    assert write(source, folder / "m.onnx") == ["m.onnx", "m.onnx.data"]
    assert write(source, folder / "m.onnx") == ["m.onnx", "m.onnx.2.data"]
    assert write(source, folder / "m.onnx") == ["m.onnx", "m.onnx.data"]


def test_a_strangers_file_with_our_name_stays(source: SourceModel, folder: Path) -> None:
    (folder / "m.onnx.data").write_text("not ours")
    (folder / "m.onnx").write_text("not a model")
    assert write(source, folder / "m.onnx") == ["m.onnx", "m.onnx.2.data"]
    assert (folder / "m.onnx.data").read_text() == "not ours"


def test_data_that_another_model_uses_stays(source: SourceModel, folder: Path) -> None:
    write(source, folder / "m.onnx")
    shutil.copy(folder / "m.onnx", folder / "copy.onnx")
    write(source, folder / "m.onnx")
    assert names_in(folder) == ["copy.onnx", "m.onnx", "m.onnx.2.data", "m.onnx.data"]
    check_halved(folder / "copy.onnx")


def test_data_stays_where_another_file_cannot_be_read(public: Path) -> None:
    source = save(make_model(), public / "in.onnx")
    (public / "out").mkdir()
    (public / "out").chmod(0o777)
    with ordinary_user():
        write(source, public / "out" / "m.onnx")
        (public / "out" / "secret.onnx").touch(mode=0)
        target = public / "out" / "m.onnx"
        summary = write_model(halved(source), source, target, options=EXTERNAL)
    assert "m.onnx.data" in names_in(public / "out")
    assert "data files of the replaced model stay" in summary.warnings[0]


def test_data_with_a_second_link_stays(source: SourceModel, folder: Path) -> None:
    write(source, folder / "m.onnx")
    (folder / "link").hardlink_to(folder / "m.onnx.data")
    write(source, folder / "m.onnx")
    assert "m.onnx.data" in names_in(folder)


def test_data_under_a_foreign_name_stays(source: SourceModel, folder: Path) -> None:
    save(make_model(), folder / "m.onnx", external=True)
    write(source, folder / "m.onnx")
    assert names_in(folder) == ["m.onnx", "m.onnx.data", "m.onnx_data"]


def test_a_target_behind_a_link(source: SourceModel, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link.onnx").symlink_to(folder / "m.onnx")
    assert write(source, tmp_path / "link.onnx") == ["m.onnx", "m.onnx.data"]
    assert (tmp_path / "link.onnx").is_symlink()
    check_halved(folder / "m.onnx")


def test_permissions_are_those_of_a_new_file(source: SourceModel, folder: Path) -> None:
    (folder / "plain").touch()
    files = write(source, folder / "m.onnx")
    modes = {stat.S_IMODE((folder / name).stat().st_mode) for name in [*files, "plain"]}
    assert len(modes) == 1


def test_a_folder_with_an_odd_name(source: SourceModel, tmp_path: Path) -> None:
    folder = tmp_path / "[x] *é"
    folder.mkdir()
    assert write(source, folder / "ü [1].onnx") == ["ü [1].onnx", "ü [1].onnx.data"]
    check_halved(folder / "ü [1].onnx")


def test_a_name_that_a_model_cannot_hold(source: SourceModel, folder: Path) -> None:
    target = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.onnx"))
    assert len(write(source, target, EMBEDDED)) == 1
    with pytest.raises(OutputError, match="not valid UTF-8"):
        write(source, target, EXTERNAL)
    assert len(names_in(folder)) == 1


# Errors leave everything as it was.


@contextlib.contextmanager
def unharmed(*folders: Path) -> Iterator[None]:
    before = [contents(folder) for folder in folders]
    yield
    assert [contents(folder) for folder in folders] == before
    for folder in folders:
        assert leftovers(folder) == []


def _to(name: str) -> Callable[[Path, Path], Path]:
    return lambda source, folder: source.parent / name


TARGETS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "itself": (_to("in.onnx"), "is the model of the source"),
    "its data": (_to("in.onnx_data"), "is a data file of the source"),
    "another spelling": (_to("../in/./in.onnx"), "is the model of the source"),
    "a folder": (lambda _, folder: folder, "is a directory"),
    "no folder": (lambda _, folder: folder / "none" / "m.onnx", "does not exist"),
    "below a file": (lambda source, _: source / "m.onnx", "cannot be written|not a folder"),
    "a device": (lambda *_: Path(os.devnull), "not a regular file"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_targets_that_are_refused(source: SourceModel, folder: Path, case: str) -> None:
    assert source.path is not None
    make, message = TARGETS[case]
    with unharmed(source.path.parent, folder), pytest.raises(OutputError, match=message):
        write(source, make(source.path, folder))


@pytest.mark.parametrize("which", ["in.onnx", "in.onnx_data"])
@pytest.mark.parametrize("hard", [False, True])
def test_links_to_the_source_are_refused(
    source: SourceModel, folder: Path, which: str, hard: bool
) -> None:
    assert source.path is not None
    link, origin = folder / "m.onnx", source.path.parent / which
    if hard:
        link.hardlink_to(origin)
    else:
        link.symlink_to(origin)
    with unharmed(source.path.parent, folder), pytest.raises(OutputError, match="of the source"):
        write(source, link)


def test_a_read_only_folder(public: Path) -> None:
    source = save(make_model(), public / "in.onnx")
    public.chmod(0o555)
    with unharmed(public), ordinary_user(), pytest.raises(OutputError, match="may not be written"):
        write(source, public / "m.onnx")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, BrokenPipeError, KeyboardInterrupt])
def test_a_callback_that_raises(
    source: SourceModel, folder: Path, overwrite: bool, error: type[BaseException]
) -> None:
    def progress(_step: Progress) -> None:
        raise error("enough")

    if overwrite:
        write(source, folder / "m.onnx")
    options = ConvertOptions(external_data="always", progress=progress)
    with unharmed(folder), pytest.raises(error, match="enough"):
        write(source, folder / "m.onnx", options)


def test_progress_ends_with_everything(source: SourceModel, folder: Path) -> None:
    steps: list[Progress] = []
    options = ConvertOptions(external_data="always", progress=steps.append)
    files = write(source, folder / "m.onnx", options)
    assert {step.stage for step in steps} == {"write"}
    assert steps[-1].done_bytes == steps[-1].total_bytes
    assert steps[-1].total_bytes == sum((folder / name).stat().st_size for name in files)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_source_that_shrank(source: SourceModel, folder: Path, overwrite: bool) -> None:
    assert source.path is not None
    if overwrite:
        write(source, folder / "m.onnx")
    os.truncate(source.path.parent / "in.onnx_data", 1000)
    with unharmed(folder), pytest.raises(DataError, match=r"in\.onnx_data: ends at byte 1000"):
        write(source, folder / "m.onnx")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("limit_bytes", [0, 100_000, 1_000_000])
def test_a_limit_on_file_sizes(
    source: SourceModel, folder: Path, overwrite: bool, limit_bytes: int
) -> None:
    if overwrite:
        write(source, folder / "m.onnx")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with unharmed(folder):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
        try:
            with pytest.raises(OutputError, match="File too large"):
                write(source, folder / "m.onnx")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _fails(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; skips where it cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or _fails(mount):
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("options", [EMBEDDED, EXTERNAL, SHARDS])
def test_a_full_disk(source: SourceModel, small_disk: Path, options: ConvertOptions) -> None:
    (small_disk / "m.onnx").write_text("old")
    with unharmed(small_disk), pytest.raises(OutputError, match=r"disk/m\.onnx.*No space left"):
        write(source, small_disk / "m.onnx", options)


def test_a_copy_that_a_disk_has_no_room_for(
    source: SourceModel, folder: Path, small_disk: Path
) -> None:
    made = write_model(halved(source), source, folder / "made.onnx", options=EMBEDDED)
    (small_disk / "m.onnx").write_text("old")
    with unharmed(small_disk), pytest.raises(OutputError, match=r"disk/m\.onnx.*No space left"):
        copy_model(made, source, small_disk / "m.onnx")


# Leftovers.


def test_leftovers_of_the_dead_are_removed(source: SourceModel, folder: Path) -> None:
    dead = folder / ".halve-tmp-0123"
    dead.mkdir()
    (dead / "data-0").write_text("half")
    files = write(source, folder / "m.onnx")
    assert names_in(folder) == sorted(files)


def test_those_of_the_living_stay(source: SourceModel, folder: Path) -> None:
    living = folder / ".halve-tmp-0123"
    living.mkdir()
    lock = try_lock(living)
    assert lock is not None
    write(source, folder / "m.onnx")
    assert living.is_dir()
    unlock(lock)
    clear_leftovers(folder)
    assert not living.exists()


def test_published_data_of_the_dead_is_removed_unless_it_is_used(
    source: SourceModel, folder: Path
) -> None:
    write(source, folder / "m.onnx")
    (folder / "m.onnx.2.data").write_text("published, never committed")
    (folder / "m.onnx.3.data").write_text("made by somebody else since")
    dead = folder / ".halve-tmp-0123"
    dead.mkdir()
    names = ["m.onnx.data", "m.onnx.2.data"]
    files = [[name, (folder / name).stat().st_ino] for name in names] + [["m.onnx.3.data", 1]]
    record = {"model": "m.onnx", "files": files, "folders": []}
    (dead / "manifest.json").write_text(json.dumps(record))
    clear_leftovers(folder)
    assert names_in(folder) == ["m.onnx", "m.onnx.3.data", "m.onnx.data"]
    check_halved(folder / "m.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 1, "files": [[1]]}'])
def test_a_damaged_manifest(folder: Path, text: str) -> None:
    dead = folder / ".halve-tmp-0123"
    dead.mkdir()
    (dead / "manifest.json").write_text(text)
    clear_leftovers(folder)
    assert names_in(folder) == []


def test_a_name_that_is_taken_meanwhile(folder: Path) -> None:
    with Staging(folder / "m.onnx") as staging:
        staging.create(0).write_text("first")
        staging.create(1).write_text("second")
        (folder / "b").write_text("other")
        assert not staging.publish(["a", "b"])
        assert names_in(folder)[1:] == ["b"]
        assert staging.publish(["c", "d"])
        staging.create().write_text("model")
    assert contents(folder) == {"b": b"other"}


def test_two_threads_with_two_targets(source: SourceModel, folder: Path) -> None:
    failures: list[HalveError] = []

    def work(name: str) -> None:
        try:
            for _ in range(10):
                write(source, folder / name)
        except HalveError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a.onnx", "b.onnx")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(names_in(folder)) == 4
    check_halved(folder / "a.onnx")
    check_halved(folder / "b.onnx")
