"""ONNX Runtime behind one door: pinned options, checked feeds, errors that say where."""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

import contextlib
import importlib.metadata
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from halve.errors import BackendUnavailableError, OptionError, SessionError
from halve.session.feeds import Port, check_feeds, is_bfloat16
from halve.session.providers import CPU_PROVIDER, memory_of, provider_rows

__all__ = [
    "CPU_PROVIDER",
    "OLDEST_SUPPORTED",
    "OPTIMISE_LEVELS",
    "Run",
    "RuntimeInfo",
    "Session",
    "describe_runtime",
    "load",
    "operator_schemas",
    "run",
    "run_bound",
    "upload",
]

OPTIMISE_LEVELS = ("disabled", "basic", "extended", "all")
OLDEST_SUPPORTED = (1, 20)

_LEVEL_ATTRIBUTES = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
# Cast chain elimination would erase the pairs that round (it is off by default, and pinned so);
# a spinning pool takes cores from the sessions beside it.
_CONFIG = {
    "optimization.enable_cast_chain_elimination": "0",
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
}
_DATA_FOLDER_KEY = "session.model_external_initializers_file_folder_path"
_DATA_FOLDER_SINCE = (1, 21)
_FATAL_ONLY = 4  # ONNX Runtime's log level; what it would print is in the exception as well
_INSTALL_HINT = "install one of the extras: halve[cpu], halve[cuda12] or halve[cuda13]"


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded model, safe to run from several threads.

    `where` names the model for messages. `optional` are inputs with a default (initializers that
    are graph inputs too). `held` are values that it uses and that must live as long.
    """

    inner: Any
    where: str
    provider: str
    inputs: tuple[Port, ...]
    optional: tuple[Port, ...]
    outputs: tuple[Port, ...]
    held: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What this machine's ONNX Runtime is; `version` is empty where none is installed."""

    version: str
    distribution: str
    providers: tuple[str, ...]
    supported: bool
    supported_range: str
    note: str
    tf32: str


def describe_runtime() -> RuntimeInfo:
    """Version, providers and caveats of the installed ONNX Runtime, which may be absent."""
    oldest = ".".join(map(str, OLDEST_SUPPORTED))
    try:
        ort = _onnxruntime(check_version=False)
    except BackendUnavailableError as error:
        return RuntimeInfo("", "", (), False, f">= {oldest}", str(error), "no CUDA provider here")
    providers = tuple(ort.get_available_providers())
    supported = _version_tuple(ort.__version__) >= OLDEST_SUPPORTED
    note = "" if supported else f"too old; {_INSTALL_HINT}"
    return RuntimeInfo(
        version=ort.__version__,
        distribution=_distribution(),
        providers=providers,
        supported=supported,
        supported_range=f">= {oldest}",
        note=note,
        tf32=_tf32_note(providers),
    )


def load(  # noqa: PLR0913 - keywords, all with defaults
    model: Path | str | bytes | ModelProto,
    *,
    provider: str = CPU_PROVIDER,
    optimise: bool | str = True,
    threads: int = 1,
    custom_op_library: Path | None = None,
    external_data_folder: Path | None = None,
    provider_options: Mapping[str, str] | None = None,
    session_options: Mapping[str, str] | None = None,
    shared: Mapping[str, Any] | None = None,
    where: str = "",
) -> Session:
    """Load a model.

    A path is opened by ONNX Runtime itself, so it may be of any size; bytes and a ModelProto are
    limited to protobuf's 2 GiB, and find external data in `external_data_folder`. `optimise` is
    True ("all"), False ("disabled") or a name of OPTIMISE_LEVELS. `threads` are those inside a
    node; nodes always run one after the other. `provider_options` and `session_options` add to
    those that are pinned here, by ONNX Runtime's names. `shared` are initializers of the main
    graph as values of `upload`, which the session uses where they lie. `where` names the model for
    messages. On other providers than the CPU's, algorithms are deterministic.

    Raises:
        BackendUnavailableError: ONNX Runtime or the provider is not here.
        OptionError: `optimise` or `threads` has a value that is not allowed.
        SessionError: ONNX Runtime refuses the model.
    """
    ort = _onnxruntime()
    _check_provider(provider, ort.get_available_providers())
    label = where or (str(model) if isinstance(model, Path | str) else "model in memory")
    data_folder = external_data_folder if _takes_data_folder(ort) else None
    options = _session_options(ort, optimise, threads, data_folder)
    for key, value in (session_options or {}).items():
        options.add_session_config_entry(key, value)
    options.use_deterministic_compute = provider != CPU_PROVIDER
    try:
        for name, initializer in (shared or {}).items():
            options.add_initializer(name, initializer)
        if custom_op_library is not None:
            options.register_custom_ops_library(_library_path(custom_op_library))
        argument = _model_argument(model, label)
        with _beside_its_data(ort, argument, external_data_folder) as given:
            inner = ort.InferenceSession(
                given,
                options,
                providers=provider_rows(
                    provider, provider_options or {}, ort.get_available_providers()
                ),
            )
    except _runtime_errors(ort) as error:
        raise SessionError(
            f"{label}: ONNX Runtime {ort.__version__} cannot load it on {provider}: "
            f"{_one_line(error)}; check the file with onnx.checker.check_model"
        ) from error
    # A provider whose libraries are missing is dropped by ONNX Runtime without an error.
    _check_provider(provider, inner.get_providers())
    return Session(
        inner=inner,
        where=label,
        provider=provider,
        inputs=_ports(inner.get_inputs()),
        optional=_ports(inner.get_overridable_initializers()),
        outputs=_ports(inner.get_outputs()),
        held=tuple((shared or {}).values()),
    )


class Run:
    """A handle on one run: a time limit, and a way to end it from another thread."""

    def __init__(
        self, timeout_s: float | None = None, config: Mapping[str, str] | None = None
    ) -> None:
        """A run that may take `timeout_s` seconds; None: any time. `config` are entries of ONNX
        Runtime's run configuration.
        """
        self.timeout_s = timeout_s
        self.ended = ""
        self._options = _onnxruntime().RunOptions()
        for key, value in (config or {}).items():
            self._options.add_run_config_entry(key, value)

    def end(self, reason: str = "it was ended") -> None:
        """Make the run raise a SessionError within about a node."""
        self.ended = reason
        self._options.terminate = True

    @contextlib.contextmanager
    def limit(self) -> Iterator[Any]:
        """ONNX Runtime's options of the run, under the time limit."""
        if self.timeout_s is None:
            yield self._options
            return
        reason = f"it passed its time limit of {self.timeout_s:g} s"
        timer = threading.Timer(self.timeout_s, self.end, [reason])
        timer.daemon = True
        timer.start()
        try:
            yield self._options
        finally:
            timer.cancel()


def run(
    session: Session,
    feeds: Mapping[str, NDArray[Any]],
    *,
    handle: Run | None = None,
    fetch: Sequence[str] | None = None,
) -> list[NDArray[Any]]:
    """Run once; the outputs in graph order, or those of `fetch`, as arrays of their own.

    A float32 array is rounded to nearest even where the model wants float16 or bfloat16; every
    other difference in type is an error. bfloat16 arrays have ml_dtypes' type.

    Raises:
        SampleError: an input is missing, unknown, or has the wrong type or shape.
        SessionError: ONNX Runtime fails while it runs.
    """
    ready = check_feeds(session.inputs, session.optional, feeds, session.where)
    ports = (*session.inputs, *session.optional, *session.outputs)
    try:
        if any(is_bfloat16(port) for port in ports):
            return _run_with_values(session, ready, fetch)
        if handle is None:
            return list(session.inner.run(fetch, ready))
        with handle.limit() as options:
            return list(session.inner.run(fetch, ready, options))
    except _runtime_errors(_onnxruntime()) as error:
        raise _run_error(session, handle, error) from error


def _run_error(session: Session, handle: Run | None, error: Exception) -> SessionError:
    if handle is not None and handle.ended:
        return SessionError(f"{session.where}: a run has no result: {handle.ended}")
    return SessionError(
        f"{session.where}: ONNX Runtime failed while running on {session.provider}: "
        f"{_one_line(error)}"
    )


def run_bound(
    session: Session,
    feeds: Mapping[str, NDArray[Any]],
    stay: Iterable[str],
    *,
    device: int,
    handle: Run | None = None,
) -> dict[str, Any]:
    """Run once with bound inputs and outputs; the outputs by name, as OrtValues.

    Those of `stay` stay in the memory of the provider's device, the others come to the processor's.

    Raises:
        SampleError, SessionError: as `run` raises.
    """
    from halve.session.values import to_value

    ort = _onnxruntime()
    ready = check_feeds(session.inputs, session.optional, feeds, session.where)
    kept = set(stay)
    try:
        binding = session.inner.io_binding()
        for name, array in ready.items():
            binding.bind_ortvalue_input(name, to_value(ort, array))
        for port in session.outputs:
            place = memory_of(session.provider) if port.name in kept else "cpu"
            binding.bind_output(port.name, place, device if place != "cpu" else 0)
        with (handle or Run()).limit() as options:
            session.inner.run_with_iobinding(binding, options)
        values = binding.get_outputs()
    except _runtime_errors(ort) as error:
        raise _run_error(session, handle, error) from error
    return {port.name: value for port, value in zip(session.outputs, values, strict=True)}


def upload(array: NDArray[Any], provider: str, device: int) -> Any:
    """A value with the array's content in the memory that a provider computes in.

    Raises:
        SessionError: there is no room.
    """
    ort = _onnxruntime()
    try:
        return ort.OrtValue.ortvalue_from_numpy(array, memory_of(provider), device)
    except _runtime_errors(ort) as error:
        raise SessionError(
            f"{array.nbytes} bytes of weights cannot be put on device {device}: {_one_line(error)}"
        ) from error


def _run_with_values(
    session: Session, feeds: Mapping[str, NDArray[Any]], fetch: Sequence[str] | None
) -> list[NDArray[Any]]:
    """As run, for models with bfloat16 inputs or outputs, which plain arrays cannot carry."""
    from halve.session.values import from_value, to_value

    ort = _onnxruntime()
    values = {name: to_value(ort, array) for name, array in feeds.items()}
    results = session.inner.run_with_ort_values(fetch, values)
    return [from_value(value, session.where) for value in results]


def _onnxruntime(*, check_version: bool = True) -> ModuleType:
    try:
        import onnxruntime as ort  # type: ignore[import-untyped]  # it ships no types
    except ImportError as error:
        raise BackendUnavailableError(
            f"ONNX Runtime cannot be imported ({error}); {_INSTALL_HINT}"
        ) from error
    if check_version and _version_tuple(ort.__version__) < OLDEST_SUPPORTED:
        oldest = ".".join(map(str, OLDEST_SUPPORTED))
        raise BackendUnavailableError(
            f"ONNX Runtime {ort.__version__} is too old; allowed: {oldest} and newer; "
            f"{_INSTALL_HINT}"
        )
    return ort  # type: ignore[no-any-return]  # an untyped module


def _version_tuple(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


def _distribution() -> str:
    """Which package provides the module: the GPU wheel and the CPU wheel share its name."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _tf32_note(providers: Iterable[str]) -> str:
    if "CUDAExecutionProvider" not in providers:
        return "no CUDA provider here"
    return (
        "ONNX Runtime's CUDA provider computes float32 MatMul and Conv in TF32 unless "
        "use_tf32=0 is set; halve sets it in its own sessions"
    )


def _check_provider(provider: str, available: Iterable[str]) -> None:
    names = list(available)
    if provider not in names:
        raise BackendUnavailableError(
            f"ONNX Runtime has no usable {provider} here; available: {', '.join(names)}"
        )


@contextlib.contextmanager
def _beside_its_data(
    ort: ModuleType, model: str | bytes, folder: Path | None
) -> Iterator[str | bytes]:
    """The model as ONNX Runtime takes it: releases before 1.21 find external data by the model's
    path only, so that there its bytes go into a file beside the data while it is loaded.
    """
    if folder is None or isinstance(model, str) or _takes_data_folder(ort):
        yield model
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".halve-tmp-", suffix=".onnx") as file:
        file.write(model)
        file.flush()
        yield file.name


def _takes_data_folder(ort: ModuleType) -> bool:
    return _version_tuple(ort.__version__) >= _DATA_FOLDER_SINCE


def _session_options(
    ort: ModuleType, optimise: bool | str, threads: int, data_folder: Path | None
) -> Any:
    if threads < 1:
        raise OptionError(f"threads is {threads}; allowed: 1 or more")
    options = ort.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    options.log_severity_level = _FATAL_ONLY
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = _level(ort, optimise)
    for key, value in _CONFIG.items():
        options.add_session_config_entry(key, value)
    if data_folder is not None:
        options.add_session_config_entry(_DATA_FOLDER_KEY, str(data_folder))
    return options


def _library_path(path: Path) -> str:
    """Absolute where the file is here: ONNX Runtime looks for others beside itself."""
    return str(path.resolve()) if path.exists() else str(path)


def _level(ort: ModuleType, optimise: bool | str) -> Any:
    name = optimise if isinstance(optimise, str) else "all" if optimise else "disabled"
    if name not in _LEVEL_ATTRIBUTES:
        raise OptionError(f"optimise is {optimise!r}; allowed: {', '.join(OPTIMISE_LEVELS)}")
    return getattr(ort.GraphOptimizationLevel, _LEVEL_ATTRIBUTES[name])


def _model_argument(model: Path | str | bytes | ModelProto, where: str) -> str | bytes:
    if isinstance(model, bytes):
        return model
    if not isinstance(model, ModelProto):
        if not Path(model).is_file():
            raise SessionError(f"{where}: there is no such file")
        return str(model)
    try:
        return bytes(model.SerializeToString())
    except Exception as error:  # protobuf's class for this differs between its backends
        raise SessionError(
            f"{where}: the model does not fit into 2 GiB of protobuf ({_one_line(error)}); "
            f"save it with external data and give its path"
        ) from error


def _runtime_errors(ort: ModuleType) -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions share no base class below Exception."""
    state = ort.capi.onnxruntime_pybind11_state
    own = tuple(
        value
        for value in vars(state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    )
    return (*own, RuntimeError, ValueError, TypeError)


def _ports(nodes: Iterable[Any]) -> tuple[Port, ...]:
    return tuple(Port(node.name, node.type, tuple(node.shape or ())) for node in nodes)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def operator_schemas() -> list[Any]:
    """Every op schema that ONNX Runtime knows, its own domains included.

    Raises:
        BackendUnavailableError: ONNX Runtime is not here.
    """
    ort = _onnxruntime()
    return list(ort.capi.onnxruntime_pybind11_state.get_all_operator_schema())
