"""Execution providers: what is pinned of them, where they compute, and how they say that memory is
short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from halve.errors import OptionError

__all__ = [
    "CPU_PROVIDER",
    "CUDA_PROVIDER",
    "ON_DEVICE",
    "TENSORRT_PROVIDER",
    "check_types_kept",
    "is_out_of_memory",
    "memory_of",
    "provider_rows",
]

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
# Those whose sessions read and write a CUDA device's memory.
ON_DEVICE = (CUDA_PROVIDER, TENSORRT_PROVIDER)

# TensorFloat-32 keeps 10 bits of significand: neither a reference nor a float32 node may use it.
# An arena that grows by what is asked for holds no more than the largest run needed.
_CUDA_OPTIONS = {
    "use_tf32": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
}
# Whoever lets TensorRT use other types than the model's has no network that is typed strongly, and
# learns nothing of the model's. Named, they also go before the environment's variables.
_TENSORRT_OPTIONS = {"trt_fp16_enable": "0", "trt_int8_enable": "0"}
_FREE_TYPES = (*_TENSORRT_OPTIONS, "trt_bf16_enable")
_OFF = ("0", "false", "")
_PINNED = {CUDA_PROVIDER: _CUDA_OPTIONS, TENSORRT_PROVIDER: _TENSORRT_OPTIONS}
# Who takes the nodes that a provider leaves, before the CPU does.
_FALLBACKS = {TENSORRT_PROVIDER: CUDA_PROVIDER}
# How ONNX Runtime and the libraries below it say that a device has no memory left. Those libraries
# say that they are "not initialized" where there is none for a handle of theirs.
_OUT_OF_MEMORY = (
    "out of memory",
    "failed to allocate memory",
    "available memory of",
    "alloc_failed",
    "allocation_failed",
    "status_not_initialized",
    "bad_alloc",
    "bad allocation",
)


def provider_rows(
    provider: str, options: Mapping[str, str], available: Iterable[str]
) -> list[tuple[str, dict[str, str]]]:
    """The provider, and who takes what it leaves, on the same device, each with its options.

    `options` go before what is pinned.
    """
    rows = [(provider, _PINNED.get(provider, {}) | dict(options))]
    fallback = _FALLBACKS.get(provider)
    if fallback is not None and fallback in available:
        place = {key: value for key, value in options.items() if key == "device_id"}
        rows.append((fallback, _PINNED[fallback] | place))
    return rows


def check_types_kept(provider: str, options: Mapping[str, str]) -> None:
    """Refuse options by which a provider computes in other types than the model's.

    Raises:
        OptionError: one of TensorRT's that let it choose.
    """
    for key in _FREE_TYPES if provider == TENSORRT_PROVIDER else ():
        if str(options.get(key, "0")).lower() not in _OFF:
            raise OptionError(
                f"provider option {key} is {options[key]!r}: TensorRT would choose types itself,"
                " and nothing would be learned of the model's; allowed: leave it out"
            )


def memory_of(provider: str) -> str:
    """ONNX Runtime's name for the memory that a provider computes in."""
    return "cuda" if provider in ON_DEVICE else "cpu"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory did not do."""
    text = str(error).lower()
    return any(words in text for words in _OUT_OF_MEMORY)
