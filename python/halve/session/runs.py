"""Runs of sessions: their time limits, and how another thread ends them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

from halve.errors import SessionError
from halve.session.installed import runtime_module
from halve.session.watchdog import Watchdog

__all__ = ["Run", "Runs"]

_WATCHDOG = Watchdog()


class Run:
    """A handle on one run at a time: a time limit, and a way to end it from another thread.

    `options` are ONNX Runtime's of the run, with the entries of `config`; `ended` is why it was
    ended, empty where it was not.
    """

    __slots__ = ("_limit", "_timeout_s", "config", "ended", "options")

    def __init__(
        self, timeout_s: float | None = None, config: Mapping[str, str] | None = None
    ) -> None:
        """A run that may take `timeout_s` seconds; None: any time. `config` are entries of ONNX
        Runtime's run configuration.
        """
        self.ended, self.config = "", dict(config or {})
        self.options: Any = runtime_module().RunOptions()
        for key, value in self.config.items():
            self.options.add_run_config_entry(key, value)
        self._timeout_s = timeout_s
        self._limit: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if timeout_s is not None:
            self._limit = _WATCHDOG.limit(timeout_s, self._overdue)

    def end(self, reason: str = "it was ended") -> None:
        """Make the run raise a SessionError within about a node. The handle is of no use then."""
        self.ended = reason
        self.options.terminate = True

    def limit(self) -> contextlib.AbstractContextManager[None]:
        """What a run is done in: its time limit."""
        return self._limit

    def _overdue(self) -> None:
        self.end(f"it passed its time limit of {self._timeout_s:g} s")


class Runs:
    """The runs of an evaluator, on any number of threads: all are ended together.

    Handles are used again: to make one takes as long as a small model's run.
    """

    def __init__(self, timeout_s: float | None) -> None:
        """Each may take `timeout_s` seconds; None: any time."""
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._busy: set[Run] = set()
        self._idle: list[Run] = []
        self._closed = False

    def begin(self, config: Mapping[str, str] | None = None) -> Run:
        """A handle for a run, to be given to `finish`; `config` as for Run.

        Raises:
            SessionError: they were ended.
        """
        with self._lock:
            if self._closed:
                raise SessionError("the search was ended")
            used = None if config or not self._idle else self._idle.pop()
            run = used or Run(self._timeout_s, config)
            self._busy.add(run)
        return run

    def finish(self, run: Run) -> None:
        """The run has come to an end."""
        with self._lock:
            self._busy.discard(run)
            if not run.ended and not run.config:
                self._idle.append(run)

    def end(self) -> None:
        """End those in progress, and begin no more."""
        with self._lock:
            self._closed = True
            for run in self._busy:
                run.end()
