"""A search's probe, loaded while the float32 model is observed: neither waits for the other."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from halve.auto.evaluators import begin_probe, evaluator_name
from halve.auto.job import Job
from halve.auto.workspace import Workspace
from halve.session.probe import LoadedProbe
from halve.session.providers import CPU_PROVIDER

__all__ = ["Beginning"]


class Beginning:
    """A thread that loads at most one probe, as a context: it has ended when that is left."""

    def __init__(self, workspace: Workspace) -> None:
        """Nothing is begun yet."""
        self._workspace = workspace
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="halve-beginning")
        self._loading: Future[LoadedProbe] | None = None

    def __enter__(self) -> Beginning:
        """Nothing is begun by this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what was begun and not taken."""
        self._loading = None
        self._pool.shutdown()

    def begin(self, job: Job) -> None:
        """Begin to load a job's probe, where that is its evaluator for certain, in this process,
        and there is room for it beside another session.
        """
        options = job.options
        on_cpu = options.provider == CPU_PROVIDER and evaluator_name(options) == "probe"
        if on_cpu and not options.isolate and not job.large:
            self._loading = self._pool.submit(begin_probe, job, self._workspace)

    def take(self) -> LoadedProbe | None:
        """What was begun, once it is loaded; None where nothing was, or it was taken already.

        Raises:
            SessionError: as begin_probe raises.
        """
        loading, self._loading = self._loading, None
        return None if loading is None else loading.result()
