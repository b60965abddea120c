"""A search with the types and the tolerance that most of its tests have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

import halve
from halve import ConvertOptions, OutputTolerance, SearchOptions, Tolerances
from halve.search_types import SearchResult

TIGHT = Tolerances(OutputTolerance(1e-2, 1e-3))
KEPT = ConvertOptions(keep_io_types=True, target="any")
GENERATOR = np.random.default_rng(3)


def normal(*shape: int, scale: float = 1.0) -> NDArray[np.float32]:
    return (GENERATOR.standard_normal(shape) * scale).astype(np.float32)


def find(model: ModelProto, *feeds: dict[str, NDArray[Any]], **fields: Any) -> SearchResult:
    fields.setdefault("convert", KEPT)
    fields.setdefault("tolerances", TIGHT)
    return halve.search(model, list(feeds), options=SearchOptions(**fields))
