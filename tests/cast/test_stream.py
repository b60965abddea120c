"""The pipeline from files to files: bytes, counts, borders, errors, cancelling."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from halve._native.reference import reference_cast
from halve._native.stream import Output, Piece, Resources, StreamResult, run_stream
from halve.errors import DataError, OutputError
from halve.types import CastBounds, CastCounts, CastJob, DType, Span, TensorRef

MIB = 1 << 20
BOUNDS = CastBounds(1e-7, 1e4)
SMALL = Resources(threads=2, budget_bytes=MIB)


def ref(origin: Path | bytes, spans: tuple[Span, ...], dtype: int = 1) -> TensorRef:
    nbytes = sum(span.nbytes for span in spans)
    return TensorRef("w", dtype, (nbytes,), origin, spans, nbytes, 9, "tensor 'w'")


def cast_job(
    origin: Path | bytes, spans: tuple[Span, ...], dtype: DType = DType.FLOAT16
) -> CastJob:
    return CastJob("w", ref(origin, spans), dtype, BOUNDS)


def copy_job(origin: Path | bytes, spans: tuple[Span, ...]) -> CastJob:
    return CastJob("w", ref(origin, spans, 2), 2)


def floats(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Every magnitude, and the special values."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 1 << 32, count, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    values[::7] = rng.standard_normal(len(values[::7]))
    return values


def in_file(
    path: Path, jobs: list[CastJob], pieces: tuple[Piece, ...], size: int, how: Resources
) -> tuple[bytes, StreamResult]:
    path.touch()
    result = run_stream(jobs, [Output(path, size, pieces)], resources=how)
    return path.read_bytes(), result


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16])
@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("offset", [0, 1, 4095, 65537])
def test_cast_across_block_borders(tmp_path: Path, dtype: DType, threads: int, offset: int) -> None:
    values = floats(400_003)
    origin = tmp_path / "in"
    origin.write_bytes(b"xyz" + values.tobytes())
    job = cast_job(origin, (Span(3, values.nbytes),), dtype)
    size = offset + job.nbytes + 5
    pieces = (Piece(offset, job.nbytes, 0),)
    how = Resources(threads, MIB)
    written, result = in_file(tmp_path / "out", [job], pieces, size, how)
    bits, counts = reference_cast(values, dtype, BOUNDS)
    assert written == bytes(offset) + bits.tobytes() + bytes(5)
    assert result.counts == (counts,)
    assert result.bytes_written == size


@pytest.mark.parametrize("direct", [False, True])
def test_large_file_with_a_tail(tmp_path: Path, direct: bool) -> None:
    values = floats(5 * MIB // 2 + 1)
    job = cast_job(values.tobytes(), (Span(0, values.nbytes),))
    pieces = (Piece(0, 3, literal=b"abc"), Piece(4096, job.nbytes, 0))
    how = Resources(2, 8 * MIB, direct=direct)
    written, result = in_file(tmp_path / "out", [job], pieces, 4096 + job.nbytes, how)
    bits, counts = reference_cast(values, DType.FLOAT16, BOUNDS)
    assert written == b"abc" + bytes(4093) + bits.tobytes()
    assert result.counts == (counts,)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("item", [4, 8])
def test_strided_copy(tmp_path: Path, memory: bool, item: int) -> None:
    rows = np.random.default_rng(1).integers(0, 256, (70_001, item + 1), dtype=np.uint8)
    content = b"??" + rows.tobytes()
    path = tmp_path / "in"
    path.write_bytes(content)
    payload = rows[:, 1:].tobytes()
    job = copy_job(content if memory else path, (Span(3, len(payload), item),))
    written, result = in_file(
        tmp_path / "out", [job], (Piece(7, len(payload), 0),), 7 + len(payload), SMALL
    )
    assert written == bytes(7) + payload
    assert result.counts == (CastCounts(),)


def test_cast_of_split_and_strided_spans() -> None:
    values = floats(100_000, 3)
    raw = values.tobytes()
    tagged = np.insert(values[30_000:].view(np.uint8).reshape(-1, 4), 0, 0x25, axis=1).tobytes()
    origin = raw[:120_000] + tagged
    cut = 50_001  # inside an element
    spans = (
        Span(0, cut),
        Span(cut, 120_000 - cut),
        Span(120_001, len(raw) - 120_000, 4),
    )
    job = cast_job(origin, spans)
    buffer = bytearray(job.nbytes)
    result = run_stream(
        [job], [Output(buffer, len(buffer), (Piece(0, len(buffer), 0),))], resources=SMALL
    )
    bits, counts = reference_cast(values, DType.FLOAT16, BOUNDS)
    assert buffer == bits.tobytes()
    assert result.counts == (counts,)


def test_nothing_to_do(tmp_path: Path) -> None:
    job = cast_job(b"", ())
    written, result = in_file(tmp_path / "out", [job], (Piece(0, 0, 0),), 0, SMALL)
    assert written == b""
    assert result.counts == (CastCounts(),)
    assert run_stream([], [], resources=SMALL).counts == ()


def test_a_file_that_was_longer_is_cut(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(bytes(10_000))
    run_stream([], [Output(out, 3, (Piece(0, 3, literal=b"new"),))], resources=SMALL)
    assert out.read_bytes() == b"new"


@st.composite
def tasks(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int, bool]]]:
    """Random content, and pieces of it as (gap before, elements, cast or copy)."""
    pieces = st.tuples(st.integers(0, 70_000), st.integers(0, 40_000), st.booleans())
    return draw(st.binary(min_size=8, max_size=64)), draw(st.lists(pieces, max_size=6))


@settings(max_examples=25, deadline=None)
@given(task=tasks(), threads=st.integers(1, 4))
def test_any_mix_of_pieces(
    tmp_path_factory: pytest.TempPathFactory,
    task: tuple[bytes, list[tuple[int, int, bool]]],
    threads: int,
) -> None:
    seed, parts = task
    values = np.frombuffer((seed * 20_004)[:160_004], np.uint8)[:160_000].view(np.float32)
    jobs, pieces, expected = [], [], b""
    for number, (gap, count, is_cast) in enumerate(parts):
        spans = (Span(0, 4 * count),)
        make = cast_job if is_cast else copy_job
        jobs.append(make(values.tobytes(), spans))
        pieces.append(Piece(len(expected) + gap, jobs[-1].nbytes, number))
        part = values[:count]
        bits = reference_cast(part, DType.FLOAT16, BOUNDS)[0] if is_cast else part
        expected += bytes(gap) + bits.tobytes()
    out = tmp_path_factory.mktemp("mix") / "out"
    written, _ = in_file(out, jobs, tuple(pieces), len(expected), Resources(threads, MIB))
    assert written == expected


def test_missing_origin(tmp_path: Path) -> None:
    job = copy_job(tmp_path / "gone", (Span(0, 4),))
    with pytest.raises(DataError, match="gone: cannot be opened"):
        in_file(tmp_path / "out", [job], (Piece(0, 4, 0),), 4, SMALL)


@pytest.mark.parametrize("memory", [False, True])
def test_origin_that_is_too_short(tmp_path: Path, memory: bool) -> None:
    path = tmp_path / "in"
    path.write_bytes(bytes(100_000))
    job = cast_job(bytes(100_000) if memory else path, (Span(0, 100_004),))
    with pytest.raises(DataError, match=r"ends at byte .*tensor 'w'"):
        in_file(tmp_path / "out", [job], (Piece(0, job.nbytes, 0),), job.nbytes, SMALL)


def test_missing_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none/out: cannot be opened"):
        run_stream([], [Output(tmp_path / "none" / "out", 0, ())], resources=SMALL)


def slow_task(tmp_path: Path) -> tuple[list[CastJob], list[Output]]:
    """A cast of 1 GiB of zeros, into memory in blocks of 64 KiB."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    job = cast_job(path, (Span(0, 1 << 30),))
    return [job], [Output(bytearray(job.nbytes), job.nbytes, (Piece(0, job.nbytes, 0),))]


def test_progress_comes_from_the_calling_thread_and_ends_with_all(tmp_path: Path) -> None:
    jobs, outputs = slow_task(tmp_path)
    seen: list[tuple[int, int]] = []
    run_stream(
        jobs,
        outputs,
        resources=SMALL,
        progress=lambda done: seen.append((threading.get_ident(), done)),
    )
    assert {thread for thread, _ in seen} == {threading.get_ident()}
    done = [value for _, value in seen]
    assert done == sorted(done)
    assert done[-1] == outputs[0].nbytes


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
def test_callback_that_raises(tmp_path: Path, error: type[BaseException]) -> None:
    def progress(_done: int) -> None:
        raise error("enough")

    jobs, outputs = slow_task(tmp_path)
    before = threading.active_count()
    with pytest.raises(error, match="enough"):
        run_stream(jobs, outputs, resources=SMALL, progress=progress)
    assert threading.active_count() == before


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handling of SIGINT, which a process that was started in the background lacks."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_stops_the_work(tmp_path: Path) -> None:
    def progress(_done: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    jobs, outputs = slow_task(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_stream(jobs, outputs, resources=SMALL, progress=progress)


def test_origin_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    jobs, outputs = slow_task(tmp_path)
    path = tmp_path / "sparse"

    def progress(_done: int) -> None:
        os.truncate(path, 4096)

    with pytest.raises(DataError, match="shorter than when it was opened"):
        run_stream(jobs, outputs, resources=SMALL, progress=progress)
