"""What was relayed, in order of acceptance, for as long as subscribers may want to catch up: the table
`relayed`, a ring that drops its oldest entries when it is full."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from waypost.errors import MessageConflict
from waypost.node.backends.schema import find_meta, write_meta
from waypost.node.cursors import Cursors
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope, RateProof

TABLE = "relayed"
MAX_MESSAGES = 64
MAX_BYTES = 256 * 1024
"""In one batch, which holds one message at least."""
AT_ONCE = 200
"""Entries that one write drops, so that other writes need not wait long."""

_BYTES, _DROPPED = "relay_bytes", "relay_dropped"
"""Facts about the log: how many bytes it holds, and the highest sequence number that was dropped."""


@dataclass(frozen=True, slots=True)
class Known:
    """An entry that is there. `evidence`: only other nodes are given it."""

    sequence: int
    size: int
    accepted: int
    evidence: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One message for a subscriber: `text` is its envelope as JSON, `size` what delivering is billed by."""

    cursor: str
    size: int
    text: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What comes after a place in the log. `next` is the place after it, `cursor` the same for others;
    `pruned`: entries between were dropped before they were read."""

    entries: tuple[Entry, ...]
    next: int
    cursor: str
    pruned: bool

    @property
    def size(self) -> int:
        """Bytes that delivering it is billed by."""
        return sum(entry.size for entry in self.entries)


def find(connection: sqlite3.Connection, message: Message) -> Known | None:
    """The message's entry. Raises MessageConflict if its id is that of another message."""
    row = connection.execute(
        "SELECT sequence, topic, meta, size, accepted, evidence FROM relayed WHERE id = ?", (message.id,)
    ).fetchone()
    if row is None:
        return None
    # RFC 14 hashes the fields without their lengths: moving the border between two keeps the id.
    if (row["topic"], row["meta"]) != (message.topic, message.meta):
        raise MessageConflict(id="0x" + message.id.hex())
    return Known(row["sequence"], row["size"], row["accepted"], bool(row["evidence"]))


def append(
    connection: sqlite3.Connection, envelope: Envelope, now: int, quota: int, *, evidence: bool = False
) -> Known:
    """Enters a message that is not there; the oldest make room. `quota` in bytes."""
    message, proof = envelope.message, envelope.proof
    held = int(find_meta(connection, _BYTES) or 0) + message.size
    while held > quota and (freed := _drop(connection, "sequence > 0")):
        held -= freed
    write_meta(connection, _BYTES, str(held))
    sequence = connection.execute(
        "INSERT INTO relayed (id, topic, timestamp_ns, size, accepted, meta, payload, proof, evidence)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            message.id,
            message.topic,
            message.timestamp_ns,
            message.size,
            now,
            message.meta,
            message.payload,
            None if proof is None else json.dumps(proof.to_json()),
            evidence,
        ),
    ).lastrowid
    assert sequence is not None
    return Known(sequence, message.size, now, evidence)


def prune(connection: sqlite3.Connection, before: int) -> int:
    """Drops some entries that were accepted before that time; returns how many bytes."""
    freed = _drop(connection, "accepted < ?", before)
    if freed:
        write_meta(connection, _BYTES, str(int(find_meta(connection, _BYTES) or 0) - freed))
    return freed


def read(connection: sqlite3.Connection, after: int, topics: Sequence[str] | None) -> Batch:
    """The next entries of these topics, or, for other nodes (None), the next ones with a proof."""
    if topics is None:
        chosen, values = "proof IS NOT NULL", []
    else:
        chosen, values = f"topic IN ({', '.join('?' * len(topics))}) AND evidence = 0", list(topics)
    rows = connection.execute(
        f"SELECT * FROM relayed WHERE {chosen} AND sequence > ? ORDER BY sequence LIMIT ?",
        (*values, after, MAX_MESSAGES),
    )
    entries: list[Entry] = []
    cursors, size, last = Cursors(connection, TABLE), 0, after
    for row in rows:
        size += row["size"]
        if entries and size > MAX_BYTES:
            break
        last = row["sequence"]
        entries.append(Entry(cursors.encode(last), row["size"], _text(row)))
    if not entries:
        last = max(after, cursors.latest)
    pruned = after < int(find_meta(connection, _DROPPED) or 0)
    return Batch(tuple(entries), last, cursors.encode(last), pruned)


def place(connection: sqlite3.Connection, cursor: str | None) -> int:
    """The sequence number that a cursor stands for; without one, the newest. Raises InvalidCursor."""
    cursors = Cursors(connection, TABLE)
    return cursors.latest if cursor is None else cursors.decode(cursor)


def _drop(connection: sqlite3.Connection, which: str, *values: int) -> int:
    rows = connection.execute(
        "DELETE FROM relayed WHERE sequence IN"
        f" (SELECT sequence FROM relayed WHERE {which} ORDER BY sequence LIMIT ?) RETURNING sequence, size",
        (*values, AT_ONCE),
    ).fetchall()
    if rows:
        highest = max(row["sequence"] for row in rows)
        write_meta(connection, _DROPPED, str(max(highest, int(find_meta(connection, _DROPPED) or 0))))
    return sum(row["size"] for row in rows)


def _text(row: sqlite3.Row) -> str:
    proof = None if row["proof"] is None else RateProof.from_json(json.loads(row["proof"]))
    message = Message(row["topic"], row["payload"], row["timestamp_ns"], row["meta"])
    return json.dumps(Envelope(message, proof).to_json(), separators=(",", ":"))
