"""What a file is that is not an ONNX model, by its first bytes."""

from __future__ import annotations

__all__ = ["HEAD_BYTES", "describe"]

HEAD_BYTES = 64
_STARTS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file: run git lfs pull"),
    (b"{", "JSON; halve reads ONNX in binary form"),
    (b"<", "HTML or XML: a download may have returned a page in place of the file"),
    (b"PK\x03\x04", "a zip archive (as PyTorch saves them): unpack it, or export to ONNX"),
    (b"\x1f\x8b", "a gzip file: unpack it"),
    (b"\x89HDF", "an HDF5 file (as Keras saves them): export the model to ONNX"),
    (b"GGUF", "a GGUF file: export the model to ONNX"),
    (b"\x80", "a Python pickle: export the model to ONNX"),
    (b"ir_version", "ONNX in text form: convert it with onnx.parser or protobuf's text_format"),
)


def describe(head: bytes) -> str:
    """Words for a file that begins with `head`, or "" where nothing is known about it."""
    if head[4:8] == b"ORTM":
        return "an .ort file of ONNX Runtime: convert the ONNX model that it was made from"
    stripped = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((words for start, words in _STARTS if stripped.startswith(start)), "")
