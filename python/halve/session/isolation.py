"""Trials in child processes: a crash, a hang or lack of memory ends a trial, not the search."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from halve.errors import BackendUnavailableError, SessionError
from halve.search_types import Evaluator, Trial, UnitSet

__all__ = ["Isolated", "serve"]

_READY = "ready"


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()


class Isolated:
    """An evaluator whose runs are in child processes, each with an evaluator of its own.

    `factory` is called once in every child, and must pickle: a function of a module that can be
    imported, or a functools.partial of one. A child that dies or does not answer within
    `timeout_s` fails its trial and is replaced for the next. `memory_bytes` limits the address
    space of a child (Unix).
    """

    def __init__(
        self,
        factory: Callable[[], Evaluator],
        *,
        workers: int,
        timeout_s: float | None = None,
        start_timeout_s: float = 600.0,
        memory_bytes: int | None = None,
    ) -> None:
        """Start the first child, to see that the factory works.

        Raises:
            SessionError: it does not.
            BackendUnavailableError: this system cannot pass pipes to a child (Windows).
        """
        if os.name == "nt":
            raise BackendUnavailableError("isolated trials need a Unix system; leave isolate out")
        self._payload = pickle.dumps((sys.path, memory_bytes, factory))
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._slots: queue.Queue[_Worker | None] = queue.Queue()
        self._lock = threading.Lock()
        self._alive: dict[int, _Worker] = {}
        self._closed = False
        self._slots.put(self._start())
        for _ in range(workers - 1):
            self._slots.put(None)

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        """See Evaluator.run."""
        worker = self._slots.get()
        try:
            if self._closed:
                return Trial(sample, failure="the search was ended")
            worker = worker or self._start()
            return self._ask(worker, fp32, sample)
        except (SessionError, OSError, EOFError) as error:
            reason = self._reason(worker, error)
            if worker is not None:
                self._drop(worker)
            worker = None
            return Trial(sample, failure=reason)
        finally:
            self._slots.put(worker)

    def close(self) -> None:
        """End every child."""
        with self._lock:
            self._closed = True
            workers = list(self._alive.values())
            self._alive.clear()
        for worker in workers:
            worker.stop()

    def _start(self) -> _Worker:
        """A child whose evaluator is ready; an error or an interruption leaves none.

        Raises:
            SessionError: it cannot be started, ends, or cannot make its evaluator.
        """
        worker = self._spawn()
        try:
            worker.pipe.send_bytes(self._payload)
            answer = self._receive(worker, self._start_timeout_s)
            if answer != _READY:
                raise SessionError(f"a worker process cannot make its evaluator: {answer}")
        except (OSError, EOFError) as error:
            reason = self._reason(worker, error)
            self._drop(worker)
            raise SessionError(f"{reason} before its evaluator was ready") from error
        except BaseException:
            self._drop(worker)
            raise
        return worker

    def _spawn(self) -> _Worker:
        ours, theirs = os.pipe(), os.pipe()  # (read, write): to the child, from the child
        pipe = _Duplex(theirs[0], ours[1])
        try:
            with _interrupts_blocked():
                process = subprocess.Popen(
                    [sys.executable, "-m", "halve.session.isolation", str(ours[0]), str(theirs[1])],
                    pass_fds=(ours[0], theirs[1]),
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                    stdout=subprocess.DEVNULL,
                )
        except OSError as error:
            pipe.close()
            raise SessionError(f"a worker process cannot be started: {error}") from error
        finally:
            os.close(ours[0])
            os.close(theirs[1])
        worker = _Worker(process, pipe)
        with self._lock:
            self._alive[process.pid] = worker
        return worker

    def _ask(self, worker: _Worker, fp32: UnitSet, sample: int) -> Trial:
        worker.pipe.send((fp32, sample))
        answer = self._receive(worker, self._timeout_s)
        if not isinstance(answer, Trial):
            return Trial(sample, failure=str(answer))
        return answer

    def _receive(self, worker: _Worker, timeout_s: float | None) -> object:
        if not worker.pipe.poll(timeout_s):
            raise SessionError(f"the worker process gave no answer within {timeout_s:g} s")
        answer: object = worker.pipe.recv()
        return answer

    def _reason(self, worker: _Worker | None, error: Exception) -> str:
        if isinstance(error, SessionError) or worker is None:
            return str(error)
        code = worker.process.wait()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"the worker process ended by {how}"

    def _drop(self, worker: _Worker) -> None:
        with self._lock:
            self._alive.pop(worker.process.pid, None)
        worker.stop()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """What is started here never sees a terminal's Ctrl-C: its parent ends it, without a trace."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Duplex(Connection):
    """Two one-way pipes as one connection."""

    def __init__(self, reading: int, writing: int) -> None:
        super().__init__(reading, writable=False)
        self._writer = Connection(writing, readable=False)

    def send(self, obj: Any) -> None:  # noqa: ANN401 - as the base class
        self._writer.send(obj)

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:  # noqa: ANN401
        self._writer.send_bytes(buf, offset, size)

    def close(self) -> None:
        self._writer.close()
        super().close()


def serve(reading: int, writing: int) -> None:
    """A child's work: make the evaluator, then answer until the pipe closes."""
    pipe = _Duplex(reading, writing)
    path, memory_bytes, factory = pickle.loads(pipe.recv_bytes())
    sys.path[:] = path
    _limit_memory(memory_bytes)
    try:
        evaluator: Evaluator = factory()
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        return
    pipe.send(_READY)
    while True:
        try:
            fp32, sample = pipe.recv()
        except EOFError:
            return
        try:
            answer: object = evaluator.run(fp32, sample)
        except (Exception, MemoryError) as error:
            answer = f"{type(error).__name__}: {error}"
        pipe.send(answer)


def _limit_memory(nbytes: int | None) -> None:
    if nbytes is None:
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (nbytes, nbytes))


if __name__ == "__main__":
    # Imported by name, so that what is pickled here and there is of the same classes.
    from halve.session.isolation import serve as serve_by_name

    serve_by_name(int(sys.argv[1]), int(sys.argv[2]))
