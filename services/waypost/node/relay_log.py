"""What was relayed, in order of acceptance, for as long as subscribers may want to catch up: the table
`relayed`, a ring that drops its oldest entries when it is full."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from waypost.node.backends.schema import find_meta, write_meta
from waypost.node.cursors import Cursors
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope, RateProof

TABLE = "relayed"
FROM_THE_START = "0"
"""A cursor before everything; no other looks like it."""
MAX_MESSAGES = 64
MAX_BYTES = 256 * 1024
"""In one batch, which holds one message at least."""
AT_ONCE = 200
"""Entries that one write drops, so that other writes need not wait long."""

_BYTES, _DROPPED = "relay_disk_bytes", "relay_dropped"
"""Facts about the log: the bytes that it may take on disk, the highest sequence number that was dropped."""
_FIELDS = (
    "(length(payload) + length(meta) + 3 * length(CAST(topic AS BLOB)) + ifnull(length(proof), 0) + 240)"
)
_ON_DISK = f"{_FIELDS} + min({_FIELDS}, 4096)"
"""What one row may take: all that it and its index entries hold, and as much again, a page at most, since it
may not fit into what is left of the page before."""


@dataclass(frozen=True, slots=True)
class Known:
    """A message that is there: its size in bytes, when it was accepted, whether subscribers are given it."""

    size: int
    accepted: int
    given: bool


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


def find(connection: sqlite3.Connection, envelope: Envelope) -> Known | None:
    """The message, if it is there: with this very signal, or, for one without a proof, if subscribers are
    given it. RFC 14 hashes fields without their lengths: of equal ids the topic tells messages apart."""
    message, proof = envelope.message, envelope.proof
    which, values = ("nodes_only = 0", []) if proof is None else ("nullifier = ?", [_word(proof.nullifier)])
    row = connection.execute(
        "SELECT size, accepted, EXISTS (SELECT 1 FROM relayed AS other WHERE other.id = relayed.id"
        " AND other.topic = relayed.topic AND other.nodes_only = 0) AS given"
        f" FROM relayed WHERE id = ? AND topic = ? AND {which}",
        (message.id, message.topic, *values),
    ).fetchone()
    return None if row is None else Known(row["size"], row["accepted"], bool(row["given"]))


def append(
    connection: sqlite3.Connection, envelope: Envelope, now: int, quota: int, *, nodes_only: bool = False
) -> None:
    """Enters a message that is not there; the oldest make room. `quota` in bytes on disk."""
    message, proof, held = envelope.message, envelope.proof, _held(connection)
    ((sequence, size),) = connection.execute(
        "INSERT INTO relayed"
        " (id, topic, timestamp_ns, size, accepted, meta, payload, proof, nullifier, nodes_only)"
        f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING sequence, {_ON_DISK}",
        (
            message.id,
            message.topic,
            message.timestamp_ns,
            message.size,
            now,
            message.meta,
            message.payload,
            None if proof is None else json.dumps(proof.to_json()),
            None if proof is None else _word(proof.nullifier),
            nodes_only,
        ),
    ).fetchall()
    held += size
    while held > quota and (freed := _drop(connection, "sequence < ?", sequence)):
        held -= freed
    write_meta(connection, _BYTES, str(held))


def prune(connection: sqlite3.Connection, before: int) -> int:
    """Drops some entries that were accepted before that time; returns how many bytes."""
    held, freed = _held(connection), _drop(connection, "accepted < ?", before)
    if freed:
        write_meta(connection, _BYTES, str(held - freed))
    return freed


def read(connection: sqlite3.Connection, after: int, topics: Sequence[str] | None) -> Batch:
    """The next entries of these topics, or, for other nodes (None), the next ones with a proof."""
    cursors, size, last = Cursors(connection, TABLE), 0, after
    entries: list[Entry] = []
    for sequence, more in _next(connection, after, topics):
        size += more
        if entries and size > MAX_BYTES:
            break
        row = connection.execute("SELECT * FROM relayed WHERE sequence = ?", (sequence,)).fetchone()
        entries.append(Entry(cursors.encode(sequence), more, _text(row)))
        last = sequence
    if not entries:
        last = max(after, cursors.latest)
    pruned = after < int(find_meta(connection, _DROPPED) or 0)
    return Batch(tuple(entries), last, cursors.encode(last), pruned)


def place(connection: sqlite3.Connection, cursor: str | None) -> int:
    """The sequence number that a cursor stands for; without one, the newest. Raises InvalidCursor."""
    if cursor == FROM_THE_START:
        return 0
    cursors = Cursors(connection, TABLE)
    return cursors.latest if cursor is None else cursors.decode(cursor)


def _next(connection: sqlite3.Connection, after: int, topics: Sequence[str] | None) -> list[tuple[int, int]]:
    """Sequence and size of what comes next, from the indexes alone: a backlog may be large."""
    tail = "sequence > ? ORDER BY sequence LIMIT ?"
    if topics is None:
        proved = f"SELECT sequence, size FROM relayed WHERE proof IS NOT NULL AND {tail}"
        return [tuple(row) for row in connection.execute(proved, (after, MAX_MESSAGES))]
    of_topic = f"SELECT sequence, size FROM relayed WHERE nodes_only = 0 AND topic = ? AND {tail}"
    rows = (row for topic in topics for row in connection.execute(of_topic, (topic, after, MAX_MESSAGES)))
    return sorted(tuple(row) for row in rows)[:MAX_MESSAGES]


def _held(connection: sqlite3.Connection) -> int:
    """What all rows together may take on disk; counted where an earlier version counted otherwise."""
    if (known := find_meta(connection, _BYTES)) is not None:
        return int(known)
    counted: int = connection.execute(f"SELECT ifnull(sum({_ON_DISK}), 0) FROM relayed").fetchone()[0]
    return counted


def _drop(connection: sqlite3.Connection, which: str, *values: int) -> int:
    rows = connection.execute(
        "DELETE FROM relayed WHERE sequence IN"
        f" (SELECT sequence FROM relayed WHERE {which} ORDER BY sequence LIMIT ?)"
        f" RETURNING sequence, {_ON_DISK} AS bytes",
        (*values, AT_ONCE),
    ).fetchall()
    if rows:
        highest = max(row["sequence"] for row in rows)
        write_meta(connection, _DROPPED, str(max(highest, int(find_meta(connection, _DROPPED) or 0))))
    return sum(row["bytes"] for row in rows)


def _word(element: int) -> bytes:
    return element.to_bytes(32)


def _text(row: sqlite3.Row) -> str:
    proof = None if row["proof"] is None else RateProof.from_json(json.loads(row["proof"]))
    message = Message(row["topic"], row["payload"], row["timestamp_ns"], row["meta"])
    return json.dumps(Envelope(message, proof).to_json(), separators=(",", ":"))
