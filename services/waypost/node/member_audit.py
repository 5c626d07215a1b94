"""Compares the members' book with the contract's own state: an event that was left out at the end, or a
removal, breaks no rule that the book could see. Then those blocks are read again."""

import asyncio
import sqlite3

from waypost.chain.blocks import BlockRef
from waypost.chain.membership import Membership, MemberState
from waypost.errors import BooksDisagree
from waypost.node import blocks
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Loop, Signal
from waypost.node.member_log import Status, record_of
from waypost.node.members import TABLE
from waypost.node.sync import Sync

AT_ONCE = 16
"""Members that one round compares: the newest, and as many others in turn."""
SECONDS = 60.0


class MemberAudit:
    """Every so many seconds."""

    def __init__(self, membership: Membership, db: Database, sync: Sync, *, seconds: float = SECONDS) -> None:
        self._membership = membership
        self._db = db
        self._sync = sync
        self._loop = Loop("member_audit", self.check, seconds, Signal())
        self._next = b""

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._loop.run()

    @property
    def fault(self) -> str | None:
        """The code of what was wrong the last time, if anything was."""
        return self._loop.faults.code

    async def check(self) -> None:
        """Compares the number of leaves and some members, as of the last block in the book.

        Raises BooksDisagree, and has sync read the chain again; or a ChainError.
        """
        head, used, newest, rows = await self._db.read(self._sample)
        if head is None:
            return
        if used != (leaves := await self._membership.leaves(block=head.hash)):
            self._disagree(newest, f"{leaves} leaves as of block {head.number}; the book has {used}.")
        states = await asyncio.gather(
            *(self._membership.member(int.from_bytes(row["id_commitment"]), head.hash) for row in rows)
        )
        for row, state in zip(rows, states, strict=True):
            if not _agree(row, state):
                since = row["registered_block"]
                self._disagree(since, f"another state of the member of leaf {row['position']}.")

    def _disagree(self, block: int, what: str) -> None:
        self._sync.start_over(block)
        raise BooksDisagree(f"The membership contract has {what}", block=block)

    def _sample(self, connection: sqlite3.Connection) -> tuple[BlockRef | None, int, int, list[sqlite3.Row]]:
        newest = connection.execute(
            "SELECT * FROM members ORDER BY position DESC, registered_block DESC LIMIT ?", (AT_ONCE,)
        ).fetchall()
        others = connection.execute(
            "SELECT * FROM members WHERE id_commitment > ? ORDER BY id_commitment LIMIT ?",
            (self._next, AT_ONCE),
        ).fetchall()
        self._next = others[-1]["id_commitment"] if len(others) == AT_ONCE else b""
        used, last = 0, 0
        if newest:
            used, last = newest[0]["position"] + 1, newest[0]["registered_block"]
        return blocks.head(connection, TABLE), used, last, [*newest, *others]


def _agree(row: sqlite3.Row, state: MemberState | None) -> bool:
    if state is None:
        return False
    status = Status(row["status"])
    if state.ended:
        return status in (Status.WITHDRAWN, Status.SLASHED)
    if state.record_hash != record_of(row).hash():
        return False
    if not state.left_at:
        return status is Status.MEMBER
    return status is (Status.EXPIRED if state.expired else Status.EXITED)
