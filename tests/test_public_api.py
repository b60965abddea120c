"""The public API: every name documented, `__all__` right, and an import that changes nothing."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import halve

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(halve.__path__, "halve.")
    if not module.name.rpartition(".")[2].startswith(("_core", "_cuda", "__main__"))
)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def public_names(module: ModuleType) -> list[str]:
    return list(getattr(module, "__all__", []))


@pytest.mark.parametrize("name", ["halve", *MODULES])
def test_module_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"
    names = public_names(module)
    assert len(set(names)) == len(names)
    missing = [public for public in names if not hasattr(module, public)]
    assert not missing, f"{name}.__all__ names what is not there"


@pytest.mark.parametrize("name", ["halve", *MODULES])
def test_public_names_have_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    for public in public_names(module):
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert documented(value), f"{name}.{public} has no docstring"
        if inspect.isclass(value):
            check_members(f"{name}.{public}", value)


def documented(value: object) -> bool:
    """A docstring of its own: not the signature that dataclass and NamedTuple put in its place."""
    doc = (getattr(value, "__doc__", "") or "").strip()
    return bool(doc) and not doc.startswith(f"{getattr(value, '__name__', '')}(")


def check_members(label: str, cls: type) -> None:
    for name, member in vars(cls).items():
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and inspect.isfunction(function):
            assert documented(function), f"{label}.{name} has no docstring"


@pytest.mark.parametrize("name", MODULES)
def test_all_covers_what_is_defined(name: str) -> None:
    """A name without an underscore that a module defines is public, so `__all__` lists it."""
    module = importlib.import_module(name)
    defined = {
        key
        for key, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == name
        and not key.startswith("_")
    }
    assert defined <= set(public_names(module)), f"{name}: public, but not in __all__"


def test_functions_win_over_their_modules() -> None:
    code = (
        "import halve, halve.convert, halve.cast; "
        "from halve.conversion import convert; from halve.cast import cast; "
        "print(halve.convert is convert, halve.cast is cast)"
    )
    assert run(code) == "True True\n"


def test_lazy_names_are_listed_and_unknown_ones_are_errors() -> None:
    assert set(halve.__all__) <= set(dir(halve))
    with pytest.raises(AttributeError, match="has no attribute 'frobnicate'"):
        _ = halve.frobnicate


def test_import_is_light_and_silent() -> None:
    code = (
        "import logging, sys, warnings; "
        "before = (logging.root.level, list(logging.root.handlers), list(warnings.filters), "
        "logging.Logger.manager.loggerDict.keys() & {'halve'}); import halve; "
        "after = (logging.root.level, list(logging.root.handlers), list(warnings.filters), "
        "logging.Logger.manager.loggerDict.keys() & {'halve'}); assert before == after; "
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'rich', 'halve._core', 'halve._cuda'}; "
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    assert run(code) == ""


def test_only_a_session_imports_onnxruntime() -> None:
    code = (
        "import sys, halve; [getattr(halve, name) for name in halve.__all__]; "
        "import halve.session, halve.cli.convert; assert 'onnxruntime' not in sys.modules"
    )
    assert run(code) == ""


def test_version_is_the_package_s() -> None:
    from importlib.metadata import version

    assert halve.__version__ == version("halve")
