"""Publishing: with a membership for nothing, proving that the rate is kept, and passed on from node to node;
or paid from a channel, and delivered to the subscribers of the nodes that it was handed to."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from eth_typing import ChecksumAddress

from waypost.client import answers
from waypost.client.answers import PaidRelayAnswer, RelayedAnswer
from waypost.client.channel import Channel, Context
from waypost.client.channels import PaymentChannels
from waypost.client.membership import Memberships
from waypost.client.nodes import Node
from waypost.client.prover import Prover
from waypost.client.rate import Slot
from waypost.client.records import MembershipRecord
from waypost.client.trees import Path
from waypost.errors import (
    ChannelMissing,
    InvalidAnswer,
    MembershipMissing,
    MembershipPending,
    NodeDisagrees,
    NodeRefused,
    NoNodesFound,
    WaypostError,
)
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope, RateProof, signal_of
from waypost.protocol.rln import external_nullifier, signal

PATH_SECONDS = 300
"""How long a path is used again: nodes accept its root for half an hour after it was replaced."""
AGAIN = frozenset({"root_unknown", "epoch_out_of_range"})
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Handed:
    """A message that a node took; `charged` in base units. `duplicate`: it had it before."""

    operator: ChecksumAddress
    accepted: int
    charged: int = 0
    duplicate: bool = False


@dataclass(slots=True)
class Published:
    """A message, and which nodes took it. `faults`: what went wrong at others. `slot`: what was used of the
    membership, if it was proved."""

    message: Message
    copies: list[Handed] = field(default_factory=list)
    faults: dict[ChecksumAddress, WaypostError] = field(default_factory=dict)
    slot: Slot | None = None

    @property
    def charged(self) -> int:
        """Base units, all nodes together."""
        return sum(copy.charged for copy in self.copies)


class Publisher:
    """Hands messages to nodes."""

    def __init__(
        self, context: Context, channels: PaymentChannels, memberships: Memberships, prover: Prover
    ) -> None:
        self._context, self._channels = context, channels
        self._memberships, self._prover = memberships, prover
        self._path: tuple[int, float, Path] | None = None
        self._finding = asyncio.Lock()

    # ---- Proved ----

    def has_membership(self) -> bool:
        """Whether there is a membership to prove with."""
        if self._context.deployment.membership is None:
            return False
        try:
            return self._memberships.current().status in ("joining", "member")
        except MembershipMissing:
            return False

    async def prove(self, message: Message, copies: int, operators: Collection[ChecksumAddress]) -> Published:
        """Publish with the membership, for nothing. The same message again is the same share, so it may be
        repeated after whatever error.

        Raises EpochSpent (with the seconds until the next epoch), MembershipMissing, MembershipPending,
        ClockDiffers, and when no node takes it what the first one answered.
        """
        record = self._memberships.current()
        if record.status != "member":
            record = await self._memberships.refresh(record)
        if record.status == "joining":
            raise MembershipPending("The membership is not registered yet: wait, or join again.")
        if record.status != "member":
            why = f": {record.why}" if record.why else ""
            raise MembershipMissing(f"The membership is {record.status}{why}.", status=record.status)
        nodes = await self._nodes(operators)
        published, waiting = Published(message), nodes
        envelope = await self._envelope(record, message, published, nodes)
        for attempt in range(ATTEMPTS):
            waiting = await self._spread(envelope, waiting, copies, published)
            stale = {f.details.get("reason") for f in published.faults.values()} & AGAIN
            if len(published.copies) >= copies or not stale or attempt == ATTEMPTS - 1:
                break
            # The same message in the same epoch is the same share, whatever the root; in a new epoch it
            # is a slot of that one.
            self._path = None
            retried = [n for n in nodes if _reason(published.faults.get(n.operator)) in AGAIN]
            for node in retried:
                del published.faults[node.operator]
            waiting = [*retried, *waiting]
            envelope = await self._envelope(record, message, published, nodes)
        if not published.copies:
            raise next(iter(published.faults.values()))
        return published

    async def _envelope(
        self, record: MembershipRecord, message: Message, published: Published, nodes: list[Node]
    ) -> Envelope:
        path = await self._find_path(record, nodes)
        counter = await self._memberships.counter(record)
        slot = published.slot = counter.take(message.id)
        membership = path.membership(self._memberships.secret(record.index), record.rate)
        identifier = self._memberships.trees.identifier(record.network, record.epoch_seconds)
        external = external_nullifier(slot.epoch, identifier)
        x = signal_of(message)
        proof = await self._prover.prove(membership, slot.message_id, x, external)
        made = await asyncio.to_thread(signal, membership, slot.message_id, x, external)
        return Envelope(message, RateProof(slot.epoch, path.root, made.nullifier, made.y, proof))

    async def _find_path(self, record: MembershipRecord, nodes: list[Node]) -> Path:
        async with self._finding:
            now = self._context.clock()
            if self._path is not None:
                commitment, at, path = self._path
                if commitment == record.id_commitment and 0 <= now - at < PATH_SECONDS:
                    return path
            home = [n for n in nodes if n.operator == record.operator]
            asked = home + [n for n in await self._memberships.trees.nodes(record.operator) if n not in home]
            try:
                path = await self._memberships.trees.path(record, asked)
            except NodeDisagrees:  # unless a reorg has given it another leaf
                path = await self._memberships.trees.path(await self._memberships.refresh(record), asked)
            self._path = record.id_commitment, now, path
            return path

    async def _spread(
        self, envelope: Envelope, waiting: list[Node], copies: int, published: Published
    ) -> list[Node]:
        while waiting and len(published.copies) < copies:
            needed = copies - len(published.copies)
            batch, waiting = waiting[:needed], waiting[needed:]
            results = await asyncio.gather(*(self._hand(envelope, node) for node in batch))
            for node, result in zip(batch, results, strict=True):
                if isinstance(result, Handed):
                    published.copies.append(result)
                else:
                    published.faults[node.operator] = result
        return waiting

    async def _hand(self, envelope: Envelope, node: Node) -> Handed | WaypostError:
        try:
            response = await node.client.call("POST", "/v1/relay", envelope.to_json())
            answer = answers.parse(RelayedAnswer, response.body)
            _check(answer, envelope.message, node.operator)
        except WaypostError as error:
            return error
        return Handed(node.operator, answer.accepted, duplicate=answer.duplicate)

    async def _nodes(self, operators: Collection[ChecksumAddress]) -> list[Node]:
        if operators:
            return [await self._context.nodes.get(operator) for operator in operators]
        return await self.relays()

    async def relays(self) -> list[Node]:
        """Nodes that pass messages on, in random order. Raises NoNodesFound."""
        if not (found := await self._memberships.trees.relays()):
            raise NoNodesFound("No node of the registry can be used to relay.")
        return found

    # ---- Paid ----

    async def quote(
        self, message: Message, operators: Collection[ChecksumAddress]
    ) -> dict[ChecksumAddress, int]:
        """What publishing costs at each node that could be paid, in base units."""
        quotes = {}
        for channel in self._payable(operators):
            node = await channel.node()
            quotes[node.operator] = node.descriptor.prices.relay_cost(message.size)
        return quotes

    async def pay(self, message: Message, copies: int, operators: Collection[ChecksumAddress]) -> Published:
        """Publish from channels, at `copies` nodes; their own subscribers get it. Raises ChannelMissing, and
        when no node takes it what the first one answered."""
        published, waiting = Published(message), self._payable(operators)
        while waiting and len(published.copies) < copies:
            needed = copies - len(published.copies)
            batch, waiting = waiting[:needed], waiting[needed:]
            results = await asyncio.gather(*(self._pay_at(channel, message) for channel in batch))
            for channel, result in zip(batch, results, strict=True):
                if isinstance(result, Handed):
                    published.copies.append(result)
                else:
                    published.faults[channel.record.operator] = result
        if not published.copies:
            raise next(iter(published.faults.values()))
        return published

    async def _pay_at(self, channel: Channel, message: Message) -> Handed | WaypostError:
        operator = channel.record.operator
        try:
            answer = await channel.request(
                PaidRelayAnswer,
                "/v1/relay",
                message.to_json(),
                lambda prices: prices.relay_cost(message.size),
            )
            if answer.id != message.id:
                await channel.distrust("it was paid to relay a message and confirmed another.")
            _check(answer, message, operator)
        except WaypostError as error:
            return error
        return Handed(operator, answer.accepted, answer.charged, answer.duplicate)

    def _payable(self, operators: Collection[ChecksumAddress]) -> list[Channel]:
        wanted = list(operators) or sorted({c.record.operator for c in self._channels.open_channels()})
        if not wanted:
            self._channels.explain()
            raise ChannelMissing("There is neither a membership nor an open channel to publish with.")
        return [self._channels.at(operator) for operator in wanted]


def _reason(fault: WaypostError | None) -> object:
    return fault.details.get("reason") if isinstance(fault, NodeRefused) else None


def _check(answer: RelayedAnswer, message: Message, operator: ChecksumAddress) -> None:
    if answer.id != message.id:
        raise InvalidAnswer(
            f"{operator} confirms message 0x{answer.id.hex()}, not 0x{message.id.hex()}.", operator=operator
        )
