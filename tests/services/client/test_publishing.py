"""Publishing: proved with a membership, paid without one, and never two messages with one message id."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.services.client.people import open_channel
from tests.services.client.relaying import RelayNode, with_membership
from tests.services.client.scripted import Refusal, changed
from tests.services.client.world import World, open_world

from waypost.client.client import Client
from waypost.errors import (
    AnswerLost,
    ChannelMissing,
    EpochSpent,
    InvalidAnswer,
    InvalidShares,
    MembershipMissing,
    MembershipPending,
    NodeRefused,
    NodeUnreachable,
)
from waypost.protocol.rln import Membership, recover_secret
from waypost.zk.development import DEVELOPMENT_PROVING_KEY, proving_key_file
from waypost.zk.proving_key import read
from waypost.zk.verifier import Verifier

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOPIC = "/chat/1/lobby/plain"
RATE = 3


@dataclass
class Hand:
    """A clock that a test moves by whole epochs."""

    shift: float = 0

    def __call__(self) -> float:
        return time.time() + self.shift


@dataclass
class Unproved:
    """Proofs that nobody looks at, for tests of what is proved."""

    asked: list[tuple[int, int]] = field(default_factory=list)

    async def prove(self, membership: Membership, message_id: int, x: int, external_nullifier: int) -> bytes:
        self.asked.append((external_nullifier, message_id))
        return bytes(128)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield await with_membership(opened)


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest_asyncio.fixture(loop_scope="module")
async def nodes(world: World, clock: Hand) -> list[RelayNode]:
    return [RelayNode(world, await world.operator(), clock, relay_per_kib=1024) for _ in range(2)]


@pytest_asyncio.fixture(loop_scope="module")
async def member(world: World, clock: Hand, nodes: list[RelayNode], tmp_path: Path) -> AsyncIterator[Client]:
    """A member at the first node, whose epoch has just begun."""
    clock.shift = 600 - time.time() % 600
    async with world.client(await world.account(), tmp_path, clock=clock) as client:
        await join(client, nodes[0])
        client.mailbox.publisher._prover = Unproved()  # type: ignore[assignment]
        yield client


async def join(client: Client, node: RelayNode) -> None:
    quote = await client.orders.quote(await client.nodes.get(node.operator.address), RATE, 1)
    await client.orders.join(quote)


def require_no_secret(*nodes: RelayNode) -> int:
    signals = {signal for node in nodes for signal in node.signals}
    for first, second in combinations(signals, 2):
        with pytest.raises(InvalidShares):
            recover_secret(first, second)
    return len(signals)


async def test_proofs_of_a_member_hold(world: World, nodes: list[RelayNode], tmp_path: Path) -> None:
    """With the development key, from key file to node; the epoch may change meanwhile."""
    path = proving_key_file(tmp_path / "keys")
    assert path.name == f"{DEVELOPMENT_PROVING_KEY}.zkey"
    verifier = Verifier(read(path.read_bytes()).verifying_key)
    for node in nodes:
        node.verifier_of_proofs = verifier
    account = await world.account()
    async with world.client(account, tmp_path / "home", rln_keys=tmp_path / "keys") as client:
        await join(client, nodes[0])
        published = await client.mailbox.publish(TOPIC, b"hello, all", copies=2)
        assert {copy.operator for copy in published.copies} == {node.operator.address for node in nodes}
        assert published.charged == 0
        assert nodes[0].signals == nodes[1].signals
        process = client.prover._process
        assert process is not None
    assert process.returncode == 0  # it ends with the client
    for node in nodes:
        assert [e.message.payload for e in node.relayed] == [b"hello, all"]


async def test_the_rate_is_kept_and_the_next_epoch_named(
    member: Client, nodes: list[RelayNode], clock: Hand
) -> None:
    for number in range(RATE):
        published = await member.mailbox.publish(TOPIC, b"%d" % number)
        assert published.slot is not None
        assert published.slot.message_id == number
    with pytest.raises(EpochSpent, match="next message can be sent in") as refused:
        await member.mailbox.publish(TOPIC, b"one too many")
    assert 0 < int(str(refused.value.details["seconds"])) <= 600
    assert refused.value.details["limit"] == RATE
    clock.shift += 600
    await member.mailbox.publish(TOPIC, b"in the next one")
    assert require_no_secret(*nodes) == RATE + 1


async def test_a_member_to_whom_a_reorg_gave_another_leaf(member: Client) -> None:
    """Its registration was mined again, in another block and after another member's."""
    record = member.memberships.current()
    now = record.leaf
    assert now is not None
    record.leaf = now.model_copy(update={"index": now.index + 1, "start": now.start - 12})
    member.memberships.context.store.save_membership(record)
    published = await member.mailbox.publish(TOPIC, b"from another place")
    assert (len(published.copies), published.faults) == (1, {})
    assert member.memberships.current().leaf == now


async def test_many_at_once_share_no_slot(member: Client, nodes: list[RelayNode]) -> None:
    results = await asyncio.gather(
        *(member.mailbox.publish(TOPIC, b"%d" % number) for number in range(RATE + 2)), return_exceptions=True
    )
    assert sum(isinstance(result, EpochSpent) for result in results) == 2
    assert require_no_secret(*nodes) == RATE


async def test_the_same_message_again_is_the_same_share(member: Client, nodes: list[RelayNode]) -> None:
    message = member.mailbox.compose(TOPIC, b"hello")
    first = await member.mailbox.publish(TOPIC, b"", message=message, copies=2)
    again = await member.mailbox.publish(TOPIC, b"", message=message, copies=2)
    assert first.slot == again.slot
    assert [copy.duplicate for copy in again.copies] == [True, True]
    assert require_no_secret(*nodes) == 1


@pytest.mark.parametrize("reason", ["root_unknown", "epoch_out_of_range"])
async def test_a_refused_root_or_epoch_is_proved_anew(
    member: Client, nodes: list[RelayNode], clock: Hand, reason: str
) -> None:
    nodes[0].refuse_next = [Refusal(422, reason)]
    published = await member.mailbox.publish(TOPIC, b"hello", operators=[nodes[0].operator.address])
    assert len(published.copies) == 1
    assert published.faults == {}
    assert require_no_secret(*nodes) == 1
    assert nodes[0].count("/v1/rln/members/" + str(member.memberships.current().id_commitment)) >= 2


async def test_an_epoch_that_ends_while_it_is_proved_costs_a_slot_of_the_next(
    member: Client, nodes: list[RelayNode], clock: Hand
) -> None:
    await member.mailbox.publish(TOPIC, b"the path is known")
    unproved = member.mailbox.publisher._prover
    assert isinstance(unproved, Unproved)
    honest = unproved.prove

    async def slow(membership: Membership, message_id: int, x: int, external_nullifier: int) -> bytes:
        if len(unproved.asked) == 1:
            clock.shift += 600
        return await honest(membership, message_id, x, external_nullifier)

    unproved.prove = slow  # type: ignore[method-assign]
    published = await member.mailbox.publish(TOPIC, b"late")
    assert published.slot is not None
    assert published.slot.message_id == 0
    assert require_no_secret(*nodes) == 2


async def test_a_root_that_stays_unknown_is_an_error(member: Client, nodes: list[RelayNode]) -> None:
    nodes[0].refuse_next = [Refusal(422, "root_unknown") for _ in range(5)]
    with pytest.raises(NodeRefused, match="root_unknown"):
        await member.mailbox.publish(TOPIC, b"hello", operators=[nodes[0].operator.address])
    assert len(nodes[0].refuse_next) == 2


async def test_another_node_takes_what_one_does_not(
    member: Client, nodes: list[RelayNode], world: World
) -> None:
    nodes[0].refuse_next = [Refusal(503, "node_not_ready") for _ in range(3)]
    published = await member.mailbox.publish(
        TOPIC, b"hello", operators=[node.operator.address for node in nodes]
    )
    assert [copy.operator for copy in published.copies] == [nodes[1].operator.address]
    assert list(published.faults) == [nodes[0].operator.address]


async def test_when_no_node_takes_it_the_first_says_why(member: Client, nodes: list[RelayNode]) -> None:
    def lose(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == "/v1/relay":
            raise httpx.ReadError("lost", request=request)
        return response

    nodes[0].tamper = lose
    message = member.mailbox.compose(TOPIC, b"hello")
    with pytest.raises(AnswerLost):
        await member.mailbox.publish(TOPIC, b"", message=message, operators=[nodes[0].operator.address])
    nodes[0].tamper = None
    again = await member.mailbox.publish(TOPIC, b"", message=message, operators=[nodes[0].operator.address])
    assert again.copies[0].duplicate
    assert require_no_secret(*nodes) == 1


async def test_a_node_that_confirms_another_message_is_named(member: Client, nodes: list[RelayNode]) -> None:
    nodes[0].tamper = changed("/v1/relay", id="0x" + "11" * 32)
    with pytest.raises(InvalidAnswer, match=nodes[0].operator.address):
        await member.mailbox.publish(TOPIC, b"hello", operators=[nodes[0].operator.address])


async def test_who_left_does_not_signal(member: Client, nodes: list[RelayNode]) -> None:
    await member.orders.leave()
    assert not member.mailbox.publisher.has_membership()
    with pytest.raises(MembershipMissing, match="left"):
        await member.mailbox.publish(TOPIC, b"hello", paid=False)
    assert nodes[0].signals == []


async def test_before_the_registration_nothing_is_signalled(
    world: World, nodes: list[RelayNode], tmp_path: Path
) -> None:
    nodes[0].refuse_next = [Refusal(422, "membership_refused")]
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(NodeRefused):
            await join(client, nodes[0])
        with pytest.raises(MembershipPending):
            await client.mailbox.publish(TOPIC, b"hello")


async def test_without_a_membership_it_is_paid(world: World, nodes: list[RelayNode], tmp_path: Path) -> None:
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(ChannelMissing, match="neither a membership nor"):
            await client.mailbox.publish(TOPIC, b"hello")
        channels = [await open_channel(client, node) for node in nodes]
        message = client.mailbox.compose(TOPIC, b"x" * 2000)
        cost = nodes[0].prices.relay_cost(message.size)
        quotes = await client.mailbox.publisher.quote(message, ())
        assert set(quotes.values()) == {cost}
        published = await client.mailbox.publish(TOPIC, b"", message=message, copies=2)
        assert (len(published.copies), published.charged, published.slot) == (2, 2 * cost, None)
        for channel, node in zip(channels, nodes, strict=True):
            assert channel.books.spent == node.accounts[channel.signer].spent == node.opening + cost
        nodes[0].tamper = changed("/v1/relay", id="0x" + "11" * 32)
        with pytest.raises(InvalidAnswer):
            await client.mailbox.publish(TOPIC, b"again", operators=[nodes[0].operator.address])
        assert channels[0].books.stopped


async def test_a_mailbox_gets_it_sealed(member: Client, nodes: list[RelayNode]) -> None:
    await member.mailbox.publish(member.mailbox.address, b"secret", copies=2)
    (envelope,) = nodes[0].relayed
    assert b"secret" not in envelope.message.payload
    assert envelope.message.topic in member.mailbox.inbox.topics()


async def test_nobody_to_hand_it_to(member: Client, nodes: list[RelayNode], world: World) -> None:
    member.nodes._known.clear()
    world.network.hosts.clear()
    with pytest.raises(NodeUnreachable):
        await member.mailbox.publish(TOPIC, b"hello", operators=[nodes[0].operator.address])
