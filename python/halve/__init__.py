"""Turn float32 ONNX models into float16, bfloat16 and mixed-precision models."""

__version__ = "0.1.0"
