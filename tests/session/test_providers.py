"""What providers are asked for, and what their failures say."""

from __future__ import annotations

import numpy as np
import pytest

import halve
from fake_runtime import FakeRuntime
from halve.errors import OptionError, SessionError
from halve.search_options import SearchOptions
from halve.session.providers import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    TENSORRT_PROVIDER,
    check_types_kept,
    is_out_of_memory,
)
from halve.session.runtime import load
from onnx_text import parse


@pytest.mark.parametrize(
    "text",
    [
        "CUDA failure 2: out of memory ; GPU=0",
        "BFCArena: Available memory of 1024 is smaller than requested bytes of 4096",
        "Failed to allocate memory for requested buffer of size 512",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
        "CUDNN failure 4003: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUBLAS failure 1: CUBLAS_STATUS_NOT_INITIALIZED",
    ],
)
def test_words_for_lack_of_memory(text: str) -> None:
    assert is_out_of_memory(SessionError(text))
    assert not is_out_of_memory(SessionError("no such node"))


def test_providers_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRuntime([TENSORRT_PROVIDER, CUDA_PROVIDER, "ROCMExecutionProvider", CPU_PROVIDER])
    monkeypatch.setattr("halve.session.runtime.runtime_module", lambda **_: fake)
    model = parse("g (float[2] x) => (float[2] y) { y = Sin(x) }")
    given = {"device_id": "3", "user_option": "1"}
    for provider in (TENSORRT_PROVIDER, CUDA_PROVIDER, "ROCMExecutionProvider", CPU_PROVIDER):
        load(model, provider=provider, provider_options=given)
    pinned = {
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }
    typed = {"trt_fp16_enable": "0", "trt_int8_enable": "0"}
    assert [rows for _, rows in fake.sessions] == [
        [(TENSORRT_PROVIDER, typed | given), (CUDA_PROVIDER, pinned | {"device_id": "3"})],
        [(CUDA_PROVIDER, pinned | given)],
        [("ROCMExecutionProvider", given)],
        [(CPU_PROVIDER, given)],
    ]
    deterministic = [options.use_deterministic_compute for options, _ in fake.sessions]
    assert deterministic == [True, True, True, False]


@pytest.mark.parametrize("key", ["trt_fp16_enable", "trt_int8_enable", "trt_bf16_enable"])
def test_tensorrt_may_not_choose_types_in_a_search(key: str) -> None:
    options = SearchOptions(provider=TENSORRT_PROVIDER, provider_options={key: "1"})
    with pytest.raises(OptionError, match=rf"{key} is '1': TensorRT would choose types itself"):
        halve.search("model.onnx", {"x": np.zeros(2, np.float32)}, options=options)
    check_types_kept(TENSORRT_PROVIDER, {key: "0"})
    check_types_kept(CUDA_PROVIDER, {key: "1"})
