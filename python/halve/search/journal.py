"""The journal: every answer that a search consumed, in order, so that it can be resumed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halve.errors import WorkspaceError
from halve.search.asks import JUDGE, Answer, Key, verdict_of
from halve.search.problem import Problem
from halve.search_types import OutputTrial

__all__ = ["Journal", "journal_header", "judged", "read_header", "units_digest"]

VERSION = 2


def units_digest(problem: Problem) -> str:
    """A digest of the units: nodes, operands, scopes and costs."""
    digest = hashlib.sha256()
    for unit in problem.units:
        nodes = [(node.id, node.in_slots, node.out_slots) for node in unit.nodes]
        digest.update(repr((unit.index, nodes, unit.scope, unit.cost)).encode())
    return digest.hexdigest()


def journal_header(problem: Problem, depends: Mapping[str, Any]) -> dict[str, Any]:
    """What the answers and their order depend on.

    `depends` are JSON values that the problem does not know: model hash, options of a trial
    (its threads among them), digest of the samples, versions. Budgets are not in it, so that a
    search may be resumed with a larger one.
    """
    return {
        "units": units_digest(problem),
        "samples": problem.samples,
        "held_out": sorted(problem.held_out),
        "margin": problem.margin,
        "given": sorted(problem.given),
        "marked": sorted(problem.marked),
        "hints": {str(unit): problem.hints[unit] for unit in sorted(problem.hints)},
        "seed": problem.seed,
        "strategy": problem.strategy,
        "parameters": dataclasses.asdict(problem.parameters),
        **depends,
    }


def read_header(path: Path) -> dict[str, Any] | None:
    """The header of a journal; None where there is no journal that has one."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError):
        return None
    return header if isinstance(header, dict) else None


class Journal:
    """A file of a header and one line an answer, each on the disk before the search goes on.

    An existing file is read into `memo`, but for runs that broke (a crash, the time limit, out of
    memory): they say nothing of numbers, and are asked again. A last line that was torn is dropped.
    There are no clocks in it: the same search writes the same bytes.
    """

    def __init__(
        self, path: Path, header: Mapping[str, Any], *, validate_only: bool = False
    ) -> None:
        """Open or create the journal.

        Raises:
            WorkspaceError: the file is of another search (the message names the field), is not a
                journal, or cannot be written.
        """
        self.path = path
        self.memo: dict[Key, Answer] = {}
        self._validate_only = validate_only
        self._keys: list[Key] = []
        self._broken: dict[int, bytes] = {}
        self._ends: list[int] = []
        self._consumed = 0
        first = _line({"halve_journal": VERSION, "validate_only": validate_only, **header})
        try:
            path.touch()
            self._file = path.open("r+b", buffering=0)
        except OSError as error:
            raise WorkspaceError(f"{path}: the journal cannot be opened ({error})") from error
        try:
            self._read(first)
        except BaseException:
            self._file.close()
            raise

    def record(self, key: Key, answer: Answer) -> None:
        """Note that the search consumed an answer.

        What the file has at this place already is left; where it has something else, the file is
        cut there first, its answers staying in `memo`.
        """
        place, line = self._consumed, _line(_packed(key, answer))
        self._consumed += 1
        if place < len(self._keys):
            # Of a run that broke the file may have another answer: it was asked again.
            if self._keys[place] == key and self._broken.get(place, line) == line:
                return
            del self._keys[place:], self._ends[place + 1 :]
            self._file.truncate(self._ends[place])
        self._keys.append(key)
        self._append(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: bytes) -> None:
        end = self._ends[-1] if self._ends else 0
        try:
            self._file.seek(end)
            if self._file.write(line) != len(line):
                raise OSError("the disk took a part of the line only")
            os.fsync(self._file.fileno())
        except OSError as error:
            raise WorkspaceError(
                f"{self.path}: the journal cannot be written at byte {end} ({error}); free some "
                "space and run the same command again to resume"
            ) from error
        self._ends.append(end + len(line))

    def _read(self, first: bytes) -> None:
        lines = self._file.read().split(b"\n")
        torn = lines.pop()
        if not lines:
            if not first.startswith(torn):
                raise self._not_a_journal(0)
            self._file.truncate(0)
            self._append(first)
            return
        self._check_header(lines[0] + b"\n", first)
        self._ends.append(len(first))
        for number, line in enumerate(lines[1:], 1):
            self._load(number, line)
        self._file.truncate(self._ends[-1])

    def _load(self, number: int, line: bytes) -> None:
        try:
            key, answer = _unpacked(json.loads(line), self._validate_only)
        except (ValueError, KeyError, TypeError) as error:
            raise self._not_a_journal(number) from error
        if answer.failure:
            self._broken[len(self._keys)] = line + b"\n"
        else:
            self.memo[key] = answer
        self._keys.append(key)
        self._ends.append(self._ends[-1] + len(line) + 1)

    def _check_header(self, found: bytes, expected: bytes) -> None:
        if found == expected:
            return
        try:
            theirs, ours = json.loads(found), json.loads(expected)
            names = [n for n in {**ours, **theirs} if theirs.get(n) != ours.get(n)]
        except (ValueError, TypeError, AttributeError) as error:
            raise self._not_a_journal(0) from error
        name = names[0] if names else "the order of its fields"
        raise WorkspaceError(
            f"{self.path}: the journal is of another search: {name} is {theirs.get(name)!r} there "
            f"and {ours.get(name)!r} here; use another workspace, or empty this one with --clean"
        )

    def _not_a_journal(self, number: int) -> WorkspaceError:
        return WorkspaceError(
            f"{self.path}: line {number + 1} is not one of a journal; use another workspace, or "
            "empty this one with --clean"
        )


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _packed(key: Key, answer: Answer) -> dict[str, Any]:
    outputs = [[o.name, o.passed, _number(o.error), _number(o.energy)] for o in answer.outputs]
    line: dict[str, Any] = {"fp32": f"{key[0]:x}", "sample": key[1], "passed": answer.passed}
    if outputs:
        line["outputs"] = outputs
    if answer.failure:
        line["failure"] = answer.failure
    if answer.validated is not None:
        line["validated"] = answer.validated
    return line


def _unpacked(line: Mapping[str, Any], validate_only: bool) -> tuple[Key, Answer]:
    key = (int(line["fp32"], 16), int(line["sample"]))
    if key[1] == JUDGE:
        return key, judged(line["passed"])
    outputs = tuple(
        OutputTrial(name, passed, float(error), float(energy))
        for name, passed, error, energy in line.get("outputs", ())
    )
    return key, verdict_of(outputs, line.get("failure", ""), line.get("validated"), validate_only)


def judged(passed: bool) -> Answer:
    """The final judge's word as an answer: it has no energy."""
    error = 0.0 if passed else math.inf
    return Answer(passed, error, error, error)


def _number(value: float) -> float | str:
    """JSON has no inf and NaN: they are strings."""
    return value if math.isfinite(value) else str(value)
