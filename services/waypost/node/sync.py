"""Follows the chain into the books: blocks and the cursor in one write, so that neither is ever ahead.
A write that fails stops the cursor; it is tried again and never skipped."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from waypost.chain.blocks import BlockRef, Event
from waypost.chain.connection import Connection
from waypost.chain.contract import Contract
from waypost.chain.watcher import Applied, Change, Watcher
from waypost.errors import BooksDisagree, ChainStalled
from waypost.node import blocks
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Faults, Loop, Signal

log = structlog.get_logger(__name__)


class Book(Protocol):
    """What is kept in step with the chain. Both methods run inside a write, and in its thread."""

    def apply(self, connection: sqlite3.Connection, events: Iterable[Event], block: BlockRef) -> None:
        """The chain grew to `block`; these events are new. Raises BooksDisagree with the `block` from which
        on the chain has to be read again, when an event cannot follow those before it."""

    def rollback(self, connection: sqlite3.Connection, to: BlockRef) -> None:
        """Everything above `to` is undone."""


class Sync:
    """Keeps `books`, in this order, in step with the events of `contracts` from block number `start` on.

    `signal` rings after every change. `clock` gives Unix seconds. The cursor is in `table`, so that a node
    can follow contracts one by one: what one endpoint's answers do to one book disturbs no other.
    """

    def __init__(
        self,
        connection: Connection,
        db: Database,
        contracts: Sequence[Contract],
        books: Sequence[Book],
        clock: Callable[[], int],
        signal: Signal,
        *,
        start: int,
        poll_seconds: float,
        max_head_age_seconds: int,
        name: str = "sync",
        table: str = "blocks",
    ) -> None:
        self._connection = connection
        self._db = db
        self._contracts = contracts
        self._books = books
        self._clock = clock
        self._signal = signal
        self._start = start
        self._poll_seconds = poll_seconds
        self._max_head_age = max_head_age_seconds
        self._caught_up_at: int | None = None
        self._restart: asyncio.Future[int] | None = None
        self._table = table
        self._follow = Loop(name, self._follow_changes, poll_seconds, Signal())
        self._compare = Loop("head", self._compare_heads, poll_seconds, signal)
        self._stall = Faults("chain")
        self.head = 0
        """Number of the newest block in the books."""

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow.run())
            tasks.create_task(self._compare.run())

    @property
    def head_age(self) -> int | None:
        """Seconds since the books were last seen to be level with the chain; None: never yet."""
        return None if self._caught_up_at is None else self._clock() - self._caught_up_at

    @property
    def ready(self) -> bool:
        """Whether the books are level with the chain, or were a moment ago."""
        age = self.head_age
        return age is not None and age <= self._max_head_age

    @property
    def fault(self) -> str | None:
        """The code of what keeps it from following, if anything does."""
        return self._follow.faults.code or self._compare.faults.code or self._stall.code

    def start_over(self, block: int) -> None:
        """Undoes everything from this block number on and reads it again: the books missed something."""
        if self._restart is not None and not self._restart.done():
            self._restart.set_result(block)

    async def _follow_changes(self) -> None:
        restart = self._restart = asyncio.get_running_loop().create_future()
        following = asyncio.ensure_future(self._take_changes())
        try:
            await asyncio.wait((following, restart), return_when=asyncio.FIRST_COMPLETED)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        if not restart.done():
            following.result()  # it ends by an error alone
        elif anchor := await self._connection.block(max(1, self._start, restart.result()) - 1):
            await self._undo(anchor)
            if following.done() and not following.cancelled():
                following.result()  # a fault, and tried again more slowly

    async def _take_changes(self) -> None:
        known = await self._db.read(lambda connection: blocks.recent(connection, self._table))
        self.head = known[-1].number if known else 0
        watcher = Watcher(
            self._connection, self._contracts, self._start, known, poll_seconds=self._poll_seconds
        )
        async for change in watcher:
            await self._take(change)

    async def _take(self, change: Change) -> None:
        if isinstance(change, Applied):
            try:
                await self._db.write(lambda connection: self._apply(connection, change))
            except BooksDisagree as gap:
                self.start_over(int(str(gap.details["block"])))
                raise
            self.head = change.block.number
        else:
            await self._undo(change.to)
        self._follow.faults.passed()
        self._signal.ring()

    async def _undo(self, to: BlockRef) -> None:
        log.warning("blocks_undone", to=to.number, undone=self.head - to.number)
        await self._db.write(lambda connection: self._roll_back(connection, to))
        self.head = to.number

    def _apply(self, connection: sqlite3.Connection, change: Applied) -> None:
        for book in self._books:
            book.apply(connection, change.events, change.block)
        blocks.advance(connection, change.block, self._table)

    def _roll_back(self, connection: sqlite3.Connection, to: BlockRef) -> None:
        for book in self._books:
            book.rollback(connection, to)
        blocks.rewind(connection, to.number, self._table)
        blocks.advance(connection, to, self._table)

    async def _compare_heads(self) -> None:
        """A quiet chain brings no changes: whether the books are level with it is asked."""
        newest = await self._connection.head()
        if self.head >= newest.number:
            self._caught_up_at = self._clock()
        age = self._clock() - newest.timestamp
        if age <= self._max_head_age:
            self._stall.passed()
            return
        # Only said: some chains rest while nobody uses them.
        sentence = f"The newest block, {newest.number}, is {age} s old."
        self._stall.failed(ChainStalled(sentence, block=newest.number, age=age))
