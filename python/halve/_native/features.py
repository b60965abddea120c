"""Which kernel backends this build has, which run here, and which one is in use."""

from __future__ import annotations

from dataclasses import dataclass

from halve import _core
from halve.errors import BackendUnavailableError

__all__ = ["BackendInfo", "backend_number", "backends", "chosen_backend", "forced_backend"]


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """One instruction set: whether its kernels are compiled in, can run here, and are in use."""

    name: str
    compiled: bool
    usable: bool
    chosen: bool


def forced_backend() -> str | None:
    """The value of HALVE_FORCE_BACKEND when a kernel was first asked for; None where unset."""
    return _core.forced_backend()


def backends() -> tuple[BackendInfo, ...]:
    """Every backend that halve knows. None is chosen where the forced one is not usable."""
    chosen = _core.chosen_backend()
    return tuple(
        BackendInfo(name, compiled, usable, number == chosen)
        for number, (name, compiled, usable) in enumerate(_core.backends())
    )


def chosen_backend() -> str:
    """The name of the backend in use: the fastest usable one, or the forced one.

    Raises:
        BackendUnavailableError: HALVE_FORCE_BACKEND names a backend that is unknown, not compiled
            in, or not usable on this machine.
    """
    return _core.backends()[backend_number(None)][0]


def backend_number(name: str | None) -> int:
    """The number that the compiled module knows a usable backend by; None is the one in use.

    Raises:
        BackendUnavailableError: as `chosen_backend`, or `name` is unknown or not usable.
    """
    if name is None:
        chosen = _core.chosen_backend()
        if chosen is None:
            raise _unavailable("HALVE_FORCE_BACKEND", _core.forced_backend())
        return chosen
    for number, (known, _, usable) in enumerate(_core.backends()):
        if known == name and usable:
            return number
    raise _unavailable("backend", name)


def _unavailable(what: str, name: str | None) -> BackendUnavailableError:
    table = _core.backends()
    states = {known: (compiled, usable) for known, compiled, usable in table}
    if name not in states:
        reason = "no backend has that name"
    elif not states[name][0]:
        reason = "this build has no kernels for it"
    else:
        reason = "this processor or operating system does not support it"
    usable_names = ", ".join(known for known, _, usable in table if usable)
    return BackendUnavailableError(
        f"{what} is {name!r}: {reason}; usable here: {usable_names}; "
        "choose one of these or leave it unset"
    )
