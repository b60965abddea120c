"""Payload in files of its own: where an external_data entry points, checked before it is used."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import TensorProto

from halve.errors import DataError
from halve.source.payload import data_size, shape_of
from halve.source.tensors import text
from halve.types import DType, Span, TensorRef

__all__ = ["Folder", "check_overlaps", "external_ref"]


@dataclass(slots=True)
class Folder:
    """Where a model's external data may lie.

    `given` is the folder of the path that was given, `home` that of the resolved model file: they
    differ where the model is reached through a link. Files that were found are kept with their
    sizes, so that each is looked at once.
    """

    given: Path
    home: Path
    allow_links: bool
    found: dict[str, tuple[Path, int]] = field(default_factory=dict)

    def find(self, location: str, where: str) -> tuple[Path, int]:
        """The resolved file at `location`, and its size in bytes.

        Raises:
            DataError: the location is not allowed, or there is no regular file.
        """
        if location not in self.found:
            _check_location(location, where)
            self.found[location] = self._resolve(location, where)
        return self.found[location]

    def _resolve(self, location: str, where: str) -> tuple[Path, int]:
        candidates = [folder / location for folder in (self.given, self.home)]
        # A model behind a link may have its data beside the link or beside the file.
        path = next((c for c in candidates if os.path.lexists(c)), candidates[0])
        try:
            resolved = path.resolve(strict=True)
            status = resolved.stat()
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError below 3.13
            raise DataError(
                f"{path}: {where}: external data cannot be opened: {_reason(error)}; put the "
                "data file beside the model under the name that the model gives"
            ) from None
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise DataError(
                f"{path}: {where}: external data is {kind}; allowed: a regular file; "
                "fetch or export the model again"
            )
        self._check_inside(path, resolved, where)
        return resolved, status.st_size

    def _check_inside(self, path: Path, resolved: Path, where: str) -> None:
        allowed = (self.home, self.given.resolve())
        if self.allow_links or any(resolved.is_relative_to(folder) for folder in allowed):
            return
        raise DataError(
            f"{path}: {where}: external data is a link to {resolved}, outside {self.home}; "
            "allowed: files inside the model's folder; --allow-links accepts the link"
        )


def _reason(error: OSError | RuntimeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _check_location(location: str, where: str) -> None:
    if not location:
        problem = "is empty"
    elif "\0" in location:
        problem = "has a NUL character"
    elif PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor:
        problem = "is an absolute path"
    elif ".." in location.replace("\\", "/").split("/"):
        problem = "leaves the model's folder with '..'"
    else:
        return
    raise DataError(
        f"{where}: external data location {location!r} {problem}; allowed: a path inside the "
        "model's folder; move the data there and correct the model"
    )


def external_ref(tensor: TensorProto, where: str, folder: Folder) -> TensorRef:
    """The payload of a tensor with external data.

    Raises:
        DataError: the location, offset or length is not allowed, does not fit type and shape,
            or reaches past the end of its file.
    """
    entries = {text(entry.key): text(entry.value) for entry in tensor.external_data}
    if tensor.data_type == DType.STRING:
        raise DataError(f"{where}: a string tensor cannot have external data; embed it")
    path, size = folder.find(entries.get("location", ""), where)
    offset = _number(entries, "offset", 0, path, where)
    shape = shape_of(tensor, where)
    expected = data_size(tensor.data_type, shape)
    rest = max(0, size - offset)
    nbytes = _number(entries, "length", rest if expected is None else expected, path, where)
    if expected is not None and nbytes != expected:
        raise DataError(
            f"{path}: {where}, byte {offset}: length {nbytes}; shape {list(shape)} of type "
            f"{tensor.data_type} needs {expected} bytes; export the model again"
        )
    if offset + nbytes > size:
        raise DataError(
            f"{path}: {where}, byte {offset}: needs bytes up to {offset + nbytes}; the file has "
            f"{size}; it may be truncated, fetch or export it again"
        )
    spans = (Span(offset, nbytes),) if nbytes else ()
    name = text(tensor.name)
    return TensorRef(name, tensor.data_type, shape, path, spans, nbytes, 0, where)


def _number(entries: dict[str, str], key: str, default: int, path: Path, where: str) -> int:
    value = entries.get(key)
    if value is None or (key == "length" and not value):
        return default
    if not (value.isascii() and value.isdecimal() and len(value) < 20):
        raise DataError(
            f"{path}: {where}: external data {key} is {value!r}; allowed: a number of bytes, "
            "0 or more; export the model again"
        )
    return int(value)


def check_overlaps(refs: Iterable[TensorRef]) -> None:
    """Check that external payloads are apart or equal: equal ranges are a shared payload.

    Raises:
        DataError: two tensors share a part of their bytes.
    """
    ranges = sorted(
        ((str(r.origin), r.spans[0].offset, r.nbytes, i), r)
        for i, r in enumerate(refs)
        if r.field == 0 and r.nbytes
    )
    for (one, first), (two, second) in itertools.pairwise(ranges):
        if one[:3] == two[:3] or one[0] != two[0] or one[1] + one[2] <= two[1]:
            continue
        raise DataError(
            f"{one[0]}: {second.where}, byte {two[1]}: its {two[2]} bytes overlap those of "
            f"{first.where} (byte {one[1]}, {one[2]} bytes); allowed: ranges that are apart or "
            "equal; export the model again"
        )
