"""A node's state in one SQLite file: write-ahead log, flushed to disk on every commit, one writer thread.
The folder is locked while it is open, and its file says which chain, contracts and payee it belongs to."""

import asyncio
import contextlib
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from waypost.errors import InvalidConfig, NodeNotReady
from waypost.node import locks
from waypost.node.backends.schema import Identity, prepare
from waypost.node.backends.writer import Work, Writer, explain

T = TypeVar("T")

FILE = "node.db"
READERS = 4


class Database:
    """Opens `folder`, making it when it is missing.

    Raises DataInUse (another process has it open), DataOfAnotherChain, DataCorrupt (the file is damaged
    or no database of a node), DataTooNew, StorageFull, or InvalidConfig for a folder that is no use.
    """

    def __init__(self, folder: Path, identity: Identity) -> None:
        self._path = folder / FILE
        self._lock = locks.take(folder, locks.BOOKS)
        try:
            self._connection = _prepared(self._path, identity)
        except BaseException:
            os.close(self._lock)
            raise
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="waypost-reader")
        self._local = threading.local()
        self._read_connections: list[sqlite3.Connection] = []
        self._writer = Writer(self._connection)
        self._writer.start()
        self._closed = False

    async def write(self, work: Work[T]) -> T:
        """Runs `work` in a transaction and returns its result once that is on disk. All or nothing.

        `work` runs in the writer's thread, must touch nothing but its connection and must not commit:
        it shares the transaction with other writes, and runs a second time, alone, when that fails.
        Cancelling the caller does not take the write back. Raises StorageFull when the disk is full.
        """
        self._check_open()
        return await self._writer.submit(work)

    async def read(self, work: Work[T]) -> T:
        """Runs `work` on one consistent snapshot, beside any write."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    @property
    def writes(self) -> int:
        """Writes that were committed since opening."""
        return self._writer.writes

    @property
    def commits(self) -> int:
        """Commits, each one disk flush, that held them."""
        return self._writer.commits

    async def close(self) -> None:
        """Finishes what was submitted, then lets the folder go."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise NodeNotReady("The node is shutting down.")

    def _read(self, work: Work[T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = self._local.connection = connect(self._path, read_only=True)
                self._read_connections.append(connection)
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise explain(error) from error

    def _close(self) -> None:
        self._writer.stop()
        self._readers.shutdown()
        for connection in (*self._read_connections, self._connection):
            connection.close()
        os.close(self._lock)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection that leaves transactions to the caller and may change threads; rows have names."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


def _prepared(path: Path, identity: Identity) -> sqlite3.Connection:
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(contextlib.closing(connect(path)))
            prepare(connection, path, identity)
        except sqlite3.Error as error:
            reason = explain(error)
            if isinstance(reason, sqlite3.Error):
                reason = InvalidConfig(f"{path} cannot be opened: {error}.", path=str(path))
            raise reason from error
        stack.pop_all()
        return connection
