"""The acts in which members chat across all nodes for nothing, and one who sends more than its rate pays for
it with its stake."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from eth_typing import ChecksumAddress

from waypost.chain.connection import Call
from waypost.chain.membership import Collected, Membership, Slashed
from waypost.cli.demo.processes import POLL_SECONDS
from waypost.cli.demo.stage import DOLLAR, Slash, Stage, rln_keys
from waypost.client import Client
from waypost.client.nodes import Node
from waypost.client.prover import Prover
from waypost.client.records import MembershipRecord
from waypost.client.subscription import Subscription
from waypost.errors import DemoFailed, NodeRefused
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope, RateProof, signal_of
from waypost.protocol.rln import Membership as MembershipWitness
from waypost.protocol.rln import external_nullifier, signal
from waypost.protocol.signatures import checksum

TOPIC = "/waypost/1/demo/plain"
RATE = 8
"""Messages that each member may send in an epoch."""
SPAM_RATE = 2
TOKENS, DEPOSIT = 5 * DOLLAR, 1 * DOLLAR
CHATTERS = ("Carol", "Dave")
REFUSALS = ("rate_exceeded", "member_exposed", "root_unknown")
SLASH_SECONDS = 60.0
"""How long the play waits for a slash before it gives up."""


A_BLOCK = Call(checksum(bytes(20)), b"", 0, "Nothing")


async def join(stage: Stage) -> None:
    """Three people without ETH stake, and get a leaf in the tree of members."""
    stage.prover = Prover(rln_keys(), stage.deployed.manifest.chain_id, stage.narrator.fact)
    stage.stack.push_async_callback(stage.prover.close)
    await stage.prover.start()
    people = [(name, RATE) for name in CHATTERS] + [("Trudy", SPAM_RATE)]
    for (name, rate), waypost in zip(people, stage.wayposts, strict=True):
        client = await stage.meet(name, TOKENS)
        quote = await client.orders.quote(await client.nodes.get(waypost.operator), rate, 1)
        await client.orders.join(quote)
        stage.deposited[name] -= quote.total
        stage.narrator.fact(
            f"{name} joined at {waypost.name}: {rate} messages in {quote.epoch_seconds} s for a stake of"
            f" {quote.stake / DOLLAR:.2f} and a fee of {quote.fee / DOLLAR:.3f} DUSD"
        )
    stage.narrator.fact("each has a leaf in the tree of members, the same at all nodes")


async def chat(stage: Stage) -> None:
    """What a member publishes at one node is heard at all, once each."""
    async with AsyncExitStack() as stack:
        heard = []
        for name, waypost in zip(CHATTERS, stage.wayposts[1:], strict=True):
            client = stage.people[name]
            node = await client.nodes.get(waypost.operator)
            await client.channels.open(node, await client.channels.terms(node, DEPOSIT))
            there = await client.mailbox.subscribe([TOPIC], operators=[waypost.operator])
            heard.append(await stack.enter_async_context(there))
            await asyncio.wait_for(there.live.wait(), 30)
        said = []
        for index in range(2 * (RATE - 2)):
            name = CHATTERS[index % 2]
            text = f"{name}: message {index + 1}"
            at = stage.wayposts[index % len(stage.wayposts)].operator
            await stage.people[name].mailbox.publish(TOPIC, text.encode(), operators=[at])
            said.append(text)
        for there in heard:
            texts = await asyncio.wait_for(_listen(there, len(said)), 60)
            if sorted(texts) != sorted(said):
                raise DemoFailed(f"Of {len(said)} messages, {len(set(texts) & set(said))} were heard.")
    stage.chatted = len(said)
    stage.narrator.fact(
        f"{len(said)} messages, published at {len(stage.wayposts)} nodes with proofs and for nothing: each"
        f" was heard once at {' and '.join(waypost.name for waypost in stage.wayposts[1:])}"
    )


async def spam(stage: Stage) -> None:
    """Trudy sends one more than its rate, at another node. Her own software does not do that."""
    nodes = [await stage.people["Trudy"].nodes.get(waypost.operator) for waypost in stage.wayposts]
    trudy, membership = await Spammer.ready(stage.people["Trudy"], nodes[0]), _membership(stage)
    stake, _ = await membership.cost(SPAM_RATE, 1)
    for number in range(SPAM_RATE):
        await trudy.send(nodes[0], number)
    # The circuit has no proof for a number beyond the rate: one has to be used again.
    if await trudy.send(nodes[1], 0) not in (None, "rate_exceeded"):  # the nodes' logs may have met already
        raise DemoFailed("The message that proves the spam was refused for another reason.")
    slashed = await _slashed(stage, membership, trudy.record.id_commitment)
    refused = sum([await trudy.is_refused(node) for node in nodes])
    receiver = next(waypost.name for waypost in stage.wayposts if waypost.operator == slashed.receiver)
    stage.slash = Slash(receiver, stake, slashed.reward, slashed.burned, refused)
    if refused != len(nodes) or slashed.reward > stake // 5 or slashed.burned < stake - stake // 5:
        raise DemoFailed(f"The spammer was not treated as it should be: {stage.slash}.")
    stage.narrator.fact(
        f"Trudy sent {SPAM_RATE + 1} of {SPAM_RATE} messages, the last at another node: her secret is out"
    )
    stage.narrator.fact(
        f"her stake of {stake / DOLLAR:.4f} DUSD is lost: {slashed.reward / DOLLAR:.4f} to {receiver}, who"
        f" was first, {slashed.burned / DOLLAR:.4f} burned with the rest of her fee; all nodes refuse her"
    )


@dataclass(frozen=True, slots=True)
class Spammer:
    """A member that publishes by hand, in one epoch and with whatever number."""

    client: Client
    record: MembershipRecord
    member: MembershipWitness
    epoch: int

    @classmethod
    async def ready(cls, client: Client, node: Node) -> Self:
        """With a path from before anybody knows."""
        record = client.memberships.current()
        path = await client.memberships.trees.path(record, [node])
        member = path.membership(client.memberships.secret(record.index), record.rate)
        return cls(client, record, member, int(time.time()) // record.epoch_seconds)

    async def send(self, node: Node, number: int) -> str | None:
        """Publishes another message; the node's reason if it refuses."""
        message = Message(TOPIC, b"Buy now!", time.time_ns())
        identifier = self.client.memberships.trees.identifier(self.record.network, self.record.epoch_seconds)
        inputs = number, signal_of(message), external_nullifier(self.epoch, identifier)
        proof = await self.client.prover.prove(self.member, *inputs)
        made = signal(self.member, *inputs)
        envelope = Envelope(message, RateProof(self.epoch, made.root, made.nullifier, made.y, proof))
        try:
            await node.client.call("POST", "/v1/relay", envelope.to_json())
        except NodeRefused as error:
            return str(error.details["reason"])
        return None

    async def is_refused(self, node: Node) -> bool:
        """Whether the node, once it knows, takes nothing of hers."""
        async with asyncio.timeout(SLASH_SECONDS):
            while await self.send(node, SPAM_RATE - 1) not in REFUSALS:  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
        return True


async def earned_by_members(stage: Stage, operator: ChecksumAddress) -> int:
    """What the membership contract has paid to an operator, in base units: fees and rewards."""
    contract, connection = _membership(stage), stage.deployed.connection
    head, start = await connection.head(), stage.deployed.manifest.start_block
    events = [contract.decode(log) for log in await connection.logs([contract.address], start, head.number)]
    fees = sum(e.paid for e in events if isinstance(e, Collected) and e.home_node == operator)
    return fees + sum(e.reward for e in events if isinstance(e, Slashed) and e.receiver == operator)


def _membership(stage: Stage) -> Membership:
    address = stage.deployed.manifest.membership
    if address is None:
        raise DemoFailed("The manifest has no membership contract.")
    return Membership(stage.deployed.connection, address)


async def _listen(heard: Subscription, count: int) -> list[str]:
    texts = []
    async for message in heard:
        texts.append(message.message.payload.decode())
        if len(texts) == count:
            break
    return texts


async def _slashed(stage: Stage, membership: Membership, id_commitment: int) -> Slashed:
    async with asyncio.timeout(SLASH_SECONDS):
        while True:
            history = await membership.history(id_commitment, stage.deployed.manifest.start_block)
            if found := [event for event in history if isinstance(event, Slashed)]:
                return found[0]
            await stage.bank.send(A_BLOCK)  # this chain makes one when there is something to put into it
            await asyncio.sleep(POLL_SECONDS)
