"""Reading what the node keeps: lists of topics page by page, and messages by id."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from waypost.errors import MessageExpired, MessageUnknown
from waypost.node.cursors import Cursors
from waypost.node.space import forgotten_until
from waypost.protocol.messages import Message


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a mailbox's list."""

    id: bytes
    topic: str
    size: int
    timestamp_ns: int
    expires: int


@dataclass(frozen=True, slots=True)
class Page:
    """`cursor` asks for what comes next. `pruned_before`, a cursor too, is set when messages after
    the cursor that was asked with have expired meanwhile; none of them is later than it says."""

    entries: list[Entry]
    cursor: str
    pruned_before: str | None


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message and when it expires."""

    message: Message
    expires: int


@dataclass(frozen=True, slots=True)
class Found:
    """The messages in the order they were asked for, and why others are missing."""

    messages: list[KeptMessage]
    missing: dict[bytes, MessageUnknown | MessageExpired]

    @property
    def size(self) -> int:
        """Bytes that fetching is billed by."""
        return sum(kept.message.size for kept in self.messages)


def list_entries(
    connection: sqlite3.Connection, topics: Sequence[str], cursor: str | None, limit: int, now: int
) -> Page:
    """Live entries of the topics after `cursor`, oldest first. Raises InvalidCursor."""
    cursors = Cursors(connection)
    after = 0 if cursor is None else cursors.decode(cursor)
    found: list[sqlite3.Row] = []
    pruned = 0
    for topic in topics:
        found += connection.execute(
            "SELECT sequence, id, topic, size, timestamp_ns, expires FROM messages"
            " WHERE topic = ? AND sequence > ? AND expires > ? ORDER BY sequence LIMIT ?",
            (topic, after, now, limit + 1),
        )
        last = connection.execute(
            "SELECT max(sequence) FROM messages WHERE topic = ? AND sequence > ? AND expires <= ?",
            (topic, after, now),
        ).fetchone()[0]
        pruned = max(pruned, last or 0)
    if (forgotten := forgotten_until(connection)) > after:
        pruned = max(pruned, forgotten)
    found.sort(key=lambda row: row["sequence"])
    page = found[:limit]
    # A reader that has seen everything continues from now: what others' topics forget is not its loss.
    end = page[-1]["sequence"] if len(found) > limit else cursors.latest
    missed = cursor is not None and pruned > 0
    return Page(
        [Entry(r["id"], r["topic"], r["size"], r["timestamp_ns"], r["expires"]) for r in page],
        cursors.encode(end),
        cursors.encode(pruned) if missed else None,
    )


def get_messages(connection: sqlite3.Connection, ids: Sequence[bytes], now: int) -> Found:
    """Live messages by id, and for each other id what became of it."""
    found = Found([], {})
    for id in ids:
        row = connection.execute(
            "SELECT topic, timestamp_ns, expires, meta, payload FROM messages WHERE id = ?", (id,)
        ).fetchone()
        if row is None:
            found.missing[id] = MessageUnknown(id="0x" + id.hex())
        elif row["expires"] <= now:
            found.missing[id] = MessageExpired(id="0x" + id.hex(), expires=row["expires"])
        else:
            message = Message(row["topic"], row["payload"], row["timestamp_ns"], row["meta"])
            found.messages.append(KeptMessage(message, row["expires"]))
    return found
