"""CUDA's libraries from the packages that an environment has them in.

ONNX Runtime's providers name the libraries that they need and no folder: the system's loader finds
a toolkit's, and none of a package. Those that are loaded beforehand are found by their names.
`onnxruntime.preload_dlls` looks beside its own package alone, prints what it misses, and is not
there in ONNX Runtime 1.20.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from halve.session.providers import ON_DEVICE

__all__ = ["load_provider_libraries"]

_LOGGER = logging.getLogger(__name__)

# In the order of what they need of each other; cuDNN finds its other parts itself.
_LIBRARIES = ("cudart", "nvrtc", "cublasLt", "cublas", "curand", "cufft", "cudnn")
# Up to CUDA 12 there is a package a library; from 13 on they share one, cuDNN apart.
_FOLDERS = ("cuda_runtime", "cuda_nvrtc", "cublas", "curand", "cufft", "cudnn")
_SHARED_SINCE = 13


def load_provider_libraries(ort: ModuleType, provider: str) -> tuple[Path, ...]:
    """Load, once, what a provider on CUDA devices needs and the packages `nvidia` on sys.path have:
    the files. What is missing or cannot be loaded is left to the provider, which then says so.
    """
    version = str(getattr(ort, "cuda_version", "") or "").partition(".")[0]
    if provider not in ON_DEVICE or sys.platform != "linux" or not version.isdigit():
        return ()
    return _load(int(version))


@functools.cache
def _load(cuda: int) -> tuple[Path, ...]:
    loaded = []
    for path in _files(cuda):
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            _LOGGER.info("%s cannot be loaded: %s", path, error)
        else:
            loaded.append(path)
    return tuple(loaded)


def _files(cuda: int) -> Iterator[Path]:
    spec = importlib.util.find_spec("nvidia")
    roots = [] if spec is None else list(spec.submodule_search_locations or ())
    folders = _FOLDERS if cuda < _SHARED_SINCE else (f"cu{cuda}", "cudnn")
    for name in _LIBRARIES:
        for root in roots:
            for folder in folders:
                yield from sorted(Path(root, folder, "lib").glob(f"lib{name}.so.*"))
