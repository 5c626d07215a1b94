"""Reading: list everywhere for free, pay one node for each message, check it against its id, open it.
A message that a node alters, withholds or bills wrongly is fetched from another that lists it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from eth_typing import ChecksumAddress
from nacl.public import PrivateKey

from waypost.client.answers import DeliveryAnswer
from waypost.client.channel import Channel, Context
from waypost.client.channels import PaymentChannels
from waypost.client.listing import Listing, NodeListing, list_node
from waypost.client.nodes import Node
from waypost.errors import (
    JSON,
    ChannelMissing,
    InvalidSeal,
    MessageForged,
    MessageUnknown,
    NodeDisagrees,
    NodeRefused,
    ProtocolError,
    WaypostError,
)
from waypost.protocol import mailboxes
from waypost.protocol.messages import Message
from waypost.protocol.prices import PriceList

KEPT_DAYS = 30
"""Messages live at most this long, so older topics are empty."""
FORGET_SECONDS = (KEPT_DAYS + 1) * mailboxes.SECONDS_PER_DAY
BATCH_BYTES = 512 * 1024
BATCH_IDS = 100
GONE = frozenset({"message_expired", "message_unknown"})


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was checked and opened."""

    message: Message
    plaintext: bytes
    operator: ChecksumAddress
    """The node that delivered it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one message could not be read at one node."""

    id: bytes
    operator: ChecksumAddress
    error: WaypostError


@dataclass(slots=True)
class Fetched:
    """The outcome of a fetch, oldest message first; `acknowledge` it once the messages are safe.

    `unread`: listed ids that no node delivered; they are listed again next time.
    """

    listing: Listing
    messages: list[Received] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    unread: set[bytes] = field(default_factory=set)
    charged: int = 0

    @property
    def finished(self) -> set[bytes]:
        """Ids that need no further look: read, unreadable, or gone from every node."""
        return set(self.listing.ids) - self.unread


class Inbox:
    """The mailbox of one account."""

    def __init__(self, key: PrivateKey, context: Context, channels: PaymentChannels) -> None:
        self._key, self._context, self._channels = key, context, channels
        self._record = context.store.mailbox()

    def topics(self) -> list[str]:
        """The topics of every day that may still have messages, and of tomorrow, for clocks differ."""
        today = mailboxes.day_of(int(self._context.clock()))
        return [
            mailboxes.topic(bytes(self._key.public_key), day) for day in range(today - KEPT_DAYS, today + 2)
        ]

    async def look(self, operators: Collection[ChecksumAddress] = ()) -> Listing:
        """What is new, at these nodes or at all that are registered. Free; nothing is remembered."""
        listing, topics = Listing(), self.topics()
        if operators:
            found = await asyncio.gather(*(self._node(operator) for operator in operators))
            nodes: Mapping[ChecksumAddress, Node | WaypostError] = dict(zip(operators, found, strict=True))
        else:
            nodes = await self._context.nodes.survey()
        results = await asyncio.gather(*(self._list(node, topics) for node in nodes.values()))
        for operator, result in zip(nodes, results, strict=True):
            if isinstance(result, NodeListing):
                result.entries = {
                    id: entry
                    for id, entry in result.entries.items()
                    if "0x" + id.hex() not in self._record.seen
                }
                listing.nodes[operator] = result
            else:
                listing.faults[operator] = result
        return listing

    def plan(self, listing: Listing) -> dict[ChecksumAddress, list[bytes]]:
        """From which node each message would be fetched: the cheapest that can be paid, if any."""
        plan: dict[ChecksumAddress, list[bytes]] = {}
        for id in listing.ids:
            holders = self._payable(listing.holders(id))
            if holders:
                plan.setdefault(holders[0].operator, []).append(id)
        return plan

    def quote(self, listing: Listing) -> int:
        """What fetching all of it by `plan` costs at most, in base units."""
        total = 0
        for operator, ids in self.plan(listing).items():
            there = listing.nodes[operator]
            for batch in _batches(there, ids):
                total += there.node.descriptor.prices.fetch_cost(_size(there, batch))
        return total

    async def fetch(self, listing: Listing) -> Fetched:
        """Pay for, check and open what was listed. A fault at a node is in `faults`, never an exception."""
        fetched = Fetched(listing, unread=set(listing.ids))
        tried: dict[bytes, set[ChecksumAddress]] = {id: set() for id in listing.ids}
        while True:
            orders: dict[ChecksumAddress, list[bytes]] = {}
            for id in [id for id in listing.ids if id in fetched.unread]:
                fresh = [
                    node for node in self._payable(listing.holders(id)) if node.operator not in tried[id]
                ]
                if fresh:
                    orders.setdefault(fresh[0].operator, []).append(id)
                    tried[id].add(fresh[0].operator)
            if not orders:
                break
            await asyncio.gather(
                *(self._fetch_from(listing.nodes[o], ids, fetched) for o, ids in orders.items())
            )
        for id in fetched.unread:
            if not tried[id]:
                operator = listing.holders(id)[0].operator
                missing = ChannelMissing(
                    f"Only nodes without a channel have it, such as {operator}.", operator=operator
                )
                fetched.faults.append(Fault(id, operator, missing))
        fetched.messages.sort(key=lambda received: (received.message.timestamp_ns, received.message.id))
        return fetched

    async def acknowledge(self, fetched: Fetched) -> None:
        """Remember what was read: it is not paid for again, and lists that were read through go on."""
        now = int(self._context.clock())
        record = self._record
        record.seen = {id: until for id, until in record.seen.items() if until > now}
        record.seen.update({"0x" + id.hex(): now + FORGET_SECONDS for id in fetched.finished})
        for operator, there in fetched.listing.nodes.items():
            if not fetched.unread & there.entries.keys():
                record.cursors[operator] = there.cursors
        await asyncio.to_thread(self._context.store.save_mailbox, record.model_copy(deep=True))

    # ---- One node ----

    async def _node(self, operator: ChecksumAddress) -> Node | WaypostError:
        try:
            return await self._context.nodes.get(operator)
        except WaypostError as error:
            return error

    async def _list(self, node: Node | WaypostError, topics: Sequence[str]) -> NodeListing | WaypostError:
        if isinstance(node, WaypostError):
            return node
        try:
            return await list_node(node, topics, self._record.cursors.get(node.operator, {}))
        except WaypostError as error:
            return error

    def _payable(self, nodes: list[Node]) -> list[Node]:
        with_channel = {channel.record.operator for channel in self._channels.open_channels()}
        usable = [node for node in nodes if node.operator in with_channel]
        return sorted(usable, key=lambda node: (node.descriptor.prices.fetch_per_kib, node.operator))

    async def _fetch_from(self, there: NodeListing, ids: list[bytes], fetched: Fetched) -> None:
        operator = there.node.operator
        for batch in _batches(there, ids):
            try:
                channel = self._channels.at(operator)
                await self._fetch_batch(channel, there, batch, fetched)
            except WaypostError as error:
                gone = isinstance(error, NodeRefused) and error.details.get("reason") in GONE
                for id in batch:
                    fetched.faults.append(Fault(id, operator, error))
                    if gone and len(fetched.listing.holders(id)) == 1:
                        fetched.unread.discard(id)
                if isinstance(error, NodeDisagrees):
                    return

    async def _fetch_batch(
        self, channel: Channel, there: NodeListing, batch: list[bytes], fetched: Fetched
    ) -> None:
        size, agreed = _size(there, batch), there.node.descriptor.prices
        body: dict[str, JSON] = {"ids": ["0x" + id.hex() for id in batch]}

        def quote(prices: PriceList) -> int:
            nonlocal agreed
            agreed = prices  # they may have changed since the listing
            return prices.fetch_cost(size)

        answer = await channel.request(
            DeliveryAnswer,
            "/v1/mailbox/fetch",
            body,
            quote,
            max_bytes=2 * size + 1024 * len(batch) + 65536,
        )
        fetched.charged += answer.charged
        delivered: dict[bytes, int] = {}
        for raw in answer.messages:
            try:
                message = self._check(raw, batch, there)
            except WaypostError as error:
                await channel.distrust(f"it was paid for a message and delivered another: {error}")
                fetched.faults.append(Fault(_claimed_id(raw), channel.record.operator, error))
                continue
            delivered[message.id] = message.size
            self._open(message, channel.record.operator, fetched)
        for missing in answer.missing:
            if missing.id in batch and missing.id in fetched.unread:
                unknown = MessageUnknown(
                    f"The node listed the message and no longer has it [{missing.code}]."
                )
                fetched.faults.append(Fault(missing.id, channel.record.operator, unknown))
                if len(fetched.listing.holders(missing.id)) == 1:
                    fetched.unread.discard(missing.id)
        owed = agreed.fetch_cost(sum(delivered.values()))
        if answer.charged > owed:
            await channel.distrust(f"it charged {answer.charged} for messages that cost {owed}.")

    def _check(self, raw: dict[str, object], batch: list[bytes], there: NodeListing) -> Message:
        try:
            message = Message.from_json(raw)
        except ProtocolError as error:
            raise MessageForged(
                f"A delivered message is malformed: {error}", operator=there.node.operator
            ) from None
        if message.id not in batch or message.topic != there.entries[message.id].topic:
            raise MessageForged(
                f"{there.node.client.endpoint} delivered 0x{message.id.hex()}, which was not asked for.",
                operator=there.node.operator,
                id="0x" + message.id.hex(),
            )
        return message

    def _open(self, message: Message, operator: ChecksumAddress, fetched: Fetched) -> None:
        if message.id not in fetched.unread:
            return  # delivered twice in one answer
        fetched.unread.discard(message.id)
        try:
            plaintext = mailboxes.unseal(message.payload, bytes(self._key))
        except InvalidSeal as error:
            # Anybody can put junk under a topic; it is named once and never fetched again.
            fetched.faults.append(Fault(message.id, operator, error))
            return
        fetched.messages.append(Received(message, plaintext, operator))


def _size(there: NodeListing, ids: list[bytes]) -> int:
    return sum(there.entries[id].size for id in ids)


def _batches(there: NodeListing, ids: list[bytes]) -> list[list[bytes]]:
    """Batches of at most BATCH_BYTES and as many ids as the node takes."""
    most = max(1, min(there.node.descriptor.limits.max_page, BATCH_IDS))
    batches: list[list[bytes]] = []
    room = 0
    for id in ids:
        size = there.entries[id].size
        if not batches or size > room or len(batches[-1]) >= most:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(id)
        room -= size
    return batches


def _claimed_id(raw: dict[str, object]) -> bytes:
    claimed = raw.get("id")
    try:
        return bytes.fromhex(str(claimed).removeprefix("0x"))[:32]
    except ValueError:
        return b""
