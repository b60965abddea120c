"""Which nodes of a model's file run in another way than the file says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from halve.bench_types import PlacedNode
from halve.plan import Analysis, analyse
from halve.plan.analysis import NodeInfo
from halve.session.footprint import NodeRun
from halve.source import open_model, text
from halve.types import DType

__all__ = ["HalfNodes", "half_nodes"]

_HALF = (DType.FLOAT16, DType.BFLOAT16)
_HALF_NAMES = {"float16", "bfloat16"}
# How ONNX Runtime names the casts that it puts around nodes without a 16-bit kernel.
_INSERTED = "InsertedPrecisionFreeCast_"


class HalfNodes:
    """A model's nodes with 16-bit operands, and what became of its nodes in a run."""

    def __init__(self, analysis: Analysis) -> None:
        """Of the main graph: what runs inside a body cannot be told apart by its place."""
        self._nodes = analysis.main.nodes
        self._named = _unique(self._nodes)
        self.half = frozenset(node.id for node in self._nodes if _is_half(node))

    def in_float32(self, rows: Iterable[NodeRun]) -> tuple[PlacedNode, ...]:
        """The 16-bit nodes that computed in float32."""
        found = [
            (node, row)
            for node, row in self._matched(rows)
            if node.id in self.half and "float" in row.types and not _HALF_NAMES & {*row.types}
        ]
        return tuple(_placed(node, row) for node, row in found)

    def elsewhere(self, rows: Iterable[NodeRun], provider: str) -> tuple[PlacedNode, ...]:
        """The nodes that another provider ran."""
        matched = self._matched(rows)
        return tuple(_placed(node, row) for node, row in matched if row.provider != provider)

    def inserted_casts(self, rows: Iterable[NodeRun]) -> int:
        """Casts that ONNX Runtime added and the file does not have."""
        return sum(
            row.op_type == "Cast" and row.name.startswith(_INSERTED) and row.name not in self._named
            for row in rows
        )

    def _matched(self, rows: Iterable[NodeRun]) -> list[tuple[NodeInfo, NodeRun]]:
        pairs = [(self._find(row), row) for row in rows]
        return [(node, row) for node, row in pairs if node is not None]

    def _find(self, row: NodeRun) -> NodeInfo | None:
        """By name where that is one node's, else by place."""
        node = self._named.get(row.name)
        if node is None and 0 <= row.index < len(self._nodes):
            node = self._nodes[row.index]
        return node if node is not None and node.op_type == row.op_type else None


def half_nodes(path: Path) -> tuple[HalfNodes, int]:
    """A model's nodes, and its size in bytes with its external data.

    Raises:
        ModelError, DataError: it cannot be read.
    """
    model = open_model(path)
    files = [path, *model.data_files]
    return HalfNodes(analyse(model.proto)), sum(file.stat().st_size for file in files)


def _unique(nodes: Sequence[NodeInfo]) -> Mapping[str, NodeInfo]:
    named = {node.name: node for node in nodes if node.name}
    count: dict[str, int] = {}
    for node in nodes:
        count[node.name] = count.get(node.name, 0) + 1
    return {name: node for name, node in named.items() if count[name] == 1}


def _is_half(node: NodeInfo) -> bool:
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    return node.op_type not in ("Cast", "Constant") and any(v.elem in _HALF for v in values)


def _placed(node: NodeInfo, row: NodeRun) -> PlacedNode:
    return PlacedNode(node.id, text(node.proto.name), node.op_type, row.provider, row.types)
