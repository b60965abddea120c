"""The flags of samples: a folder of them, or shapes and ranges to make random ones."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from halve.errors import OptionError
from halve.files import given_path
from halve.session import Sample, read_samples
from halve.session.random_samples import RandomSampling, random_samples

__all__ = ["SampleRequest", "add_sample_flags", "sample_request", "spread"]

_T = TypeVar("_T")
_SHAPE = r"\[\s*\d*(\s*,\s*\d+)*\s*\]|\d+(,\d+)*"
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
# Flags that take several values, and what such a value looks like: an argument that does not look
# so is a path, or another flag.
_MANY = {
    "--device": re.compile(r"\d+(,\d+)*"),
    "--min-shapes": re.compile(rf".+:({_SHAPE})"),
    "--max-shapes": re.compile(rf".+:({_SHAPE})"),
    "--fp32-nodes": re.compile(r"\d+(,\d+)*"),
    "--op-id-filter": re.compile(r"\d+(,\d+)*"),
    "--op-id-bypass": re.compile(r"\d+(,\d+)*"),
    "--op-type-filter": re.compile(r"[A-Za-z]\w*(,[A-Za-z]\w*)*"),
    "--op-type-bypass": re.compile(r"[A-Za-z]\w*(,[A-Za-z]\w*)*"),
    "--cluster": re.compile(r"-?\d+(,\d+)*"),
    "--range": re.compile(rf".+:{_NUMBER},{_NUMBER}"),
}


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A folder of samples, or how to make random ones."""

    folder: Path | None = None
    random: RandomSampling | None = None

    def load(self, source: Path) -> tuple[Sample, ...]:
        """The samples.

        Raises:
            SampleError: they cannot be read, or not be made for that model.
        """
        if self.folder is not None:
            return read_samples(self.folder)
        return random_samples(source, self.random or RandomSampling())

    @property
    def note(self) -> str:
        """What a report must say of them, or nothing."""
        if self.folder is not None:
            return ""
        seed = 0 if self.random is None else self.random.seed
        return f"the samples were random (seed {seed}): real ones may need other nodes in float32"


def add_sample_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--sample-dir`, and what random samples need."""
    group = parser.add_argument_group("samples")
    group.add_argument(
        "--sample-dir",
        metavar="DIR",
        help="sample{id}_inputs.npz, and optional sample{id}_outputs.npz with golden outputs; "
        "without it samples are random",
    )
    for name, metavar, text in (
        ("--min-shapes", "NAME:[D,...] ...", "smallest shapes of random inputs"),
        ("--max-shapes", "NAME:[D,...] ...", "largest shapes of random inputs"),
        ("--range", "NAME:LO,HI ...", "range of a random input (floats N(0,1), integers 0 or 1)"),
    ):
        group.add_argument(name, metavar=metavar, help=text, action="append")


def sample_request(parsed: argparse.Namespace, *, seed: int = 0) -> SampleRequest:
    """What the given flags ask for.

    Raises:
        OptionError: a value is not understood, or there are a folder and shapes.
    """
    given = [flag for flag in ("min_shapes", "max_shapes", "range") if hasattr(parsed, flag)]
    if not hasattr(parsed, "sample_dir"):
        shapes = {flag: getattr(parsed, flag, []) for flag in ("min_shapes", "max_shapes", "range")}
        sampling = RandomSampling(
            _by_name("--min-shapes", shapes["min_shapes"], _dims),
            _by_name("--max-shapes", shapes["max_shapes"], _dims),
            _by_name("--range", shapes["range"], _limits),
            seed,
        )
        return SampleRequest(random=sampling)
    if given:
        raise OptionError(
            f"--sample-dir and --{given[0].replace('_', '-')} exclude each other: the latter is "
            "for random samples; give one of them"
        )
    return SampleRequest(folder=given_path(parsed.sample_dir, what="--sample-dir"))


def spread(args: Sequence[str]) -> list[str]:
    """Repeats a flag that takes several values before each of them.

    So that `--device 0 1 in.onnx` takes two devices and leaves the path alone.
    """
    out: list[str] = []
    flag = ""
    for place, arg in enumerate(args):
        name = arg.replace("_", "-") if arg.startswith("--") else ""
        if arg == "--":
            return out + list(args[place:])
        is_more = flag and out[-1] != flag and _MANY[flag].fullmatch(arg)
        if name:
            flag = name if name in _MANY else ""
        elif is_more:
            out.append(flag)
        elif flag and out[-1] != flag:
            flag = ""
        out.append(name if name in _MANY else arg)
    return out


def _by_name(flag: str, texts: Sequence[str], read: Callable[[str], _T]) -> dict[str, _T]:
    found: dict[str, _T] = {}
    for text in texts:
        if not _MANY[flag].fullmatch(text):
            allowed = "NAME:LO,HI" if flag == "--range" else "NAME:[D,...]"
            raise OptionError(f"{flag} is {text!r}; allowed: {allowed}, as in {_EXAMPLES[flag]}")
        name, _, value = text.rpartition(":")
        found[name] = read(value)
    return found


_EXAMPLES = {
    "--min-shapes": "images:[1,3,224,224]",
    "--max-shapes": "images:[8,3,224,224]",
    "--range": "tokens:0,30521",
}


def _dims(text: str) -> tuple[int, ...]:
    return tuple(int(item) for item in text.strip("[] ").split(",") if item.strip())


def _limits(text: str) -> tuple[float, float]:
    low, high = text.split(",")
    return float(low), float(high)
