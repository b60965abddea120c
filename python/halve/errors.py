"""The error tree: every failure that a user can cause or meet is one of these classes."""

__all__ = [
    "BackendUnavailableError",
    "CastError",
    "ComparisonError",
    "DataError",
    "HalveError",
    "ModelError",
    "OptionError",
    "OutputError",
    "PlanError",
    "SampleError",
    "SessionError",
    "UnsupportedModelError",
    "VerdictError",
    "WorkspaceError",
    "was_interrupted",
]


class HalveError(Exception):
    """Base of all errors raised by halve on purpose.

    The message says what went wrong, where (file, node, tensor, byte offset), what was received,
    what is allowed and the next step. A file that was there before the call is untouched.
    """


class OptionError(HalveError, ValueError):
    """An option, flag or argument has a value that is not allowed."""


class ModelError(HalveError, ValueError):
    """A model file is truncated, not ONNX, or contradicts itself."""


class UnsupportedModelError(ModelError):
    """A valid model uses something that this version cannot convert."""


class DataError(ModelError):
    """A tensor's payload is missing, short, overlapping, out of range or outside the folder."""


class PlanError(HalveError, ValueError):
    """A plan is malformed, or belongs to another model."""


class CastError(HalveError, ValueError):
    """A cast was asked for with arrays, types or bounds that do not fit together."""


class ComparisonError(HalveError, ValueError):
    """A comparison was asked for with arrays, types or tolerances that do not fit together."""


class OutputError(HalveError, OSError):
    """The output could not be written (full disk, no permission, OUT is IN)."""


class SampleError(HalveError, ValueError):
    """A sample is missing, unreadable, or does not fit the model's inputs."""


class SessionError(HalveError, RuntimeError):
    """ONNX Runtime could not load or run a model."""


class BackendUnavailableError(HalveError, RuntimeError):
    """A kernel backend, provider or module was asked for that this machine or build lacks."""


class VerdictError(HalveError, RuntimeError, ValueError):
    """A model cannot be judged, its own float32 run failing its check, or nothing passes.

    A ValueError, too: that is what onnxconverter-common raises there.
    """


class WorkspaceError(HalveError, ValueError):
    """A workspace or a journal is of another model, other samples or other options."""


def was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is what caused `error`: a compiled module that is interrupted while it is
    imported says ImportError, with the interrupt as its cause.
    """
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__cause__
    return behind is not None
