"""Sample folders: sample{id}_inputs.npz, and where known sample{id}_outputs.npz."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve.errors import OutputError, SampleError, SessionError

__all__ = [
    "Sample",
    "SampleSource",
    "as_samples",
    "naming",
    "read_arrays",
    "read_samples",
    "write_samples",
]

_FILE_NAME = re.compile(r"sample(\d+)_(inputs|outputs)\.npz")
# A fixed date keeps equal samples equal as files.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Sample:
    """Arrays by input name, in the source model's types, and golden outputs by output name."""

    id: int
    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]] | None = None


SampleSource = (
    str
    | os.PathLike[str]
    | Mapping[str, NDArray[Any]]
    | Sequence[Sample | Mapping[str, NDArray[Any]]]
)
"""A folder, one feed, or several samples or feeds."""


def read_samples(folder: Path | str) -> tuple[Sample, ...]:
    """Every sample of a folder, by rising number; gaps are fine, other files are ignored.

    Raises:
        SampleError: no folder, no samples, two files of one number, outputs without inputs, an
            unreadable file, an array of Python objects, or NaN in golden outputs.
    """
    root = Path(folder)
    inputs = _index(root, "inputs")
    outputs = _index(root, "outputs")
    for number in outputs.keys() - inputs.keys():
        raise SampleError(f"{outputs[number]}: there is no sample{number}_inputs.npz beside it")
    if not inputs:
        raise SampleError(
            f"{root}: no samples; allowed: files named sample0_inputs.npz, sample1_inputs.npz, … "
            f"with one array an input, as numpy.savez writes them"
        )
    return tuple(_read_sample(number, inputs, outputs) for number in sorted(inputs))


def as_samples(given: SampleSource) -> tuple[Sample, ...]:
    """Samples from a folder (see read_samples), from Samples, or from feeds: arrays by input name.

    Raises:
        SampleError: as read_samples raises, or `given` is something else.
    """
    if isinstance(given, str | os.PathLike):
        return read_samples(Path(given))
    if not isinstance(given, Iterable):
        raise SampleError(
            f"samples is {type(given).__name__}; allowed: a folder, one feed (a mapping"
            " of arrays by input name), or several feeds or halve.Sample in a list"
        )
    rows = [given] if isinstance(given, Mapping) else list(given)
    for row in rows:
        if not isinstance(row, Sample | Mapping):
            raise SampleError(
                f"a sample is {type(row).__name__}; allowed: halve.Sample, or a mapping of arrays"
                " by input name"
            )
    samples = tuple(
        _plain(row if isinstance(row, Sample) else Sample(number, row))
        for number, row in enumerate(rows)
    )
    for sample in samples:
        _check_golden(sample.outputs or {}, f"sample {sample.id}")
    return samples


def _plain(sample: Sample) -> Sample:
    """The same with golden outputs that are arrays, and all in this machine's byte order."""
    golden = sample.outputs
    return Sample(
        sample.id,
        {name: _native_order(value) for name, value in sample.inputs.items()},
        None
        if golden is None
        else {name: _native_order(np.asarray(value)) for name, value in golden.items()},
    )


def _native_order(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, also where it is none: what it is fed to says so."""
    if not isinstance(array, np.ndarray) or array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="))


@contextmanager
def naming(sample: Sample) -> Iterator[None]:
    """Let what a model says of a sample, or fails with on it, name the sample."""
    try:
        yield
    except SampleError as error:
        raise SampleError(f"sample {sample.id}: {error}") from error
    except SessionError as error:
        raise SessionError(f"sample {sample.id}: {error}") from error


def write_samples(folder: Path | str, samples: Iterable[Sample]) -> tuple[Path, ...]:
    """Write samples as read_samples reads them, and return the files. The folder is made where it
    is missing; files of the same number are replaced.

    Raises:
        SampleError: two samples of one number, or an array of Python objects.
        OutputError: a file cannot be written.
    """
    root = Path(folder)
    written: list[Path] = []
    try:
        root.mkdir(parents=True, exist_ok=True)
        for sample in samples:
            parts = [("inputs", sample.inputs)]
            if sample.outputs is not None:
                parts.append(("outputs", sample.outputs))
            for kind, arrays in parts:
                path = root / f"sample{sample.id}_{kind}.npz"
                if path in written:
                    raise SampleError(f"{path}: two samples have the number {sample.id}")
                _write_arrays(path, arrays)
                written.append(path)
    except OSError as error:
        raise OutputError(f"{root}: samples cannot be written ({error})") from error
    return tuple(written)


def _index(root: Path, kind: str) -> dict[int, Path]:
    if not root.is_dir():
        raise SampleError(f"{root}: there is no such folder; allowed: a folder of samples")
    found: dict[int, Path] = {}
    for path in sorted(root.iterdir()):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or match[2] != kind:
            continue
        number = int(match[1])
        if number in found:
            raise SampleError(f"{found[number]} and {path} have the same number {number}")
        found[number] = path
    return found


def _read_sample(number: int, inputs: dict[int, Path], outputs: dict[int, Path]) -> Sample:
    golden = read_arrays(outputs[number]) if number in outputs else None
    _check_golden(golden or {}, str(outputs.get(number, "")))
    return Sample(number, read_arrays(inputs[number]), golden)


def _check_golden(golden: Mapping[str, NDArray[Any]], where: str) -> None:
    for name, array in golden.items():
        if array.dtype.kind in "fc" and np.isnan(array).any():
            raise SampleError(
                f"{where}: golden output {name!r} holds NaN; allowed: numbers and "
                f"infinities; make the outputs again from the float32 model"
            )


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name.

    Raises:
        SampleError: it cannot be read, is no archive, or holds Python objects.
    """
    # numpy.load would leave a broken archive open, and take a plain array for one.
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name.removesuffix(".npy"): _read_member(archive, name)
                for name in archive.namelist()
            }
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SampleError(
            f"{path}: not an archive of plain arrays ({error}); allowed: what numpy.savez writes "
            f"without Python objects"
        ) from error


def _read_member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as member:
        return _native_order(np.lib.format.read_array(member, allow_pickle=False))


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    # numpy.savez takes names as keywords, so an input called "file" would not fit through it.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            plain = np.asarray(array)
            if plain.dtype.kind in "OV":
                raise SampleError(f"{path}: {name!r} has type {plain.dtype}; allowed: plain arrays")
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True) as out:
                np.lib.format.write_array(out, plain, allow_pickle=False)
