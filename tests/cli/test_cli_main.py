"""The funnel: help, spelling, exit status, one line an error."""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

from halve import __version__
from halve.cli.main import COMMANDS, main
from halve.errors import ModelError


def fake_command(monkeypatch: pytest.MonkeyPatch, action: object) -> None:
    """Makes `halve doctor` do `action`, so that the funnel can be seen with any failure."""
    module = types.SimpleNamespace(run=action)
    monkeypatch.setattr(importlib, "import_module", lambda _: module)


def raising(error: BaseException) -> object:
    def run(_: object) -> int:
        raise error

    return run


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)


def test_no_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "usage: halve COMMAND" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"halve {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"example:\n  halve {command}" in out
    assert all(flag in out for flag in ("--quiet", "--json", "--debug"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["frob"], f"there is no command 'frob'; allowed: {', '.join(COMMANDS)} (halve"),
        (["doctor", "--frob"], "unrecognized arguments: --frob; see halve doctor --help"),
        (["demo", "--output"], "argument --output: expected one argument"),
    ],
)
def test_wrong_usage_is_one_line_and_status_1(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("halve: error: ")
    assert message in err


def test_a_message_of_several_lines_becomes_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command(monkeypatch, raising(ModelError("node 'a\nb':\n  broken")))
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "halve: error: node 'a b': broken\n"


def test_debug_shows_the_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command(monkeypatch, raising(ModelError("broken")))
    assert main(["doctor", "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("halve: error: broken\n")


def test_an_unexpected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command(monkeypatch, raising(KeyError("x")))
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == (
        "halve: unexpected KeyError: 'x' (--debug shows the trace)\n"
    )


def test_interrupted_while_a_compiled_module_was_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ImportError("initialization failed")
    error.__cause__ = KeyboardInterrupt()  # as pybind11 tells it
    fake_command(monkeypatch, raising(error))
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "halve: interrupted\n"


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake_command(monkeypatch, raising(KeyboardInterrupt()))
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "halve: interrupted\n"


def test_the_verdict_is_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_command(monkeypatch, lambda _: 2)
    assert main(["doctor"]) == 2


def test_a_closed_pipe_is_no_trace() -> None:
    code = "import sys; from halve.cli.main import main; sys.exit(main(['--help']))"
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.read(); {code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_python_dash_m() -> None:
    command = [sys.executable, "-m", "halve", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"halve {__version__}\n"


def test_help_imports_no_runtime() -> None:
    code = (
        "import sys; from halve.cli.main import main; main(['--help']); "
        "sys.exit(int(any(name in sys.modules for name in ('onnxruntime', 'rich'))))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_stdout_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "halve", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"halve: error: stdout cannot be written: No space left")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor as POSIX shells do")
def test_a_closed_stdout_is_no_error() -> None:
    command = shlex.join([sys.executable, "-m", "halve", "--version"]) + " >&-"
    done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
