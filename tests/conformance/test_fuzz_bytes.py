"""Broken models: whatever their bytes, a conversion succeeds or says what is wrong."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import onnx
import pytest

from conformance.mutations import SEEDS, mutated, write_data
from halve.convert import convert
from halve.errors import HalveError
from halve.options import ConvertOptions

# A guard against a conversion that never ends, far beyond what any case needs.
HANG_S = 120
MEMORY_BYTES = 8 << 30
TARGETS = ("any", "cuda", "cpu", "tensorrt")


def options_of(number: int) -> ConvertOptions:
    return ConvertOptions(
        target=TARGETS[number // 8 % 4],
        keep_io_types=number // 32 % 2 == 1,
        dtype="bfloat16" if number % 3 == 0 else "float16",
    )


def outcome(number: int, folder: Path) -> str:
    """ "converted", or the class of the error; anything but a HalveError passes through."""
    source, target = folder / "source.onnx", folder / "target.onnx"
    source.write_bytes(mutated(number))
    target.unlink(missing_ok=True)
    try:
        convert(source, target, options=options_of(number))
    except HalveError as error:
        answer = type(error).__name__ if str(error) else "escaped: an error without a message"
    else:
        answer = "converted"
    assert target.exists() == (answer == "converted")
    return answer


def serve(pipe: Connection, folder: Path) -> None:
    """Answers case after case, so that a crash or a hang ends this process and not the test."""
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    while (number := pipe.recv()) is not None:
        try:
            pipe.send(outcome(number, folder))
        except Exception as error:  # the finding
            pipe.send(error.__class__.__name__ + f" escaped: {str(error)[:500]}")


def run_cases(numbers: range, folder: Path) -> Counter[str]:
    write_data(folder)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=serve, args=(theirs, folder), daemon=True)
    child.start()
    theirs.close()
    found: Counter[str] = Counter()
    try:
        for number in numbers:
            found[ask(ours, number)] += 1
        ours.send(None)
    finally:
        ours.close()
        child.join(HANG_S)
        child.kill()
        child.join()
        child.close()
    return found


def ask(pipe: Connection, number: int) -> str:
    pipe.send(number)
    assert pipe.poll(HANG_S), f"case {number} hangs"
    try:
        answer = str(pipe.recv())
    except EOFError:
        pytest.fail(f"case {number} crashed the process")
    assert "escaped" not in answer, f"case {number}: {answer}"
    return answer


def check_mix(found: Counter[str]) -> None:
    """Neither do all cases fail early, nor are all harmless."""
    total = found.total()
    assert found["converted"] > total // 10
    assert found["ModelError"] > total // 10
    assert found["DataError"] > 0


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_seeds_are_valid_and_convert(number: int, tmp_path: Path) -> None:
    write_data(tmp_path)
    path = tmp_path / "seed.onnx"
    path.write_bytes(SEEDS[number])
    onnx.checker.check_model(str(path), full_check=True)
    convert(path, tmp_path / "out.onnx", options=ConvertOptions(target="any"))
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)


def test_a_case_is_the_same_every_time() -> None:
    assert [mutated(number) for number in range(50)] == [mutated(number) for number in range(50)]
    assert len({mutated(number) for number in range(50)}) > 40


def test_mutated_models(tmp_path: Path) -> None:
    check_mix(run_cases(range(400), tmp_path))


@pytest.mark.slow
def test_many_mutated_models(tmp_path: Path) -> None:
    check_mix(run_cases(range(400, 6_000), tmp_path))
