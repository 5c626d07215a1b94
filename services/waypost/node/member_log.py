"""What the chain did to members: an append-only log of events, of which each member's state and its leaf are
folds. A reorg deletes the events of undone blocks and folds again, so nothing is undone by hand."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from waypost.chain.blocks import BlockRef, Event
from waypost.chain.membership import Exited, Expired, MemberRecord, Registered, Slashed, Withdrawn
from waypost.errors import BooksDisagree
from waypost.node.rln_tree import RlnTree
from waypost.protocol.poseidon import R
from waypost.protocol.rln import MAX_LIMIT, leaf

MemberEvent = Registered | Exited | Expired | Withdrawn | Slashed


class Status(StrEnum):
    """Where a member is in its life; the leaf is there in the first state alone."""

    MEMBER = "member"
    EXITED = "exited"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SLASHED = "slashed"


_KINDS: Mapping[type[Event], Status] = {
    Registered: Status.MEMBER,
    Exited: Status.EXITED,
    Expired: Status.EXPIRED,
    Withdrawn: Status.WITHDRAWN,
    Slashed: Status.SLASHED,
}
_LEFT = (Status.EXITED, Status.EXPIRED)
_BEFORE: Mapping[Status, tuple[Status, ...]] = {
    Status.EXITED: (Status.MEMBER,),
    Status.EXPIRED: (Status.MEMBER,),
    Status.WITHDRAWN: _LEFT,
    Status.SLASHED: (Status.MEMBER, *_LEFT),
}
"""The states that each kind of event can follow."""


class MemberLog:
    """The book of one RlnMembership contract. `clock` gives Unix seconds.

    Leaves are given out one after the other, a commitment registers once, and whoever leaves was there: an
    event that breaks this says that the endpoint left others out.
    """

    def __init__(self, tree: RlnTree, clock: Callable[[], int]) -> None:
        self._tree = tree
        self._clock = clock

    def apply(self, connection: sqlite3.Connection, events: Iterable[Event], block: BlockRef) -> None:
        """Takes in the events of `block`. Doing it again changes nothing. Raises BooksDisagree."""
        touched: set[int] = set()
        for event in events:
            if isinstance(event, MemberEvent) and not _is_known(connection, event):
                self._check(connection, event)
                _write(connection, event, block)
                _fold(connection, commitment_bytes(event.id_commitment))
                if not isinstance(event, Withdrawn):  # its leaf was zero before
                    touched.add(event.index)
        recent = block.timestamp >= self._clock() - self._tree.root_seconds
        self._tree.change(connection, _leaves(connection, touched), block, recent=recent)

    def rollback(self, connection: sqlite3.Connection, to: BlockRef) -> None:
        """Forgets every event above `to`."""
        undone = connection.execute(
            "DELETE FROM member_events WHERE block_number > ? RETURNING id_commitment", (to.number,)
        ).fetchall()
        touched: set[int] = set()
        for key in {row["id_commitment"] for row in undone}:
            row = connection.execute(
                "SELECT position FROM members WHERE id_commitment = ?", (key,)
            ).fetchone()
            touched.add(row["position"])
            _fold(connection, key)
        last = connection.execute(
            "SELECT block_number, timestamp FROM member_events WHERE kind != ?"
            " ORDER BY block_number DESC LIMIT 1",
            (Status.WITHDRAWN,),
        ).fetchone()
        self._tree.undo(connection, _leaves(connection, touched), to, None if last is None else tuple(last))

    def _check(self, connection: sqlite3.Connection, event: MemberEvent) -> None:
        index, key = event.index, commitment_bytes(event.id_commitment)
        used, newest = _used(connection), _newest_registration(connection)
        if not 0 < event.id_commitment < R or not 0 <= index < 1 << self._tree.depth:
            raise _disagreement(event, newest, "has no place in the tree")
        row = connection.execute("SELECT * FROM members WHERE id_commitment = ?", (key,)).fetchone()
        if not isinstance(event, Registered):
            if row is None or row["position"] != index:
                raise _disagreement(event, newest if index >= used else 0, "is of no member")
            if row["status"] not in _BEFORE[_KINDS[type(event)]]:
                raise _disagreement(event, row["registered_block"], f"cannot follow {row['status']}")
            return
        if row is not None:
            raise _disagreement(event, row["registered_block"], "is of a member")
        if not 1 <= event.rate <= MAX_LIMIT:
            raise _disagreement(event, newest, "has an impossible rate")
        if index > used:
            raise _disagreement(event, newest, f"takes leaf {index}, but {used} is next")
        if index < used:
            last = connection.execute(
                "SELECT status, registered_block FROM members WHERE position = ?"
                " ORDER BY registered_block DESC LIMIT 1",
                (index,),
            ).fetchone()
            if used < 1 << self._tree.depth or last["status"] != Status.WITHDRAWN:
                raise _disagreement(event, last["registered_block"], f"takes leaf {index}, which is not free")


def commitment_bytes(id_commitment: int) -> bytes:
    """A commitment as the database has it: 32 bytes, big-endian."""
    return id_commitment.to_bytes(32)


def record_of(row: sqlite3.Row) -> MemberRecord:
    """What the contract wants back with every call, from a row of members."""
    return MemberRecord(
        int.from_bytes(row["id_commitment"]),
        row["owner"],
        row["home_node"],
        row["position"],
        row["rate"],
        row["start"],
        row["periods"],
    )


def clear(connection: sqlite3.Connection) -> None:
    """Forgets a contract, to follow another from its start."""
    tree = ("tree_nodes", "tree_pending", "tree_roots")
    for table in ("rln_blocks", "member_events", "members", *tree, "shares", "exposures"):
        connection.execute(f"DELETE FROM {table}")


def _is_known(connection: sqlite3.Connection, event: Event) -> bool:
    found = connection.execute(
        "SELECT 1 FROM member_events WHERE block_hash = ? AND log_index = ?",
        (event.block_hash, event.log_index),
    )
    return found.fetchone() is not None


def _used(connection: sqlite3.Connection) -> int:
    """How many leaves were ever taken."""
    highest = connection.execute("SELECT max(position) FROM members").fetchone()[0]
    return 0 if highest is None else int(highest) + 1


def _newest_registration(connection: sqlite3.Connection) -> int:
    """The block of the highest leaf's registration, after which what is missing was left out; 0: none."""
    row = connection.execute(
        "SELECT registered_block FROM members ORDER BY position DESC, registered_block LIMIT 1"
    ).fetchone()
    return 0 if row is None else int(row["registered_block"])


def _disagreement(event: MemberEvent, block: int, why: str) -> BooksDisagree:
    name = type(event).__name__
    return BooksDisagree(
        f"{name} in block {event.block_number} {why}: events before it were left out.", block=block
    )


def _write(connection: sqlite3.Connection, event: MemberEvent, block: BlockRef) -> None:
    fields: dict[str, Any] = {}
    if isinstance(event, Registered):
        fields = {name: getattr(event, name) for name in MemberRecord.__slots__ if name != "id_commitment"}
        fields["leaf"] = leaf(event.id_commitment, event.rate).to_bytes(32).hex()
    elif isinstance(event, Slashed):
        fields = {
            "secret": event.secret.to_bytes(32).hex(),
            "receiver": event.receiver,
            "reward": str(event.reward),
        }
    connection.execute(
        "INSERT INTO member_events VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            event.block_hash,
            event.log_index,
            commitment_bytes(event.id_commitment),
            event.block_number,
            block.timestamp,
            _KINDS[type(event)],
            json.dumps(fields),
        ),
    )


def _fold(connection: sqlite3.Connection, key: bytes) -> None:
    events = connection.execute(
        "SELECT * FROM member_events WHERE id_commitment = ? ORDER BY block_number, log_index", (key,)
    ).fetchall()
    connection.execute("DELETE FROM members WHERE id_commitment = ?", (key,))
    if not events:
        return
    first, last = events[0], events[-1]
    record = json.loads(first["fields"])
    removal = next((event for event in events if event["kind"] != Status.MEMBER), None)
    secret = json.loads(last["fields"]).get("secret")
    connection.execute(
        "INSERT INTO members VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            record["index"],
            record["rate"],
            record["owner"],
            record["home_node"],
            record["start"],
            record["periods"],
            bytes.fromhex(record["leaf"]),
            first["block_number"],
            last["kind"],
            None if removal is None else removal["timestamp"],
            None if secret is None else bytes.fromhex(secret),
        ),
    )


def _leaves(connection: sqlite3.Connection, positions: Iterable[int]) -> dict[int, int]:
    """What the tree has at these places."""
    found = {}
    for position in positions:
        row = connection.execute(
            "SELECT leaf FROM members WHERE position = ? AND status = 'member'", (position,)
        ).fetchone()
        found[position] = 0 if row is None else int.from_bytes(row["leaf"])
    return found
