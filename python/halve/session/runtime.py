"""ONNX Runtime behind one door: pinned options, checked feeds, errors that say where."""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
from numpy.typing import NDArray
from onnx import ModelProto

from halve._native import cuda
from halve._native.twin import operators_library
from halve.errors import BackendUnavailableError, OptionError, SessionError
from halve.session.feeds import Port, check_feeds, is_bfloat16
from halve.session.installed import one_line, runtime_errors, runtime_module, takes_data_folder
from halve.session.provider_libraries import load_provider_libraries
from halve.session.providers import CPU_PROVIDER, memory_of, provider_rows
from halve.session.runs import Run
from halve.types import DType

__all__ = [
    "CPU_PROVIDER",
    "OPTIMISE_LEVELS",
    "Session",
    "can_lend",
    "check_provider",
    "lend",
    "load",
    "make_value",
    "raised_as_session_error",
    "run",
    "run_bound",
    "run_values",
    "upload",
]

OPTIMISE_LEVELS = ("disabled", "basic", "extended", "all")

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
_SHARED_ARENA_KEY = "session.use_env_allocators"
# The arena grows by what is asked for, not to the next power of two.
_ARENA_SETTINGS = {
    "arena_extend_strategy": 1,
    "max_mem": 0,
    "initial_chunk_size_bytes": -1,
    "max_dead_bytes_per_chunk": -1,
}
_ARENA: list[Any] = []
_ARENA_LOCK = threading.Lock()
_LIBRARIES_HINT = (
    "; its own libraries, the driver, CUDA or cuDNN cannot be loaded: install them, or name their"
    " folders in LD_LIBRARY_PATH; ONNX Runtime's words are on stderr"
)
_FATAL_ONLY = 4  # ONNX Runtime's log level; what it would print is in the exception as well


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded model, safe to run from several threads.

    `where` names the model for messages. `optional` are inputs with a default (initializers that
    are graph inputs too). `held` are values that it uses and that must live as long. `bfloat16` is
    whether a port is of that type, which plain arrays do not have.
    """

    inner: Any
    where: str
    provider: str
    inputs: tuple[Port, ...]
    optional: tuple[Port, ...]
    outputs: tuple[Port, ...]
    held: tuple[Any, ...] = ()
    bfloat16: bool = False


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
    shared_arena: bool = False,
    operators: bool = False,
    in_order: bool = False,
    optimised: Path | None = None,
    profile: Path | None = None,
    shared: Mapping[str, Any] | None = None,
    where: str = "",
) -> Session:
    """Load a model.

    A path is opened by ONNX Runtime itself, so it may be of any size; bytes and a ModelProto are
    limited to protobuf's 2 GiB, and find external data in `external_data_folder`. `optimise` is
    True ("all"), False ("disabled") or a name of OPTIMISE_LEVELS. `threads` are those inside a
    node; nodes always run one after the other. `provider_options` and `session_options` add to
    those that are pinned here, by ONNX Runtime's names. With `shared_arena`, all sessions
    loaded so take their memory from one arena of this process. `operators`: the model has some of
    our own (csrc/ort). With `in_order`, nodes run in the order of the model where they can.
    `shared` are initializers of the main graph as values of `lend`, which the session uses where
    they lie. `optimised` is where to write the graph that is run. With `profile` the session
    records what each node does, for `end_profiling`, in a file whose name begins so. `where` names
    the model for messages. On other providers than the CPU's, algorithms are deterministic.

    Raises:
        BackendUnavailableError: ONNX Runtime or the provider is not here.
        OptionError: `optimise` or `threads` has a value that is not allowed.
        SessionError: ONNX Runtime refuses the model.
    """
    ort = runtime_module()
    check_provider(provider)
    load_provider_libraries(ort, provider)
    label = where or (str(model) if isinstance(model, Path | str) else "model in memory")
    data_folder = external_data_folder if takes_data_folder(ort) else None
    options = _session_options(ort, optimise, threads, data_folder)
    if shared_arena:
        _register_arena(ort)
        options.add_session_config_entry(_SHARED_ARENA_KEY, "1")
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    if in_order:
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    for key, value in (session_options or {}).items():
        options.add_session_config_entry(key, value)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    options.use_deterministic_compute = provider != CPU_PROVIDER
    try:
        for name, initializer in (shared or {}).items():
            options.add_initializer(name, initializer)
        if operators:
            options.register_custom_ops_library(operators_library())
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
                enable_fallback=0,  # it would print, and go on where nobody asked it to
            )
    except runtime_errors(ort) as error:
        raise SessionError(
            f"{label}: ONNX Runtime {ort.__version__} cannot load it on {provider}: "
            f"{one_line(error)}; check the file with onnx.checker.check_model"
        ) from error
    # A provider whose libraries are missing is dropped by ONNX Runtime without an error.
    _check_available(provider, inner.get_providers(), _LIBRARIES_HINT)
    return _opened(inner, label, provider, tuple((shared or {}).values()))


def _opened(inner: Any, where: str, provider: str, held: tuple[Any, ...]) -> Session:
    inputs, outputs = _ports(inner.get_inputs()), _ports(inner.get_outputs())
    optional = _ports(inner.get_overridable_initializers())
    bfloat16 = any(map(is_bfloat16, (*inputs, *optional, *outputs)))
    return Session(inner, where, provider, inputs, optional, outputs, held, bfloat16)


def run(
    session: Session,
    feeds: Mapping[str, NDArray[Any]],
    *,
    handle: Run | None = None,
    fetch: Sequence[str] | None = None,
    checked: bool = False,
) -> list[NDArray[Any]]:
    """Run once; the outputs in graph order, or those of `fetch`, as arrays of their own.

    A float32 array is rounded to nearest even where the model wants float16 or bfloat16; every
    other difference in type is an error. bfloat16 arrays have ml_dtypes' type. `checked` feeds are
    those that `check_feeds` returned: they are not looked at again.

    Raises:
        SampleError: an input is missing, unknown, or has the wrong type or shape.
        SessionError: ONNX Runtime fails while it runs.
    """
    ready = feeds
    if not checked:
        ready = check_feeds(session.inputs, session.optional, feeds, session.where)
    try:
        if handle is None:
            return _run_ready(session, ready, fetch, None)
        with handle.limit():
            return _run_ready(session, ready, fetch, handle.options)
    except SessionError:
        raise
    except runtime_errors(runtime_module()) as error:
        raise _run_error(session, handle, error) from error


def _run_ready(
    session: Session,
    feeds: Mapping[str, NDArray[Any]],
    fetch: Sequence[str] | None,
    options: Any,
) -> list[NDArray[Any]]:
    if session.bfloat16:
        from halve.session.whole_values import run_whole

        ports = {p.name: p for p in (*session.inputs, *session.optional, *session.outputs)}
        names = fetch or [port.name for port in session.outputs]
        return run_whole(session.inner, ports, feeds, names, options)
    outputs: list[NDArray[Any]] = session.inner.run(fetch, feeds, options)
    return outputs


def _run_error(session: Session, handle: Run | None, error: Exception) -> SessionError:
    if handle is not None and handle.ended:
        return SessionError(f"{session.where}: a run has no result: {handle.ended}")
    return SessionError(
        f"{session.where}: ONNX Runtime failed while running on {session.provider}: "
        f"{one_line(error)}"
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

    ort = runtime_module()
    ready = check_feeds(session.inputs, session.optional, feeds, session.where)
    kept = set(stay)
    try:
        binding = session.inner.io_binding()
        # A value may share its array's memory, and does not keep it once it is bound.
        inputs = {name: to_value(ort, array) for name, array in ready.items()}
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for port in session.outputs:
            place = memory_of(session.provider) if port.name in kept else "cpu"
            binding.bind_output(port.name, place, device if place != "cpu" else 0)
        given = handle or Run()
        with given.limit():
            session.inner.run_with_iobinding(binding, given.options)
        values = binding.get_outputs()
    except runtime_errors(ort) as error:
        raise _run_error(session, handle, error) from error
    return {port.name: value for port, value in zip(session.outputs, values, strict=True)}


def run_values(
    session: Session, feeds: Mapping[str, Any], fetch: Sequence[str], where: str = ""
) -> list[Any]:
    """Run once with ONNX Runtime's own values, unchecked and uncopied; those of `fetch`.

    Raises:
        SessionError: ONNX Runtime fails while it runs.
    """
    try:
        return list(session.inner.run_with_ort_values(fetch, feeds))
    except runtime_errors(runtime_module()) as error:
        raise SessionError(
            f"{where or session.where}: ONNX Runtime failed while running on {session.provider}: "
            f"{one_line(error)}"
        ) from error


def make_value(array: NDArray[Any]) -> Any:
    """An array as ONNX Runtime's value, which has a copy of it."""
    from halve.session.values import to_value

    return to_value(runtime_module(), array)


def upload(array: NDArray[Any], provider: str, device: int) -> Any:
    """A value with the array's content in the memory that a provider computes in.

    bfloat16 arrays have ml_dtypes' type, and need the CUDA module.

    Raises:
        SessionError: there is no room, or no CUDA module for bfloat16.
    """
    ort = runtime_module()
    load_provider_libraries(ort, provider)
    errors: tuple[type[Exception], ...] = (BackendUnavailableError, *runtime_errors(ort))
    try:
        if array.dtype == ml_dtypes.bfloat16:
            return _upload_bfloat16(ort, array, provider, device)
        return ort.OrtValue.ortvalue_from_numpy(array, memory_of(provider), device)
    except errors as error:
        raise SessionError(
            f"{array.nbytes} bytes of weights cannot be put on device {device}: {one_line(error)}"
        ) from error


def _upload_bfloat16(ort: ModuleType, array: NDArray[Any], provider: str, device: int) -> Any:
    """ONNX Runtime makes such a value and does not fill it from an array."""
    place = memory_of(provider)
    value = ort.OrtValue.ortvalue_from_shape_and_type(
        list(array.shape), int(DType.BFLOAT16), place, device
    )
    cuda.copy_to_device(device, value.data_ptr(), array)
    return value


def lend(value: Any) -> Any:
    """A value of the same memory, without a copy, which a session takes for an initializer.

    A session refuses values that own their memory, as those of `upload` on a device do. The result
    keeps `value` alive.

    Raises:
        SessionError: this ONNX Runtime has no such values, or none of the type.
    """
    ort = runtime_module()
    kind = ort.capi.onnxruntime_pybind11_state.OrtValue
    errors: tuple[type[Exception], ...] = (AttributeError, *runtime_errors(ort))
    try:
        inner = kind.from_dlpack(value._ortvalue.to_dlpack(), False)
    except errors as error:
        raise SessionError(
            f"ONNX Runtime {ort.__version__} cannot share a value with a session: {one_line(error)}"
        ) from error
    return ort.OrtValue(inner, value)


def can_lend(dtype: DType, provider: str = CPU_PROVIDER, device: int = 0) -> bool:
    """Whether `lend` makes values of a type where a provider computes: tried on one element."""
    ort = runtime_module()
    load_provider_libraries(ort, provider)
    place = memory_of(provider)
    errors: tuple[type[Exception], ...] = (SessionError, *runtime_errors(ort))
    try:
        made = ort.OrtValue.ortvalue_from_shape_and_type([1], int(dtype), place, device)
        lent = lend(made)
        ort.SessionOptions().add_initializer("w", lent)
    except errors:
        return False
    return True


def check_provider(provider: str) -> None:
    """Whether a provider is one of the installed ONNX Runtime's.

    Raises:
        BackendUnavailableError: it is not.
    """
    _check_available(provider, runtime_module().get_available_providers())


def _check_available(provider: str, available: Iterable[str], hint: str = "") -> None:
    names = list(available)
    if provider not in names:
        raise BackendUnavailableError(
            f"ONNX Runtime has no usable {provider} here; available: {', '.join(names)}{hint}"
        )


@contextlib.contextmanager
def _beside_its_data(
    ort: ModuleType, model: str | bytes, folder: Path | None
) -> Iterator[str | bytes]:
    """The model as ONNX Runtime takes it: releases before 1.21 find external data by the model's
    path only, so that there its bytes go into a file beside the data while it is loaded.
    """
    if folder is None or isinstance(model, str) or takes_data_folder(ort):
        yield model
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".halve-tmp-", suffix=".onnx") as file:
        file.write(model)
        file.flush()
        yield file.name


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


def _register_arena(ort: ModuleType) -> None:
    """Make the arena that sessions may share; ONNX Runtime replaces none that is there."""
    with _ARENA_LOCK:
        if not _ARENA:
            place = ort.OrtMemoryInfo(
                "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
            )
            ort.create_and_register_allocator(place, ort.OrtArenaCfg(dict(_ARENA_SETTINGS)))
            _ARENA.append(place)


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
            f"{where}: the model does not fit into 2 GiB of protobuf ({one_line(error)}); "
            f"save it with external data and give its path"
        ) from error


def _ports(nodes: Iterable[Any]) -> tuple[Port, ...]:
    return tuple(Port(node.name, node.type, tuple(node.shape or ())) for node in nodes)


@contextlib.contextmanager
def raised_as_session_error(session: Session) -> Iterator[None]:
    """What ONNX Runtime raises inside, as a SessionError that names the model."""
    try:
        yield
    except runtime_errors(runtime_module()) as error:
        raise SessionError(
            f"{session.where}: ONNX Runtime failed while running on {session.provider}: "
            f"{one_line(error)}"
        ) from error
