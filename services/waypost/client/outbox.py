"""Sending: one sealed message, stored at one or more nodes that this account has channels with."""

import asyncio
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from eth_typing import ChecksumAddress

from waypost.client import addresses
from waypost.client.answers import StoredAnswer
from waypost.client.channel import Channel, Context
from waypost.client.channels import PaymentChannels
from waypost.errors import JSON, ChannelMissing, InvalidAnswer, WaypostError
from waypost.protocol import mailboxes
from waypost.protocol.messages import Message

CLOCK_SLACK_SECONDS = 120
"""How much earlier than by our clock a message may expire, since clocks differ."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A message kept at one node; `charged` in base units, times in Unix seconds."""

    operator: ChecksumAddress
    charged: int
    accepted: int
    expires: int


@dataclass(slots=True)
class Sent:
    """A message and where it is kept. `faults`: what went wrong at other nodes, where nothing is kept."""

    message: Message
    copies: list[Copy] = field(default_factory=list)
    faults: dict[ChecksumAddress, WaypostError] = field(default_factory=dict)

    @property
    def charged(self) -> int:
        """Base units, all copies together."""
        return sum(copy.charged for copy in self.copies)


class Outbox:
    """Stores messages for others."""

    def __init__(self, context: Context, channels: PaymentChannels) -> None:
        self._context, self._channels = context, channels

    def compose(self, recipient: str, plaintext: bytes) -> Message:
        """Seal a plaintext to a mailbox address, under that mailbox's topic of today.

        Raises InvalidAddress, MessageTooLarge.
        """
        key, now = addresses.decode(recipient), self._context.clock()
        topic = mailboxes.topic(key, mailboxes.day_of(int(now)))
        return Message(topic, mailboxes.seal(plaintext, key), int(now * 1e9))

    async def quote(
        self, message: Message, retention: int, operators: Collection[ChecksumAddress] = ()
    ) -> Mapping[ChecksumAddress, int]:
        """What `retention` seconds cost at each node that could be paid, in base units."""
        quotes = {}
        for channel in self._candidates(operators):
            node = await channel.node()
            quotes[node.operator] = node.descriptor.prices.store_cost(message.size, retention)
        return quotes

    async def store(
        self, message: Message, retention: int, copies: int, operators: Collection[ChecksumAddress] = ()
    ) -> Sent:
        """Have `copies` nodes keep the message; nodes that fail are replaced while there are others.

        Fewer copies than asked for show in `faults`; when there is none, the first fault is raised.
        """
        sent = Sent(message)
        waiting = self._candidates(operators)
        random.SystemRandom().shuffle(waiting)
        while waiting and len(sent.copies) < copies:
            needed = copies - len(sent.copies)
            batch, waiting = waiting[:needed], waiting[needed:]
            results = await asyncio.gather(*(self._try(channel, message, retention) for channel in batch))
            for channel, result in zip(batch, results, strict=True):
                if isinstance(result, Copy):
                    sent.copies.append(result)
                else:
                    sent.faults[channel.record.operator] = result
        if not sent.copies:
            raise next(iter(sent.faults.values()))
        return sent

    def _candidates(self, operators: Collection[ChecksumAddress]) -> list[Channel]:
        if operators:
            return [self._channels.at(operator) for operator in operators]
        open_at = {channel.record.operator for channel in self._channels.open_channels()}
        if not open_at:
            self._channels.explain()
            raise ChannelMissing("There is no open channel to pay with: open one first.")
        return [self._channels.at(operator) for operator in sorted(open_at)]

    async def _try(self, channel: Channel, message: Message, retention: int) -> Copy | WaypostError:
        try:
            return await self._store_at(channel, message, retention)
        except WaypostError as error:
            return error

    async def _store_at(self, channel: Channel, message: Message, retention: int) -> Copy:
        body: dict[str, JSON] = {**message.to_json(), "retention": retention}
        answer = await channel.request(
            StoredAnswer, "/v1/messages", body, lambda prices: prices.store_cost(message.size, retention)
        )
        promised = int(self._context.clock()) + retention - CLOCK_SLACK_SECONDS
        if answer.id != message.id or answer.expires < promised:
            await channel.distrust("it was paid to keep a message and confirmed something else.")
            raise InvalidAnswer(
                f"{channel.record.operator} confirms message 0x{answer.id.hex()} until {answer.expires}, "
                f"not 0x{message.id.hex()} until {promised}.",
                operator=channel.record.operator,
            )
        return Copy(channel.record.operator, answer.charged, answer.accepted, answer.expires)
