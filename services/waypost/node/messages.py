"""Messages that the node keeps until they expire, in order of acceptance: what is admitted, at what
price, within which quotas. Reading is in `mailboxes`, the space that messages take in `space`."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from waypost.errors import ClockSkew, MessageConflict, QuotaExceeded, RetentionOutOfRange, StorageFull
from waypost.node import mailboxes, space
from waypost.node.backends.sqlite import Database
from waypost.node.mailboxes import Found, Page
from waypost.protocol.messages import Message
from waypost.protocol.prices import PriceList

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


class MessageStore:
    """The messages of one node. `now` is always Unix seconds, given by the caller."""

    def __init__(self, db: Database, limits: StoreLimits) -> None:
        self._db = db
        self._limits = limits

    # ---- Storing ----

    async def quote(self, message: Message, retention: int, prices: PriceList, now: int) -> int:
        """What `put` would charge now, in token base units. Raises as `put`."""

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
        Raises RetentionOutOfRange, ClockSkew, MessageConflict, StorageFull or QuotaExceeded.
        """
        id, size, expires = message.id, message.size, now + retention
        row = _find(connection, id)
        if live := self._admit(row, message, retention, now):
            cost = _cost(prices, size, expires - live["expires"])
            expires = max(expires, live["expires"])
            connection.execute("UPDATE messages SET expires = ? WHERE id = ?", (expires, id))
            return Stored(id, size, live["accepted"], expires, live["sequence"], cost)
        if row is not None:  # expired: it is accepted anew, under a new sequence number
            space.drop(connection, [row["sequence"]])
            connection.execute("DELETE FROM messages WHERE id = ?", (id,))
        self._check_quotas(connection, signer, size)
        space.count(connection, signer, size)
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
        return await self._db.read(
            lambda connection: mailboxes.list_entries(connection, distinct, cursor, limit, now)
        )

    async def get(self, ids: Iterable[bytes], now: int) -> Found:
        """The messages with these ids."""
        distinct = tuple(dict.fromkeys(ids))
        return await self._db.read(lambda connection: mailboxes.get_messages(connection, distinct, now))

    async def used_bytes(self) -> int:
        """Bytes kept for all channels, as billed."""
        return await self._db.read(lambda connection: space.used(connection, space.EVERYBODY))

    # ---- Expiring ----

    async def prune(self, now: int) -> int:
        """Frees the payloads of expired messages, forgets old ones; returns how many were freed."""
        freed = 0
        while count := await self._db.write(lambda connection: space.expire(connection, now)):
            freed += count
        before = now - self._limits.remember_seconds
        while await self._db.write(lambda connection: space.forget(connection, before)):
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
            # RFC 14 hashes the fields without their lengths: moving the border between two keeps the id.
            if (row["topic"], row["meta"]) != (message.topic, message.meta):
                raise MessageConflict(id="0x" + message.id.hex())
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
        used = space.used(connection, signer)
        if used + size > self._limits.channel_quota_bytes:
            raise QuotaExceeded(
                f"The channel keeps {used} bytes here;"
                f" {size} more exceed its {self._limits.channel_quota_bytes}.",
                used=used,
                given=size,
                maximum=self._limits.channel_quota_bytes,
            )
        if space.used(connection, space.EVERYBODY) + size > self._limits.quota_bytes:
            raise StorageFull("The node stores no more until messages expire.", given=size)


def _find(connection: sqlite3.Connection, id: bytes) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT sequence, accepted, expires, topic, meta FROM messages WHERE id = ?", (id,)
    ).fetchone()
    return row


def _cost(prices: PriceList, size: int, seconds: int) -> int:
    return prices.store_cost(size, seconds) if seconds > 0 else 0
