"""Where the cells of a study run: here, in worker processes, or on Ray. One verb, ``map``; nothing in this file knows what a cell is."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from genrl.errors import RunError, extra, one_line

__all__ = ["Executor", "InProcess", "Processes", "Ray", "WorkerDied"]

Item = TypeVar("Item")
Result = TypeVar("Result")

SECONDS_TO_SAVE = 60.0
"""How long a worker that is asked to stop may take to save its run."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class WorkerDied:
    """Stands in place of a result: the process of an item ended without one (killed, out of memory, a crash in C)."""

    reason: str


class Executor(Protocol):
    """Maps a function over items."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Generator[tuple[Item, Result | WorkerDied]]:
        """Each item with its result, as they come. Closing the generator asks the workers to save and stop, and waits for them."""
        ...


class InProcess:
    """One item after the other, in this process."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Generator[tuple[Item, Result | WorkerDied]]:
        """As :class:`Executor` says; a crash of an item is a crash of this process."""
        for item in items:
            yield item, function(item)


class Processes:
    """Maps at most ``workers`` items at a time, each in a process of its own: a worker that dies takes one item with it, and no more.

    A process is forked from a server that has imported ``preload``, and so starts in milliseconds and with clean memory. It has ``threads``
    threads of every numerical library, stops by itself when this process dies, and shares no lock with any other.

    Args:
        workers: processes at a time; by default one for every ``threads`` cores.
        threads: number of threads of each worker.
        preload: modules that the server imports once.
    """

    def __init__(self, workers: int | None = None, threads: int = 1, preload: Sequence[str] = ()) -> None:
        self.workers = workers or max(1, (os.cpu_count() or 1) // threads)
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        try:
            multiprocessing.forkserver.ensure_running()  # here, so that it imports while the caller gets its items ready
        finally:
            _restore_environment(before)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Generator[tuple[Item, Result | WorkerDied]]:
        """As :class:`Executor` says; ``function`` and the items are pickled to the workers, the results back."""
        context = self._context
        waiting = list(reversed(items))
        running: dict[Any, tuple[Item, BaseProcess]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    item = waiting.pop()
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_work, args=(theirs, function, item))
                    process.start()
                    theirs.close()
                    running[ours] = item, process
                for connection in wait(list(running)):
                    item, process = running.pop(connection)
                    yield item, _received(connection, process)
        finally:
            _stop([process for _, process in running.values()])


def _restore_environment(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _work(connection: Connection, function: Callable[[Any], Any], item: Any) -> None:
    """The life of a worker: one item."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent says what it means
    threading.Thread(target=_end_when_the_parent_dies, args=(connection,), daemon=True).start()
    connection.send(function(item))


def _end_when_the_parent_dies(connection: Connection) -> None:
    """Wait, then end this process: first by a request, so that a run is saved, then for good. The parent itself never sends anything."""
    connection.poll(None)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_SAVE)
    os._exit(1)


def _received(connection: Any, process: BaseProcess) -> Any:
    try:
        result = connection.recv()
    except (EOFError, ConnectionError):
        result = None
    connection.close()
    process.join(SECONDS_TO_SAVE)
    if result is not None:
        return result
    code = process.exitcode
    how = f"was ended by {signal.Signals(-code).name}" if code is not None and code < 0 else f"left with exit code {code}"
    return WorkerDied(f"its process {how}")


def _stop(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + SECONDS_TO_SAVE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


class Ray:
    """Items as tasks of a Ray cluster; needs the extra ``ray``.

    Args:
        address: address of a running cluster (``auto`` finds the one of this machine). By default one is started here, bound to
            127.0.0.1 and without a dashboard, and ended with the work.
        workers: cores of the cluster that is started here; by default all. A running cluster has its own.
        threads: cores of each item; Ray sets the threads of numerical libraries to it.

    Raises:
        RunError: Ray is not installed.
    """

    def __init__(self, address: str | None = None, workers: int | None = None, threads: int = 1) -> None:
        self._ray = extra("ray", "ray", "the executor ray")
        self.address, self.workers, self.threads = address, workers, threads

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Generator[tuple[Item, Result | WorkerDied]]:
        """As :class:`Executor` says; an item whose node or process dies is not tried again by Ray, but handed back as died."""
        ray = self._ray
        self._connect()
        try:
            task = ray.remote(num_cpus=self.threads, max_retries=0)(function)
            running = {task.remote(item): item for item in items}
            try:
                while running:
                    (reference, *_), _ = ray.wait(list(running), num_returns=1)
                    item = running.pop(reference)
                    yield item, self._received(reference)
            finally:
                for reference in running:
                    ray.cancel(reference)
                ray.wait(list(running), num_returns=len(running), timeout=SECONDS_TO_SAVE) if running else None
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
        before = signal.getsignal(signal.SIGTERM)
        try:
            if self.address is not None:
                self._ray.init(self.address, **options)
            else:
                self._start(options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = f"at {self.address}" if self.address else "here"
            raise RunError(f"no Ray cluster {where} ({one_line(error)}); start one with `ray start --head`") from error
        finally:  # Ray's core has put a handler of its own, in C, which prints a stack and aborts
            if before is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)

    def _start(self, options: dict[str, Any]) -> None:
        """Start a cluster of this machine alone. Ray replaces 127.0.0.1 by an address that others can reach unless it knows no clusters."""
        from ray._private import ray_constants  # _private/services.py, get_node_ip_address, asks this constant

        before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR)
        ray_constants.ENABLE_RAY_CLUSTER = False
        os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
        try:
            cores = self.workers * self.threads if self.workers else os.cpu_count()
            self._ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", num_cpus=cores, **options)
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = before[0]
            _restore_environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: before[1]})
        if (address := self._ray.util.get_node_ip_address()) != "127.0.0.1":
            self._ray.shutdown()
            raise RuntimeError(f"this version of Ray would listen at {address}, where other machines could reach it")

    def _received(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError:
            raise  # an error of the function itself
        except self._ray.exceptions.RayError as error:
            return WorkerDied(f"its process died on Ray ({type(error).__name__})")
