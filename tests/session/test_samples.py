"""Sample folders: what is read, what is written, what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halve.errors import OutputError, SampleError
from halve.session.samples import Sample, as_samples, read_samples, write_samples

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_ids_are_numbers_and_may_have_gaps(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        np.savez(tmp_path / f"sample{number}_inputs.npz", x=X + number)
    np.savez(tmp_path / "sample2_outputs.npz", y=X)
    (tmp_path / "notes.txt").write_text("not a sample")
    samples = read_samples(tmp_path)
    assert [sample.id for sample in samples] == [0, 2, 10]
    assert [sample.outputs is None for sample in samples] == [True, False, True]
    np.testing.assert_array_equal(samples[2].inputs["x"], X + 10)


def test_written_samples_are_read_back(tmp_path: Path) -> None:
    names = {"file": X, "a/b:0": X[:0], "x.npy": np.array(3), "t": np.array(["ü", "bc"])}
    samples = (Sample(7, names, {"y": np.array([np.inf], np.float16)}), Sample(11, {"x": X}))
    files = write_samples(tmp_path / "new", samples)
    assert [path.name for path in files] == [
        "sample7_inputs.npz",
        "sample7_outputs.npz",
        "sample11_inputs.npz",
    ]
    first, second = read_samples(tmp_path / "new")
    assert list(first.inputs) == list(names)
    for name, array in names.items():
        np.testing.assert_array_equal(first.inputs[name], array)
        assert first.inputs[name].dtype == array.dtype
    assert first.outputs is not None
    assert first.outputs["y"].dtype == np.float16
    assert second.outputs is None


def test_equal_samples_are_equal_files(tmp_path: Path) -> None:
    one, two = (write_samples(tmp_path / name, [Sample(0, {"x": X})])[0] for name in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="there is no such folder"):
        read_samples(tmp_path / "absent")
    with pytest.raises(SampleError, match=r"no samples; allowed: files named sample0_inputs\.npz"):
        read_samples(tmp_path)


def test_outputs_without_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "sample3_outputs.npz", y=X)
    with pytest.raises(SampleError, match=r"sample3_outputs\.npz: there is no sample3_inputs\.npz"):
        read_samples(tmp_path)


def test_two_files_of_one_number(tmp_path: Path) -> None:
    np.savez(tmp_path / "sample1_inputs.npz", x=X)
    np.savez(tmp_path / "sample01_inputs.npz", x=X)
    with pytest.raises(SampleError, match="have the same number 1"):
        read_samples(tmp_path)
    with pytest.raises(SampleError, match="two samples have the number 4"):
        write_samples(tmp_path, [Sample(4, {"x": X}), Sample(4, {"x": X})])


def test_pickles_are_refused(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "sample0_inputs.npz", x=objects, allow_pickle=True)
    with pytest.raises(SampleError, match=r"sample0_inputs\.npz: not an archive of plain arrays"):
        read_samples(tmp_path)
    with pytest.raises(SampleError, match="'x' has type object; allowed: plain arrays"):
        write_samples(tmp_path, [Sample(1, {"x": objects})])


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut short"])
def test_broken_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "sample0_inputs.npz").write_bytes(content)
    with pytest.raises(SampleError, match=r"sample0_inputs\.npz: not an archive of plain arrays"):
        read_samples(tmp_path)


def test_truncated_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "sample0_inputs.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00cut")
    with pytest.raises(SampleError, match=r"sample0_inputs\.npz"):
        read_samples(tmp_path)


def test_a_plain_array_is_no_sample(tmp_path: Path) -> None:
    with (tmp_path / "sample0_inputs.npz").open("wb") as out:
        np.save(out, X)
    with pytest.raises(SampleError, match="not an archive of plain arrays"):
        read_samples(tmp_path)


def test_nan_in_golden_outputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "sample0_inputs.npz", x=np.array([np.nan], np.float32))
    np.savez(tmp_path / "sample0_outputs.npz", y=np.array([1, np.nan], np.float32))
    with pytest.raises(SampleError, match=r"sample0_outputs\.npz: golden output 'y' holds NaN"):
        read_samples(tmp_path)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken: samples cannot be written"):
        write_samples(tmp_path / "taken", [Sample(0, {"x": X})])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "samples is NoneType; allowed: a folder, one feed"),
        (3, "samples is int; allowed: a folder, one feed"),
        (Sample(0, {"x": X}), "samples is Sample; allowed"),
        ([X], "a sample is ndarray; allowed: halve.Sample, or a mapping of arrays"),
    ],
)
def test_what_are_no_samples(given: Any, words: str) -> None:
    with pytest.raises(SampleError, match=words):
        as_samples(given)
