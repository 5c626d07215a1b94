"""A subscription at several nodes at once: each message once, whoever delivers it first; reconnecting from
where the consumer got to, which is kept on disk."""

import asyncio
import hashlib
import random
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from eth_typing import ChecksumAddress
from nacl.public import PrivateKey

from waypost.client.channel import Channel, Context
from waypost.client.channels import PaymentChannels
from waypost.client.nodes import Node
from waypost.client.relay import Delivery, RelayStream
from waypost.errors import (
    ChainError,
    ChannelMissing,
    ClientError,
    InvalidSeal,
    NodeRefused,
    PriceTooHigh,
    WaypostError,
)
from waypost.protocol import mailboxes
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope

BUFFERED = 64
"""Messages that wait for the consumer, all nodes together; then nodes are no longer read from."""
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 30.0
SAVE_SECONDS = 1.0
RENEW_SECONDS = 6 * 3600.0
"""Connections are made anew after this, since a mailbox has another topic every day."""
SEEN = 4_096
"""Ids that are remembered, so that another node's copy is not a second message."""
PASSING = frozenset({"answer_lost", "node_unreachable"})
PASSING_STATUS = frozenset({401, 402, 408, 425, 429, 500, 502, 503, 504})
"""402, too: whoever reads slowly accepts a price too late."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A message from a relay. `plaintext`: of one that was sealed to this account; `proved`: whether it came
    with the proof of a member, which the node has checked."""

    message: Message
    operator: ChecksumAddress
    proved: bool
    plaintext: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Arrival:
    operator: ChecksumAddress
    cursor: str | None
    envelope: Envelope | None


class Subscription:
    """Use as `async with … as heard: async for message in heard:`. A message counts as consumed when the next
    one is asked for: what was not is delivered again after a crash.

    `faults`: what is wrong with a node just now. The iterator raises when no node is left that may recover:
    the fault of the first. `live` is set once some node has delivered all that it kept.
    """

    def __init__(
        self,
        context: Context,
        channels: PaymentChannels,
        topics: list[str] | Callable[[], Sequence[str]],
        operators: Collection[ChecksumAddress],
        *,
        cursor: str | None = None,
        name: str = "",
        key: PrivateKey | None = None,
    ) -> None:
        """`topics` of a function may change from day to day. `cursor`: where to begin at a node that was not
        subscribed to before, or else with what comes next. `key` opens what was sealed to it."""
        self._context, self._channels = context, channels
        self._topics: Callable[[], Sequence[str]] = topics if callable(topics) else topics.copy
        self._operators, self._first_cursor, self._private = list(operators), cursor, key
        self._name = name or _name_of(self._topics())
        self._queue: asyncio.Queue[_Arrival | None] = asyncio.Queue(BUFFERED)
        self._tasks: list[asyncio.Task[None]] = []
        self._record = context.store.relay()
        self._cursors = dict(self._record.cursors.get(self._name, {}))
        self._delivered: dict[ChecksumAddress, OrderedDict[bytes, None]] = {}
        self._seen: OrderedDict[str, None] = OrderedDict.fromkeys(self._record.seen)
        self._unread: _Arrival | None = None
        self._saved_at = 0.0
        self.faults: dict[ChecksumAddress, WaypostError] = {}
        self.live = asyncio.Event()

    async def __aenter__(self) -> Self:
        for operator in dict.fromkeys(self._operators):
            task = asyncio.create_task(self._follow(operator))
            task.add_done_callback(self._wake)
            self._tasks.append(task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._save()

    def _wake(self, _: object) -> None:
        """Whoever waits for a message may have to hear that none comes any more."""
        with suppress(asyncio.QueueFull):
            self._queue.put_nowait(None)

    async def acknowledge(self) -> None:
        """The message that was given out last is done with, though no other is asked for."""
        await self._consume()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Heard:
        while True:
            await self._consume()
            if self._queue.empty() and all(task.done() for task in self._tasks):
                raise self._end()
            self._unread = await self._queue.get()
            if self._unread is not None and (heard := self._heard(self._unread)) is not None:
                return heard

    def _heard(self, arrival: _Arrival) -> Heard | None:
        """What is new to the consumer. Copies are told apart here and not on arrival: the other node's copy
        only moves its cursor, and only after the first one was consumed."""
        envelope = arrival.envelope
        if envelope is None or envelope.message.id.hex() in self._seen:
            return None
        plaintext = self._open(envelope.message)
        if self._private is not None and plaintext is None:
            return None  # anybody can put junk under a mailbox's topic
        return Heard(envelope.message, arrival.operator, envelope.proof is not None, plaintext)

    async def _consume(self) -> None:
        """What was given out last is done with."""
        arrival, self._unread = self._unread, None
        if arrival is None:
            return
        if arrival.envelope is not None:
            self._seen[arrival.envelope.message.id.hex()] = None
            while len(self._seen) > SEEN:
                self._seen.popitem(last=False)
        if arrival.cursor is not None:
            self._cursors[arrival.operator] = arrival.cursor
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._save()

    def _end(self) -> BaseException:
        for task in self._tasks:
            if not task.cancelled() and (bug := task.exception()) is not None:
                return bug
        for operator in self._operators:
            if operator in self.faults:
                return self.faults[operator]
        return ClientError("There is no node to subscribe at.")

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._context.store.is_writable:
            record = self._context.store.relay()  # other subscriptions keep theirs in it
            record.cursors[self._name] = dict(self._cursors)
            record.seen = list(self._seen)
            self._context.store.save_relay(record)

    # ---- One node ----

    async def _follow(self, operator: ChecksumAddress) -> None:
        pause, reset, dear = FIRST_PAUSE_SECONDS, False, False
        cursor = self._cursors.get(operator, self._first_cursor)
        while True:
            try:
                deliveries = self._deliveries(operator, cursor, fresh=dear)
                async with asyncio.timeout(RENEW_SECONDS), aclosing(deliveries):
                    async for delivery in deliveries:
                        await self._queue.put(_Arrival(operator, delivery.cursor, delivery.envelope))
                        cursor = delivery.cursor or cursor
                        pause, reset, dear = FIRST_PAUSE_SECONDS, False, False
                        self.faults.pop(operator, None)
                        if delivery.is_live:
                            self.live.set()
            except TimeoutError:
                continue  # with the topics of another day
            except WaypostError as error:
                self.faults[operator] = error
                if _reason(error) == "invalid_cursor" and cursor is not None and not reset:
                    # The node lost its database: what comes next is all that there is.
                    cursor, reset = None, True
                    continue
                if isinstance(error, PriceTooHigh) and not dear:
                    dear = True  # the prices may be new ones that are allowed, too
                    continue
                if not _is_passing(error):
                    return
            await self._context.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _deliveries(
        self, operator: ChecksumAddress, cursor: str | None, *, fresh: bool
    ) -> AsyncGenerator[Delivery, None]:
        node = await self._context.nodes.get(operator, fresh=fresh)
        seen = self._delivered.setdefault(operator, OrderedDict())
        stream = RelayStream(node, list(self._topics()), self._channel(node), seen)
        async with stream.open(cursor) as deliveries:
            async for delivery in deliveries:
                yield delivery

    def _channel(self, node: Node) -> Channel | None:
        """What pays for deliveries; without a price nobody needs to know who listens."""
        if node.descriptor.prices.relay_per_kib == 0:
            return None
        try:
            channel = self._channels.at(node.operator)
        except ChannelMissing:
            raise ChannelMissing(
                f"{node.client.endpoint} wants to be paid for what it delivers: open a channel first.",
                operator=node.operator,
            ) from None
        channel.check_prices(node)
        return channel

    def _open(self, message: Message) -> bytes | None:
        if self._private is None:
            return None
        try:
            return mailboxes.unseal(message.payload, bytes(self._private))
        except InvalidSeal:
            return None


def _name_of(topics: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(set(topics))).encode()).hexdigest()[:32]


def _reason(error: WaypostError) -> object:
    return error.details.get("reason")


def _is_passing(error: WaypostError) -> bool:
    """Whether trying again may help: not when the node lies, or says that it will not."""
    if isinstance(error, NodeRefused):
        return error.details.get("status") in PASSING_STATUS or _reason(error) == "price_expired"
    return isinstance(error, ChainError) or error.code in PASSING
