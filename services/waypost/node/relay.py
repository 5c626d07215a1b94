"""Relaying: a message that somebody paid for, or that a member proved to be within its rate, goes to whoever
subscribed to its topic, and a proved one to the other nodes, which do the same."""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from waypost.errors import ClockSkew, MemberExposed, RateExceeded, RlnUnavailable
from waypost.node import relay_log
from waypost.node.backends.sqlite import Database
from waypost.node.metrics import Metrics
from waypost.node.rate_gate import Verdict
from waypost.node.relay_log import Batch, Known
from waypost.node.subscriptions import PROVED, Subscriptions
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope

NANOSECONDS = 10**9
JOURNEY_SECONDS = 60
"""From making a message to handing it over: its proof, loading a key for that, another try."""


class Gate(Protocol):
    """Judges proved messages; see rate_gate."""

    async def check(self, envelope: Envelope, source: str, *, late: bool = False) -> bool:
        """Before the write: whether the proof was seen to hold; raises what is wrong with it."""

    def record(self, connection: sqlite3.Connection, envelope: Envelope) -> Verdict:
        """Inside the write that accepts the message."""


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Times in seconds. `late`: how much older than `clock_tolerance` allows a message may be that comes from
    another node, so that a node that was down catches up; JOURNEY_SECONDS at least."""

    retention: int
    quota_bytes: int
    clock_tolerance: int
    late: int = 0


@dataclass(frozen=True, slots=True)
class Relayed:
    """`duplicate`: it had been relayed before, and is not again."""

    id: bytes
    size: int
    accepted: int
    duplicate: bool


class Relay:
    """The relay of one node; without a `gate` it takes no proofs. `clock` gives Unix seconds."""

    def __init__(
        self,
        db: Database,
        gate: Gate | None,
        limits: RelayLimits,
        subscriptions: Subscriptions,
        clock: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self._db = db
        self._gate = gate
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._reads: dict[tuple[int, tuple[str, ...] | None], asyncio.Task[Batch]] = {}
        self.subscriptions = subscriptions

    # ---- Publishing ----

    async def publish(self, envelope: Envelope, source: str, *, late: bool = False) -> Relayed:
        """Relays a proved message. `source` is who sent it, for fairness; `late` allows for a journey.

        Raises RlnUnavailable, ClockSkew, MessageConflict, RateExceeded, or what the gate raises.
        """
        message = envelope.message
        if self._gate is None or envelope.proof is None:
            raise RlnUnavailable("This node takes no proofs of membership.")
        if known := await self._db.read(lambda connection: relay_log.find(connection, envelope)):
            return _again(message, known)
        self._check_clock(message, late)
        holds = await self._gate.check(envelope, source, late=late)
        relayed, verdict = await self._db.write(
            lambda connection: self._put_proved(connection, envelope, holds)
        )
        self.announce(envelope, relayed, "node" if late else "member")
        if verdict is Verdict.CONFLICT:
            raise RateExceeded(id="0x" + message.id.hex())
        if verdict is Verdict.EXPOSED:
            raise MemberExposed
        return relayed

    def put(self, connection: sqlite3.Connection, message: Message) -> Relayed:
        """Relays a message that was paid for, to this node's own subscribers; made to be part of the effect
        of a charge. Call `announce` after it. Raises ClockSkew, MessageConflict or RateExceeded."""
        if known := relay_log.find(connection, Envelope(message)):
            return _again(message, known)
        self._check_clock(message, late=False)
        now = self._clock()
        relay_log.append(connection, Envelope(message), now, self._limits.quota_bytes)
        return Relayed(message.id, message.size, now, duplicate=False)

    def announce(self, envelope: Envelope, relayed: Relayed, origin: str = "paid") -> None:
        """Wakes who waits for it, once it is on disk."""
        if not relayed.duplicate:
            self._metrics.relayed(origin)
            self._reads.clear()  # what was begun before does not see it
            self.subscriptions.wake(envelope.message.topic)
            if envelope.proof is not None:
                self.subscriptions.wake(PROVED)

    # ---- Reading ----

    async def place(self, cursor: str | None) -> int:
        """Where a subscription begins: after a cursor, or with what comes next. Raises InvalidCursor."""
        return await self._db.read(lambda connection: relay_log.place(connection, cursor))

    async def read(self, after: int, topics: tuple[str, ...] | None) -> Batch:
        """The next batch for a subscriber of the topics, or for another node (None). Subscribers that are at
        the same place share a read."""
        key = after, topics
        task = self._reads.get(key)
        if task is None:
            reading = self._db.read(lambda connection: relay_log.read(connection, after, topics))
            task = self._reads[key] = asyncio.ensure_future(reading)
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    async def prune(self, now: int) -> None:
        """Drops what is older than the retention."""
        before = now - self._limits.retention
        while await self._db.write(lambda connection: relay_log.prune(connection, before)):
            pass

    def _put_proved(
        self, connection: sqlite3.Connection, envelope: Envelope, holds: bool
    ) -> tuple[Relayed, Verdict]:
        """The message that exposes a member is for other nodes alone, if its proof `holds`: they must see it.
        So is one that subscribers were given before, when it was paid for."""
        assert self._gate is not None
        message, now = envelope.message, self._clock()
        if known := relay_log.find(connection, envelope):
            return _again(message, known), Verdict.DUPLICATE
        verdict, quota = self._gate.record(connection, envelope), self._limits.quota_bytes
        relayed = Relayed(message.id, message.size, now, duplicate=verdict is not Verdict.NEW)
        if verdict is Verdict.NEW:
            given = relay_log.find(connection, Envelope(message)) is not None
            relay_log.append(connection, envelope, now, quota, nodes_only=given)
        elif verdict is Verdict.CONFLICT and holds:
            relay_log.append(connection, envelope, now, quota, nodes_only=True)
            relayed = replace(relayed, duplicate=False)
        return relayed, verdict

    def _forget(self, key: tuple[int, tuple[str, ...] | None], task: "asyncio.Task[Batch]") -> None:
        if self._reads.get(key) is task:
            del self._reads[key]

    def _check_clock(self, message: Message, late: bool) -> None:
        made, now, tolerance = (
            message.timestamp_ns // NANOSECONDS,
            self._clock(),
            self._limits.clock_tolerance,
        )
        earliest = now - tolerance - max(JOURNEY_SECONDS, self._limits.late if late else 0)
        latest = now + tolerance * (2 if late else 1)  # the other node's clock may be ahead of ours, too
        if not earliest <= made <= latest:
            raise ClockSkew(
                f"The message was made at {made}; from {earliest} to {latest} is taken.",
                given=made,
                now=now,
                tolerance=tolerance,
            )


def _again(message: Message, known: Known) -> Relayed:
    if not known.given:  # it is there as evidence
        raise RateExceeded(id="0x" + message.id.hex())
    return Relayed(message.id, known.size, known.accepted, duplicate=True)
