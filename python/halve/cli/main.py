"""The entry point: picks a command and turns every error into one line and an exit status."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from halve import __version__
from halve.errors import HalveError, OptionError, VerdictError, was_interrupted

__all__ = ["COMMANDS", "Command", "main", "program"]


class Command(NamedTuple):
    """A command's module (its `run(args) -> exit status` is called) and what it is for."""

    module: str
    summary: str


COMMANDS = {
    "convert": Command("halve.cli.convert", "convert a float32 model to float16 or bfloat16"),
    "auto": Command("halve.cli.auto", "find what must stay float32, convert, and verify"),
    "manual": Command("halve.cli.manual", "measure node by node what 16 bits do; finalise by hand"),
    "mix-precision": Command("halve.cli.mix_precision", "TopsIDEAS's command line as it is"),
    "compare": Command("halve.cli.compare", "compare two models, or two archives of arrays"),
    "bench": Command("halve.cli.bench", "measure models side by side: latency, memory"),
    "simplify": Command("halve.cli.simplify", "fold constants and fuse nodes, and compare"),
    "doctor": Command("halve.cli.doctor", "say what this machine can do, and why not"),
    "demo": Command("halve.cli.demo", "convert and check a model that ships with halve"),
}
_DONE, _ERROR, _FAILED_VERDICT, _INTERRUPTED = 0, 1, 2, 130


# Objects made between runs of the cyclic collector. Imports and graphs make many that stay, among
# which Python's own 700 searches again and again; a few tens of MB of cycles at most may wait.
_COLLECT_EVERY = 100_000


def program() -> NoReturn:
    """The installed program: `main` in a process of its own, whose settings it may choose.

    It leaves at once, after the exit functions: Python would first take apart all that was
    imported, which costs a short run time and serves nothing.
    """
    gc.set_threshold(_COLLECT_EVERY)
    # numpy's BLAS would start threads that spin for work while the weights are written; nothing
    # here multiplies matrices with it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    status = main()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):  # main has reported what matters
                stream.flush()
    os._exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `halve`; returns 0 done, 1 error or wrong usage, 2 verdict failed, 130 interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None:  # closed by the caller, as with `>&-`: nobody wants what is printed
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - open until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names in files and models need not be valid in any encoding; stderr is like this already.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(args)
        sys.stdout.flush()
        return status
    except (Exception, KeyboardInterrupt) as error:
        return _failed(error, args)


def _failed(error: BaseException, args: list[str]) -> int:
    """The exit status of an error, after its one line."""
    if was_interrupted(error):
        _report("interrupted", args)
        return _INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader of stdout went away (`| head`); Python would complain again at exit.
        _discard_stdout()
    elif isinstance(error, HalveError):
        _report(f"error: {error}", args)
        return _FAILED_VERDICT if isinstance(error, VerdictError) else _ERROR
    elif isinstance(error, OSError):
        _report(f"error: {_system_error(error)}", args)
    else:
        _report(f"unexpected {type(error).__name__}: {error} (--debug shows the trace)", args)
    return _ERROR


def _system_error(error: OSError) -> str:
    """What the system refused: in a file that it names, or else on stdout."""
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror} (--debug shows the trace)"
    _discard_stdout()
    return f"stdout cannot be written: {error.strerror or error}; send it elsewhere, or use --quiet"


def _discard_stdout() -> None:
    """Sends what stdout still holds nowhere, so that Python does not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(_help())
        return _DONE if args else _ERROR
    if args[0] in ("--version", "-V"):
        print(f"halve {__version__}")
        return _DONE
    command = COMMANDS.get(args[0].replace("_", "-"))
    if command is None:
        allowed = ", ".join(COMMANDS)
        raise OptionError(f"there is no command {args[0]!r}; allowed: {allowed} (halve --help)")
    return _run_command(command, args[1:])


def _run_command(command: Command, args: list[str]) -> int:
    try:
        status: int = importlib.import_module(command.module).run(args)
    except SystemExit as stop:  # argparse's --help
        return _DONE if not stop.code else _ERROR
    return status


def _help() -> str:
    rows = "\n".join(f"  {name:<15}{command.summary}" for name, command in COMMANDS.items())
    return (
        "usage: halve COMMAND [options]\n\n"
        "Turns float32 ONNX models into float16, bfloat16 and mixed-precision models.\n\n"
        f"commands:\n{rows}\n\n"
        "`halve COMMAND --help` shows a command's options and an example; `halve --version`.\n"
        "exit status: 0 done, 1 error or wrong usage, 2 verdict failed, 130 interrupted"
    )


def _report(message: str, args: list[str]) -> None:
    """One line on stderr, or the trace before it with --debug."""
    if "--debug" in args:
        import traceback

        traceback.print_exc()
    print("halve: " + " ".join(message.split()), file=sys.stderr)
