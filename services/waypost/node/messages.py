"""Messages that the node keeps until they expire, in order of acceptance.
Rows outlive their payload for a while, so that expired can be told from unknown."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from waypost.errors import (
    ClockSkew,
    MessageExpired,
    MessageUnknown,
    QuotaExceeded,
    RetentionOutOfRange,
    StorageFull,
)
from waypost.node.backends.schema import read_meta, write_meta
from waypost.node.backends.sqlite import Database
from waypost.node.cursors import Cursors
from waypost.protocol.messages import Message
from waypost.protocol.prices import PriceList

EVERYBODY = ""
"""The row of `storage_used` that counts for all channels together."""
FORGOTTEN = "forgotten"
"""Fact about the store: the latest sequence number whose row is gone altogether."""
AT_ONCE = 200
"""Messages that one write expires, so that other writes need not wait long."""
NANOSECONDS = 10**9


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Retention, tolerance and `remember_seconds` in seconds, quotas in bytes as billed.

    `remember_seconds`: for so long an expired message is told from an unknown one.
    """

    retention_min: int
    retention_max: int
    quota_bytes: int
    channel_quota_bytes: int
    clock_tolerance: int
    remember_seconds: int = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Stored:
    """The outcome of storing: `cost` in token base units, times in Unix seconds."""

    id: bytes
    size: int
    accepted: int
    expires: int
    sequence: int
    cost: int


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


class MessageStore:
    """The messages of one node. `now` is always Unix seconds, given by the caller."""

    def __init__(self, db: Database, limits: StoreLimits) -> None:
        self._db = db
        self._limits = limits

    # ---- Storing ----

    async def quote(self, message: Message, retention: int, prices: PriceList, now: int) -> int:
        """What `put` would charge now, in token base units. Raises RetentionOutOfRange, ClockSkew."""

        def work(connection: sqlite3.Connection) -> int:
            live = self._admit(_find(connection, message.id), message, retention, now)
            return _cost(prices, message.size, now + retention - (live["expires"] if live else now))

        return await self._db.read(work)

    def put(
        self,
        connection: sqlite3.Connection,
        message: Message,
        signer: str,
        retention: int,
        prices: PriceList,
        now: int,
    ) -> Stored:
        """Keeps the message for `retention` seconds from now; made to be the effect of a charge.

        A live message is extended: only the added time costs, and its place in the order stays.
        Raises RetentionOutOfRange, ClockSkew, StorageFull or QuotaExceeded.
        """
        id, size, expires = message.id, message.size, now + retention
        row = _find(connection, id)
        if live := self._admit(row, message, retention, now):
            cost = _cost(prices, size, expires - live["expires"])
            expires = max(expires, live["expires"])
            connection.execute("UPDATE messages SET expires = ? WHERE id = ?", (expires, id))
            return Stored(id, size, live["accepted"], expires, live["sequence"], cost)
        if row is not None:  # expired: it is accepted anew, under a new sequence number
            _drop(connection, [row["sequence"]])
            connection.execute("DELETE FROM messages WHERE id = ?", (id,))
        self._check_quotas(connection, signer, size)
        _count(connection, signer, size)
        sequence = connection.execute(
            "INSERT INTO messages (id, topic, timestamp_ns, size, signer, accepted, expires, meta, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                id,
                message.topic,
                message.timestamp_ns,
                size,
                signer,
                now,
                expires,
                message.meta,
                message.payload,
            ),
        ).lastrowid
        assert sequence is not None
        return Stored(id, size, now, expires, sequence, _cost(prices, size, retention))

    # ---- Reading ----

    async def list(self, topics: Iterable[str], cursor: str | None, limit: int, now: int) -> Page:
        """What was accepted on these topics after `cursor`, oldest first, at most `limit` (≥ 1) entries.

        A cursor belongs to the topics that it was made for. Raises InvalidCursor.
        """
        distinct = tuple(dict.fromkeys(topics))
        return await self._db.read(lambda connection: _list(connection, distinct, cursor, limit, now))

    async def get(self, ids: Iterable[bytes], now: int) -> Found:
        """The messages with these ids."""
        distinct = tuple(dict.fromkeys(ids))
        return await self._db.read(lambda connection: _get(connection, distinct, now))

    async def used_bytes(self) -> int:
        """Bytes kept for all channels, as billed."""
        return await self._db.read(lambda connection: _used(connection, EVERYBODY))

    # ---- Expiring ----

    async def prune(self, now: int) -> int:
        """Frees the payloads of expired messages, forgets old ones; returns how many were freed."""
        freed = 0
        while count := await self._db.write(lambda connection: _expire(connection, now)):
            freed += count
        before = now - self._limits.remember_seconds
        while await self._db.write(lambda connection: _forget(connection, before)):
            pass
        return freed

    def _admit(
        self, row: sqlite3.Row | None, message: Message, retention: int, now: int
    ) -> sqlite3.Row | None:
        """`row` if it is live. A message that was accepted once may be older than the tolerance."""
        limits = self._limits
        if not limits.retention_min <= retention <= limits.retention_max:
            raise RetentionOutOfRange(
                f"The retention is {retention} s;"
                f" {limits.retention_min} to {limits.retention_max} s are offered.",
                given=retention,
                minimum=limits.retention_min,
                maximum=limits.retention_max,
            )
        if row is not None and row["expires"] > now:
            return row
        made = message.timestamp_ns // NANOSECONDS
        if abs(made - now) > limits.clock_tolerance:
            raise ClockSkew(
                f"The message was made at {made}, {abs(made - now)} s from the node's clock;"
                f" {limits.clock_tolerance} s are tolerated.",
                given=made,
                now=now,
                tolerance=limits.clock_tolerance,
            )
        return None

    def _check_quotas(self, connection: sqlite3.Connection, signer: str, size: int) -> None:
        used = _used(connection, signer)
        if used + size > self._limits.channel_quota_bytes:
            raise QuotaExceeded(
                f"The channel keeps {used} bytes here;"
                f" {size} more exceed its {self._limits.channel_quota_bytes}.",
                used=used,
                given=size,
                maximum=self._limits.channel_quota_bytes,
            )
        if _used(connection, EVERYBODY) + size > self._limits.quota_bytes:
            raise StorageFull("The node stores no more until messages expire.", given=size)


def _find(connection: sqlite3.Connection, id: bytes) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT sequence, accepted, expires FROM messages WHERE id = ?", (id,)
    ).fetchone()
    return row


def _cost(prices: PriceList, size: int, seconds: int) -> int:
    return prices.store_cost(size, seconds) if seconds > 0 else 0


def _list(
    connection: sqlite3.Connection, topics: Sequence[str], cursor: str | None, limit: int, now: int
) -> Page:
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
    if (forgotten := int(read_meta(connection, FORGOTTEN))) > after:
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


def _get(connection: sqlite3.Connection, ids: Sequence[bytes], now: int) -> Found:
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


def _expire(connection: sqlite3.Connection, now: int) -> int:
    rows = connection.execute(
        "SELECT sequence FROM messages WHERE expires <= ? AND payload IS NOT NULL LIMIT ?", (now, AT_ONCE)
    )
    return _drop(connection, [row["sequence"] for row in rows])


def _drop(connection: sqlite3.Connection, sequences: Sequence[int]) -> int:
    """Frees payloads that are still there; their rows stay. Returns how many."""
    dropped = 0
    for sequence in sequences:
        for row in connection.execute(
            "UPDATE messages SET meta = NULL, payload = NULL WHERE sequence = ? AND payload IS NOT NULL"
            " RETURNING signer, size",
            (sequence,),
        ).fetchall():
            _count(connection, row["signer"], -row["size"])
            dropped += 1
    return dropped


def _forget(connection: sqlite3.Connection, before: int) -> int:
    rows = connection.execute(
        "DELETE FROM messages WHERE sequence IN"
        " (SELECT sequence FROM messages WHERE expires <= ? AND payload IS NULL LIMIT ?) RETURNING sequence",
        (before, AT_ONCE),
    ).fetchall()
    latest = max((row["sequence"] for row in rows), default=0)
    if latest > int(read_meta(connection, FORGOTTEN)):
        write_meta(connection, FORGOTTEN, str(latest))
    return len(rows)


def _used(connection: sqlite3.Connection, signer: str) -> int:
    row = connection.execute("SELECT bytes FROM storage_used WHERE signer = ?", (signer,)).fetchone()
    return 0 if row is None else int(row["bytes"])


def _count(connection: sqlite3.Connection, signer: str, size: int) -> None:
    connection.executemany(
        "INSERT INTO storage_used (signer, bytes) VALUES (?, ?)"
        " ON CONFLICT (signer) DO UPDATE SET bytes = bytes + excluded.bytes",
        ((signer, size), (EVERYBODY, size)),
    )
