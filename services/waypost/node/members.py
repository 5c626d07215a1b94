"""What a node knows of RLN's members, as of its books: paths to prove with, roots that proofs may name, and
secrets that everybody knows."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from waypost.chain.blocks import BlockRef
from waypost.chain.membership import MemberRecord
from waypost.errors import MemberRemoved, MemberUnknown, NodeNotReady
from waypost.node import blocks
from waypost.node.backends.sqlite import Database
from waypost.node.member_log import Status, commitment_bytes, record_of
from waypost.node.rln_tree import RlnTree, Root

T = TypeVar("T")

TABLE = "rln_blocks"
MAX_ROOTS = 256
"""In one answer, the newest first."""


@dataclass(frozen=True, slots=True)
class MemberPath:
    """What a member needs for a proof: its place, the siblings lowest first, and the root that they lead to,
    which the tree has after `block`."""

    id_commitment: int
    index: int
    rate: int
    siblings: tuple[int, ...]
    root: int
    block: BlockRef


@dataclass(frozen=True, slots=True)
class TreeState:
    """The tree after `block`. `members` have a leaf; `leaves` were ever taken. `roots` are accepted, newest
    first, at most MAX_ROOTS."""

    root: int
    members: int
    leaves: int
    roots: tuple[Root, ...]
    block: BlockRef


@dataclass(frozen=True, slots=True)
class ExposedMember:
    """A slashed member, whose leaf is under roots that are still accepted: anybody can prove with it."""

    secret: int
    rate: int
    accepted_until: int


class Members:
    """Reads of one snapshot each. Raise NodeNotReady before the first block was read. `clock` gives Unix
    seconds; where the chain's newest block is later, that counts."""

    def __init__(self, db: Database, tree: RlnTree, clock: Callable[[], int]) -> None:
        self._db = db
        self.tree = tree
        self._clock = clock

    async def path(self, id_commitment: int) -> MemberPath:
        """The way from a member to the newest root. Raises MemberUnknown or MemberRemoved."""

        def find(connection: sqlite3.Connection, head: BlockRef) -> MemberPath:
            row = _row(connection, id_commitment)
            if row["status"] != Status.MEMBER:
                raise MemberRemoved(
                    f"The member has no leaf any more: {row['status']}.", status=row["status"]
                )
            index = row["position"]
            root, siblings = self.tree.root(connection), self.tree.path(connection, index)
            return MemberPath(id_commitment, index, row["rate"], siblings, root, head)

        return await self.settled(find)

    async def state(self) -> TreeState:
        """The tree as a whole."""

        def find(connection: sqlite3.Connection, head: BlockRef) -> TreeState:
            members = connection.execute("SELECT count(*) FROM members WHERE status = 'member'")
            highest = connection.execute("SELECT max(position) FROM members").fetchone()[0]
            return TreeState(
                root=self.tree.root(connection),
                members=members.fetchone()[0],
                leaves=0 if highest is None else highest + 1,
                roots=tuple(self.tree.roots(connection, self.now(head), MAX_ROOTS)),
                block=head,
            )

        return await self.settled(find)

    async def accepts(self, root: int) -> bool:
        """Whether a proof may name this root now."""
        return await self.settled(
            lambda connection, head: self.tree.accepts(connection, root, self.now(head))
        )

    async def record(self, id_commitment: int) -> MemberRecord:
        """What the contract wants back with every call. Raises MemberUnknown."""

        return await self._db.read(lambda connection: record_of(_row(connection, id_commitment)))

    async def exposed(self) -> list[ExposedMember]:
        """Whose nullifiers have to be blocked: a relay refuses what proves with these secrets."""

        def find(connection: sqlite3.Connection, head: BlockRef) -> list[ExposedMember]:
            seconds = self.tree.root_seconds
            rows = connection.execute(
                "SELECT * FROM members WHERE secret IS NOT NULL AND removed_at >= ? ORDER BY position",
                (self.now(head) - seconds,),
            )
            return [
                ExposedMember(int.from_bytes(row["secret"]), row["rate"], row["removed_at"] + seconds)
                for row in rows
            ]

        return await self.settled(find)

    def now(self, head: BlockRef) -> int:
        """Unix seconds by which roots are judged."""
        return max(self._clock(), head.timestamp)

    async def settled(self, find: Callable[[sqlite3.Connection, BlockRef], T]) -> T:
        """`find` on a snapshot in which all is hashed, with its newest block. Raises NodeNotReady."""

        def look(connection: sqlite3.Connection) -> tuple[T] | None:
            head = blocks.head(connection, TABLE)
            if head is None:
                raise NodeNotReady("The node has not read its members yet; try again shortly.", retryAfter=5)
            return (find(connection, head),) if self.tree.is_settled(connection) else None

        while (found := await self._db.read(look)) is None:
            await self._db.write(self.tree.settle)
        return found[0]


def _row(connection: sqlite3.Connection, id_commitment: int) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM members WHERE id_commitment = ?", (commitment_bytes(id_commitment),)
    ).fetchone()
    if row is None:
        raise MemberUnknown("Nobody registered this commitment, as far as this node has read.")
    return row
