"""The flags of a search, one for a field of SearchOptions, and back to the record."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from halve.cli import values
from halve.cli.feedback import feedback_pairs, split_feedback
from halve.cli.flags import Flag, add_flags, convert_options, given_fields
from halve.cli.functions import load_function
from halve.cli.simplify_flags import simplify_options
from halve.errors import OptionError
from halve.search_options import SearchOptions
from halve.search_types import OutputTolerance, Tolerances

__all__ = [
    "FLAGS",
    "PROVIDER_FLAGS",
    "TOLERANCE_FLAGS",
    "WITHOUT_FLAG",
    "ToleranceFlag",
    "add_search_flags",
    "add_tolerance_flags",
    "given_tolerances",
    "search_options",
    "shown_options",
]

# What `--cos-sim` without a value takes.
_DEFAULT_COSINE = "0.99"


@dataclass(frozen=True, slots=True)
class ToleranceFlag:
    """A flag for a field of OutputTolerance, whose values lie between `low` and `high`."""

    name: str
    field: str
    metavar: str
    help: str
    low: float
    high: float


def _devices(texts: Sequence[str]) -> tuple[int, ...]:
    items = [item for text in texts for item in text.split(",")]
    return tuple(values.whole_number("--device", item) for item in items)


PROVIDER_FLAGS = (
    Flag(
        "--provider",
        "provider",
        "NAME",
        "ONNX Runtime's execution provider (default CPUExecutionProvider)",
        values.last,
    ),
    Flag(
        "--provider-option",
        "provider_options",
        "KEY=VALUE",
        "an option of the provider; may be repeated",
        values.settings("--provider-option"),
    ),
    Flag(
        "--session-option",
        "session_options",
        "KEY=VALUE",
        "a session configuration entry of ONNX Runtime; may be repeated",
        values.settings("--session-option"),
    ),
)

FLAGS = (
    Flag(
        "--validate",
        "validate",
        "MODULE:FUNCTION",
        "a function (float32 outputs, mixed outputs) -> bool that must be true for each sample; "
        "in place of the tolerances where none is given, else in addition",
        values.last,
    ),
    Flag(
        "--margin",
        "margin",
        "X",
        "share of the tolerance that the search works within (default 0.8); samples held out may"
        " use all of it, until one refuses what was found",
        values.number("--margin"),
    ),
    Flag(
        "--holdout",
        "holdout",
        "N",
        "hold every N-th sample out from the search, with four or more (default 4; 0: none)",
        values.whole("--holdout"),
    ),
    Flag("--seed", "seed", "N", "of what is random (default 0)", values.whole("--seed")),
    Flag(
        "--time-budget",
        "time_budget_s",
        "SECONDS",
        "take the best verified set so far after this time",
        values.number("--time-budget"),
    ),
    Flag(
        "--max-trials",
        "max_trials",
        "N",
        "take the best verified set so far after N trials",
        values.whole("--max-trials"),
    ),
    Flag(
        "--workers",
        "workers",
        "N",
        "trials at a time (default 0: one a core); the result does not depend on it",
        values.whole("--workers"),
    ),
    Flag(
        "--threads-per-trial",
        "threads_per_trial",
        "N",
        "threads inside a trial (default 1); results may depend on it",
        values.whole("--threads-per-trial"),
    ),
    Flag(
        "--evaluator",
        "evaluator",
        "auto|probe|sessions",
        "emulate 16 bits (probe), run real models on the provider (sessions), or sessions where "
        "the provider computes in 16 bits, on CUDA the faster of both that decides the same (auto, "
        "the default)",
        values.last,
    ),
    Flag(
        "--isolate",
        "isolate",
        "",
        "run trials in child processes: a crash ends a trial, not the search",
        bool,
    ),
    Flag(
        "--trial-timeout",
        "trial_timeout_s",
        "SECONDS",
        "end a trial after this time: it has failed (default: 20 float32 runs, a minute at least)",
        values.number("--trial-timeout"),
    ),
    *PROVIDER_FLAGS,
    Flag(
        "--device",
        "devices",
        "N ...",
        "device ids that sessions are spread over (default 0)",
        _devices,
    ),
    Flag(
        "--optimise",
        "optimise",
        "disabled|basic|extended|all",
        "ONNX Runtime's optimisation level in trials (default all)",
        values.last,
    ),
    Flag(
        "--feedback",
        "feedback",
        "OUT:IN",
        "roll a sample over its steps, this output fed to this input; may be repeated",
        split_feedback,
    ),
    Flag(
        "--assume-fused",
        "assume_fused",
        "",
        "round at the borders of a group of nodes only, as if it were one kernel",
        bool,
    ),
    Flag(
        "--workspace",
        "workspace",
        "DIR",
        "a folder for journal, plan and models (fp32.onnx, fp16.onnx, deploy.onnx); a search in it "
        "is resumed",
        values.path,
    ),
    Flag("--clean", "clean", "", "empty the workspace first", bool),
)
TOLERANCE_FLAGS = (
    ToleranceFlag(
        "--rtol",
        "rtol",
        "[OUT:]X",
        "relative tolerance (default 1e-2), for one output with its name before a colon",
        0.0,
        math.inf,
    ),
    ToleranceFlag("--atol", "atol", "[OUT:]X", "absolute tolerance (default 1e-2)", 0.0, math.inf),
    ToleranceFlag(
        "--ntol",
        "ntol",
        "[OUT:]X",
        "share of elements that may lie outside the tolerance (default 0)",
        0.0,
        1.0,
    ),
    ToleranceFlag(
        "--cos-sim",
        "cos_sim",
        "[OUT:]X",
        f"least cosine similarity, in place of the tolerances ({_DEFAULT_COSINE} without a value)",
        -1.0,
        1.0,
    ),
    ToleranceFlag(
        "--norm-rel",
        "norm_rel",
        "[OUT:]X",
        "largest |1 - ratio| of the norms of an output and its reference (default: any)",
        0.0,
        math.inf,
    ),
)
# `convert` has flags of its own, `tolerances` has five, `validate_only` follows from the others,
# and `progress` makes sense only in a program.
WITHOUT_FLAG = {"convert", "tolerances", "validate_only", "progress"}


def add_search_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for every field of SearchOptions but WITHOUT_FLAG, and those of tolerances."""
    add_tolerance_flags(parser)
    add_flags(parser.add_argument_group("search"), FLAGS)


def add_tolerance_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for every field of OutputTolerance."""
    group = parser.add_argument_group("tolerance")
    for tolerance in TOLERANCE_FLAGS:
        optional = {"nargs": "?", "const": _DEFAULT_COSINE} if tolerance.field == "cos_sim" else {}
        group.add_argument(
            tolerance.name,
            dest=tolerance.field,
            metavar=tolerance.metavar,
            help=tolerance.help,
            action="append",
            **optional,  # type: ignore[arg-type]  # argparse's own keywords
        )


def search_options(
    parsed: argparse.Namespace, source: Path | None = None, **more: object
) -> SearchOptions:
    """The options that the given flags describe, those of the conversion included, with `more`.

    `source` is the model, whose names say where a pair of `--feedback` is divided; None: at its
    last colon.

    Raises:
        OptionError: a value is not understood or not allowed.
        ModelError: the model's names are needed, and it cannot be read.
    """
    simplify = simplify_options(parsed)
    made: dict[str, object] = {"convert": convert_options(parsed, simplify=simplify), **more}
    made |= given_fields(FLAGS, parsed)
    if source is not None and "feedback" in made:
        made["feedback"] = feedback_pairs(parsed.feedback, source)
    tolerances = given_tolerances(parsed)
    if tolerances is not None:
        made["tolerances"] = tolerances
    if "validate" in made:
        made["validate"] = load_function(str(made["validate"]), "--validate")
        made["validate_only"] = tolerances is None
    return SearchOptions(**made)  # type: ignore[arg-type]  # FLAGS has one type for each field


def shown_options(options: SearchOptions) -> dict[str, object]:
    """The options of a search by name, in plain values, for a report: what may change a result."""
    hidden = {"convert", "tolerances", "validate", "progress", "workspace", "clean", "workers"}
    shown = {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if field.name not in hidden
    }
    validate = options.validate
    name = None if validate is None else getattr(validate, "__qualname__", repr(validate))
    tolerances = {"": options.tolerances.default, **options.tolerances.outputs}
    return {
        "tolerances": {output or "all": _shown(tolerances[output]) for output in tolerances},
        "validate": name,
        **{key: dict(v) if isinstance(v, Mapping) else v for key, v in shown.items()},
    }


def _shown(tolerance: OutputTolerance) -> str:
    limits = {flag.field: getattr(tolerance, flag.field) for flag in TOLERANCE_FLAGS}
    return " ".join(f"{name} {limit:g}" for name, limit in limits.items() if limit is not None)


def given_tolerances(parsed: argparse.Namespace) -> Tolerances | None:
    """The tolerances that the given flags describe; None where none was given.

    Raises:
        OptionError: a value is not understood or not allowed.
    """
    given = [flag for flag in TOLERANCE_FLAGS if hasattr(parsed, flag.field)]
    if not given:
        return None
    common: dict[str, float] = {}
    outputs: dict[str, dict[str, float]] = {}
    for flag in given:
        for text in getattr(parsed, flag.field):
            output, value = _tolerance(flag, text)
            (outputs.setdefault(output, {}) if output else common)[flag.field] = value
    return Tolerances(
        OutputTolerance(**common),
        {name: OutputTolerance(**{**common, **own}) for name, own in outputs.items()},
    )


def _tolerance(flag: ToleranceFlag, text: str) -> tuple[str, float]:
    """An output's name, or "" for all, and the value; a name may hold colons itself."""
    output, _, number = text.rpartition(":")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not flag.low <= value <= flag.high or math.isinf(value):
        limits = f"from {flag.low:g}" + ("" if math.isinf(flag.high) else f" to {flag.high:g}")
        raise OptionError(
            f"{flag.name} is {text!r}; allowed: a number {limits}, or OUTPUT:NUMBER for one output"
        )
    return output, value
