"""How much of each trained model becomes float16, with how many casts, and whether it works.

    HALVE_MODELS=... python benchmarks/coverage.py --json coverage.json

Each folder of $HALVE_MODELS holds a model.onnx and its samples. halve converts it for every
target, the peers with the arguments that serve them best, both with float32 inputs and outputs
and without. A result works if ONNX Runtime loads it and it is right under true rounding: every
float16 tensor rounded, arithmetic in float32, the error within the bound that an all-float16
model of this network is known to keep. "refused" marks what the checker (full_check) rejects.

The share counts the float32 values of the source (weights, inputs and results of nodes, in all
scopes, Constants among the weights) that a result holds in float16 alone; `casts` are its Cast
nodes beyond the source's. A value has the type in which it is made: some converters give its name
to a cast behind it, others to what is made. A peer that blocks operators by itself is compared with
halve blocking the same ones, too.

A peer that works is ahead of halve with a larger share, or with as large a one and fewer casts. A
larger share that takes more casts is listed apart, with both errors.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto
from timing import versions, write_json

from halve.convert import convert
from halve.float16 import DEFAULT_OP_BLOCK_LIST
from halve.options import ConvertOptions
from halve.plan import analyse
from halve.plan.analysis import Value
from halve.session import Judgement, judge, load, read_samples

FLOAT, FLOAT16 = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)
# basic_pitch adds 1e-10 before a logarithm: a converter that lets it become 0 makes NaN. All tools
# are given the smallest float16 as the least magnitude.
_LEAST = 2.0**-24
# The largest error and least cosine, over all samples, of a correct float16 conversion: those
# published with the models for sample 0, widened for the others. None: no such bound is known,
# and only infinities and NaN count as wrong.
BOUNDS: dict[str, tuple[float, float] | None] = {
    "dtln_1": (2e-2, 0.9999),
    "ultraface_rfb": (4.25e-3, 0.99999),
    "mnist_cntk": (3.15, 0.99999),
    "fastestdet": (6.8, 0.99999),
    "yunet": (8e-3, 0.9999),
    "basic_pitch": (0.23, 0.985),
    # 3.2e-3 on sample 0; fitted on the others, where all-float16 models reach 8.4e-3.
    "silero_vad_ifless": (1.05e-2, 0.9999),
    "silero_vad_v3": None,
    "ultraface_nms": None,
    "fastestdet_qdq": None,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One tool on one model. `error` says where it stopped, `refusal` what the checker said;
    max_abs is over all samples.
    """

    model: str
    tool: str
    keep_io: bool
    loaded: bool = False
    right: bool = False
    values: int = 0
    half: int = 0
    casts: int = 0
    max_abs: float | None = None
    refusal: str = ""
    error: str = ""

    @property
    def works(self) -> bool:
        return self.loaded and self.right

    @property
    def share(self) -> float:
        return self.half / self.values if self.values else 0.0


Tool = Callable[[Path, bool], ModelProto]


def _halve(target: str, op_block: Callable[[], Sequence[str]] = tuple) -> Tool:
    def run(source: Path, keep_io: bool) -> ModelProto:
        options = ConvertOptions(
            target=target, keep_io_types=keep_io, op_block=tuple(op_block()), min_positive=_LEAST
        )
        model = convert(source, options=options).model
        if model is None:
            raise RuntimeError("halve returned no model")
        return model

    return run


def _common_list() -> Sequence[str]:
    return DEFAULT_OP_BLOCK_LIST


def _transformers_list() -> Sequence[str]:
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST as names

    return tuple(names)


def _common(source: Path, keep_io: bool) -> ModelProto:
    from onnxconverter_common.float16 import convert_float_to_float16

    return convert_float_to_float16(
        onnx.load(source), min_positive_val=_LEAST, max_finite_val=65504.0, keep_io_types=keep_io
    )


def _common_unblocked(source: Path, keep_io: bool) -> ModelProto:
    from onnxconverter_common.float16 import convert_float_to_float16

    return convert_float_to_float16(
        onnx.load(source),
        min_positive_val=_LEAST,
        max_finite_val=65504.0,
        keep_io_types=keep_io,
        op_block_list=[],
    )


def _transformers(source: Path, keep_io: bool) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(
        onnx.load(source), min_positive_val=_LEAST, max_finite_val=65504.0, keep_io_types=keep_io
    )


def _transformers_unblocked(source: Path, keep_io: bool) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(
        onnx.load(source),
        min_positive_val=_LEAST,
        max_finite_val=65504.0,
        keep_io_types=keep_io,
        op_block_list=[],
    )


def _autocast(source: Path, keep_io: bool) -> ModelProto:
    from modelopt.onnx.autocast import convert_to_f16

    return convert_to_f16(onnx.load(source), keep_io_types=keep_io)


TOOLS: dict[str, Tool] = {
    **{f"halve {target}": _halve(target) for target in ("any", "cuda", "cpu", "tensorrt")},
    "halve any, OCC's block list": _halve("any", _common_list),
    "halve any, ORT's block list": _halve("any", _transformers_list),
    "onnxconverter-common": _common,
    "onnxconverter-common, nothing blocked": _common_unblocked,
    "ort-transformers": _transformers,
    "ort-transformers, nothing blocked": _transformers_unblocked,
    "ModelOpt AutoCast": _autocast,
}
# What each peer is measured against: halve for the same operators.
RIVALS = {
    "onnxconverter-common": "halve any, OCC's block list",
    "onnxconverter-common, nothing blocked": "halve any",
    "ort-transformers": "halve any, ORT's block list",
    "ort-transformers, nothing blocked": "halve any",
    "ModelOpt AutoCast": "halve any",
}


def _nodes(body: GraphProto | FunctionProto) -> Iterator[NodeProto]:
    """All nodes of a body and of those below it."""
    for node in body.node:
        yield node
        yield from _inner_nodes(node)


def _inner_nodes(node: NodeProto) -> Iterator[NodeProto]:
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
        for graph in graphs:
            yield from _nodes(graph)


def _cast_count(model: ModelProto) -> int:
    bodies: list[GraphProto | FunctionProto] = [model.graph, *model.functions]
    return sum(node.op_type == "Cast" for body in bodies for node in _nodes(body))


def _values(model: ModelProto) -> dict[tuple[str, str], Value]:
    """(scope, name) -> value, by halve's own inference, with places instead of ids.

    A scope is named by the operators and attributes above it and its place among those alike, so
    that casts and renamed nodes do not shift it.
    """
    analysis = analyse(model)
    names: dict[int, str] = {}
    seen: dict[str, int] = {}
    found: dict[tuple[str, str], Value] = {}
    for scope in analysis.scopes:
        owner = scope.owner
        above = names[id(owner.scope)] if owner is not None else ""
        label = next((k for k, body in owner.bodies.items() if body is scope), "") if owner else ""
        path = f"{above}/{owner.op_type}.{label}" if owner else ""
        number = seen.get(path, 0)
        seen[path] = number + 1
        names[id(scope)] = f"{path}#{number}"
        for value in scope.values.values():
            found[names[id(scope)], str(value.name)] = value
    return found


def _made_by_cast(value: Value) -> bool:
    return value.source is not None and value.source[0].op_type == "Cast"


def _made_type(value: Value, own_casts: Container[str]) -> int:
    """The type in which a value is made, seen through Casts that are not the source's own."""
    while value.source is not None and _made_by_cast(value) and str(value.name) not in own_casts:
        given = value.source[0].inputs[0]
        if given is None:
            break
        value = given
    return value.elem


def _half_values(source: ModelProto, result: ModelProto) -> tuple[int, int]:
    """(float32 values of the source, those among them that the result has in float16 alone)."""
    before, after = _values(source), _values(result)
    floats = [key for key, value in before.items() if value.elem == FLOAT]
    own_casts = {str(value.name) for value in before.values() if _made_by_cast(value)}
    made = [_made_type(after[key], own_casts) for key in floats if key in after]
    return len(floats), sum(elem == FLOAT16 for elem in made)


def _refusal(model: ModelProto) -> str:
    """What the checker says against a model; "" where it accepts it."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # its errors share no class below this
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"[:240]
    return ""


def _sort(graph: GraphProto) -> None:
    """Put nodes behind those they read, as ONNX Runtime does itself when it loads a model."""
    made = {name for node in graph.node for name in node.output}
    waiting = list(graph.node)
    done: list[NodeProto] = []
    while waiting:
        ready = [node for node in waiting if not made.intersection(_reads(node))]
        if not ready:
            raise ValueError("the nodes form a cycle")
        done += ready
        made.difference_update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if made.intersection(node.output)]
    ordered = [NodeProto.FromString(node.SerializeToString()) for node in done]
    del graph.node[:]
    graph.node.extend(ordered)


def _reads(node: NodeProto) -> set[str]:
    """Names that a node or the bodies below it read; a body's own names do no harm."""
    return {*node.input, *(name for inner in _inner_nodes(node) for name in inner.input)}


def _is_right(verdict: Judgement, bound: tuple[float, float] | None) -> bool:
    rows = [row for sample in verdict.samples for row in sample.outputs]
    if any(row.nonfinite for row in rows):
        return False
    if bound is None:
        return True
    return all(row.max_abs <= bound[0] and row.cosine >= bound[1] for row in rows)


def _measure(folder: Path, tool: str, keep_io: bool) -> Row:
    source = folder / "model.onnx"
    known: dict[str, object] = {"model": folder.name, "tool": tool, "keep_io": keep_io}
    step = "converts"
    try:
        result = TOOLS[tool](source, keep_io)
        before = onnx.load(source)
        values, half = _half_values(before, result)
        known |= {"values": values, "half": half}
        known["casts"] = _cast_count(result) - _cast_count(before)
        known["refusal"] = _refusal(result)
        step = "loads"
        load(result)
        known["loaded"] = True
        step = "is judged"
        _sort(result.graph)
        verdict = judge(source, result, read_samples(folder))
        errors = [row.max_abs for sample in verdict.samples for row in sample.outputs]
        known |= {"max_abs": max(errors), "right": _is_right(verdict, BOUNDS.get(folder.name))}
    except Exception as error:  # whatever a peer raises is its result
        known["error"] = f"{step}: {type(error).__name__}: {str(error).splitlines()[:1]}"[:240]
    return Row(**known)  # type: ignore[arg-type]


def _pairs(rows: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Each peer's row where it works, accepted by the checker or not, with halve's for it."""
    by_key: Mapping[tuple[str, str, bool], Row] = {(r.model, r.tool, r.keep_io): r for r in rows}
    for row in rows:
        rival = RIVALS.get(row.tool)
        if rival is not None and row.works:
            yield row, by_key[row.model, rival, row.keep_io]


def _is_ahead(peer: Row, ours: Row) -> bool:
    if not ours.works or ours.refusal:
        return True
    if peer.half == ours.half:
        return peer.casts < ours.casts
    return peer.half > ours.half and peer.casts <= ours.casts


def _is_trade(peer: Row, ours: Row) -> bool:
    return peer.half > ours.half and not _is_ahead(peer, ours)


def _said(pairs: Iterable[tuple[Row, Row]]) -> list[str]:
    """A line a pair: how much is float16, with how many casts, and the error."""
    lines = []
    for pair in pairs:
        sides = [
            f"{row.tool} {row.half} of {row.values} with {row.casts} casts,"
            f" error {'none' if row.max_abs is None else format(row.max_abs, '.3g')}"
            for row in pair
        ]
        lines.append(f"{pair[0].model} (keep_io {pair[0].keep_io}): {'; '.join(sides)}")
    return lines or ["nowhere"]


def _cell(row: Row) -> str:
    if not row.works:
        step = "not right" if row.loaded else "does not load" if row.values else "fails"
        return step + (" (refused)" if row.refusal else "")
    return f"{100 * row.share:.1f} %, {row.casts}" + (" (refused)" if row.refusal else "")


def table(rows: Sequence[Row], keep_io: bool) -> str:
    """Markdown: a row a model, a column a tool: share of float16 and casts inserted; then on how
    many models a tool's result works.
    """
    names = list(dict.fromkeys(row.model for row in rows))
    tools = list(dict.fromkeys(row.tool for row in rows))
    cells = {(row.model, row.tool): _cell(row) for row in rows if row.keep_io == keep_io}
    lines = [f"| | {' | '.join(tools)} |", "|---" * (len(tools) + 1) + "|"]
    lines += [f"| {n} | {' | '.join(cells[n, tool] for tool in tools)} |" for n in names]
    works = [row.tool for row in rows if row.keep_io == keep_io and row.works]
    lines.append(f"| right, of {len(names)} | {' | '.join(str(works.count(t)) for t in tools)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, default=Path(os.environ.get("HALVE_MODELS", ".")))
    parser.add_argument("--only", nargs="+", help="names of models")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    folders = sorted(path.parent for path in args.models.glob("*/model.onnx"))
    rows = []
    for folder in folders:
        if args.only and folder.name not in args.only:
            continue
        for keep_io in (False, True):
            for tool in args.tools:
                rows.append(_measure(folder, tool, keep_io))
                print(rows[-1], file=sys.stderr, flush=True)
    for keep_io in (False, True):
        print(f"\nkeep_io_types={keep_io}\n\n{table(rows, keep_io)}")
    pairs = list(_pairs(rows))
    for title, test in (
        ("where a working peer is ahead:", _is_ahead),
        ("where one has more with more casts:", _is_trade),
    ):
        print(f"\n{title}", *_said(pair for pair in pairs if test(*pair)), sep="\n")
    if args.json is not None:
        found = versions("onnx", "onnxruntime", "onnxconverter-common", "nvidia-modelopt")
        write_json(args.json, {"versions": found, "rows": [asdict(row) for row in rows]})
    return 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # peers leave files where they are run
        raise SystemExit(main())
