"""One thread that writes, with group commit: writes that wait together share one disk flush.
A write is acknowledged only after the commit that holds it."""

import asyncio
import queue
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from waypost.errors import DataCorrupt, StorageFull

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

WINDOW = 0.005
"""Seconds for which a commit stays open to writes that keep arriving."""


def explain(error: Exception) -> Exception:
    """SQLite's words for a full disk or a damaged file as ours; any other error as it is."""
    code = getattr(error, "sqlite_errorcode", None)
    # A file size limit (RLIMIT_FSIZE, some quotas) fails the write itself instead of reporting a full disk.
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE):
        return StorageFull("The disk of the node is full; nothing was written.")
    if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DataCorrupt(f"The node's database is damaged: {error}.")
    return error


class _Job(Generic[T]):
    """A write that waits for its commit."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Work[T], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[T] = loop.create_future()
        self.result: T | None = None
        self.error: Exception | None = None


class Writer(threading.Thread):
    """Runs writes in order of arrival on `connection`, which nothing else may use until `stop` returns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(name="waypost-writer", daemon=True)
        self._connection = connection
        self._queue: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self.commits = 0
        self.writes = 0

    def submit(self, work: Work[T]) -> asyncio.Future[T]:
        """A future of `work`'s result, resolved after its commit. Cancelling it takes nothing back."""
        job = _Job(work, asyncio.get_running_loop())
        self._queue.put(job)
        return job.future

    def stop(self) -> None:
        """Finishes the writes that were submitted, then ends the thread. Blocks; submit nothing after."""
        self._queue.put(None)
        self.join()

    def run(self) -> None:
        while (first := self._queue.get()) is not None:
            jobs: list[_Job[Any]] = []
            try:
                self._commit(self._waiting(first), jobs)
            except Exception:
                # One of them may have been too large for the disk: give each its own chance.
                for job in jobs:
                    self._commit_alone(job)
            _deliver(jobs)

    def _waiting(self, first: _Job[Any]) -> Iterator[_Job[Any]]:
        yield first
        end = time.monotonic() + WINDOW
        while time.monotonic() < end:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._queue.put(None)  # nothing comes after it: `run` finds it next
                return
            yield job

    def _commit_alone(self, job: _Job[Any]) -> None:
        job.result = job.error = None
        try:
            self._commit(iter((job,)), [])
        except Exception as error:
            job.error = explain(error)

    def _commit(self, waiting: Iterator[_Job[Any]], jobs: list[_Job[Any]]) -> None:
        """Runs the waiting jobs in one transaction, noting each in `jobs`. Nothing stays if this raises."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in waiting:
                jobs.append(job)
                self._run_job(job)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.commits += 1
        self.writes += len(jobs)

    def _run_job(self, job: _Job[Any]) -> None:
        connection = self._connection
        connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(connection)
        except sqlite3.OperationalError:
            raise  # a full disk may have undone the whole transaction, not just this job
        except Exception as error:
            connection.execute("ROLLBACK TO job")
            job.error = explain(error)
        connection.execute("RELEASE job")


def _deliver(jobs: list[_Job[Any]]) -> None:
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Job[Any]]] = defaultdict(list)
    for job in jobs:
        by_loop[job.loop].append(job)
    for loop, done in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, done)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _resolve(jobs: list[_Job[Any]]) -> None:
    for job in jobs:
        if job.future.done():  # its caller was cancelled
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
