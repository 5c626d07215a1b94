"""Members across three nodes: what they publish is heard everywhere once, who sends too much is slashed once,
who keeps the rate is safe whatever happens to it, and money comes out to the unit."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from functools import partial

import httpx
import pytest
import pytest_asyncio
from tests.e2e.net import BURNED, TOKENS, TOPIC, Net, Skewed, Waypost, hear, open_net
from tests.services.node.money_node import until
from tests.services.node.world import Deployed, deployed_chain

from waypost.chain.membership import MemberRecord, Slashed
from waypost.chain.presets import LOCAL
from waypost.cli.demo.members import REFUSALS, Spammer
from waypost.client import Client
from waypost.client.nodes import Node
from waypost.client.orders import LeaveStep
from waypost.client.publisher import Published
from waypost.client.rate import Slot
from waypost.errors import AnswerLost, MembershipMissing
from waypost.protocol.messages import Message

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_chain() as chain:
        yield chain


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def net(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Net]:
    async with open_net(deployed, tmp_path_factory.mktemp("net")) as opened:
        yield opened


async def say(member: Client, net: Net, text: str, at: int = 0) -> Published:
    operators = [net.nodes[at].operator]
    return await member.mailbox.publish(TOPIC, text.encode(), operators=operators, paid=False)


async def test_a_member_is_heard_everywhere_once(net: Net) -> None:
    _, b, c = net.nodes
    async with net.member(net.nodes[0], rate=8) as member, net.ears() as ears:
        payer = member.account.payer
        assert await net.world.connection.balance(payer) == 0
        stake, fee = await net.membership.cost(8, 1)
        assert await net.balance(payer) == TOKENS - stake - fee
        published = await say(member, net, "all are there")
        assert (published.charged, published.slot and published.slot.message_id) == (0, 0)
        await hear(ears, "all are there")
        await b.stop()
        await say(member, net, "one restarts")
        await c.stop()
        await say(member, net, "another is away")
        await b.start()
        await say(member, net, "one is back")
        await c.start()
        missed = ["one restarts", "another is away", "one is back"]
        await hear(ears, *missed)
        for at, text in enumerate(("at the first", "at the second", "at the third")):
            await say(member, net, text, at)
            await hear(ears, text)  # and nothing came in between


async def test_a_spammer_is_slashed_once(net: Net) -> None:
    a, b, c = net.nodes
    rate = 2
    async with net.member(a, rate) as member:
        stake, fee = await net.membership.cost(rate, 1)
        first, second, third = [await member.nodes.get(node.operator) for node in net.nodes]
        spammer, record = await Spammer.ready(member, first), net.record(member)
        accounts = (a.operator, b.operator, c.operator, member.account.payer, BURNED)
        before = [await net.balance(account) for account in accounts]
        # The two nodes hear of each other's messages only when they meet.
        await asyncio.gather(b.stop(), c.stop())
        for number in range(rate):
            assert await spammer.send(first, number) is None
        await a.stop()
        await b.start()
        assert await spammer.send(second, 0) is None  # limit + 1: a number has to be used again
        assert await b.exposed() == 0
        await asyncio.gather(a.start(), c.start())

        slash = await slashed(net, record)
        for node in (first, second, third):
            await until(partial(is_refused, spammer, node), 60)
        await until(partial(no_more_to_slash, net), 60)
        await net.world.mine(3)  # what was on its way has arrived
        assert await slashed(net, record) == slash

        gained = [await net.balance(account) - then for account, then in zip(accounts, before, strict=True)]
        streamed = stake + fee - slash.reward - slash.burned
        expected = Counter(
            {a.operator: streamed * 4 // 5, BURNED: slash.burned + streamed - streamed * 4 // 5}
        )
        expected[slash.receiver] += stake // 5
        assert slash.receiver in accounts[:3]
        assert gained == [expected[account] for account in accounts]
        assert await net.membership.total() == await net.balance(net.membership.address)


async def slashed(net: Net, record: MemberRecord) -> Slashed:
    """The only slash of the member, once there is one; the chain mines on meanwhile."""
    found: list[Slashed] = []

    async def look() -> bool:
        await net.world.mine()
        history = await net.membership.history(record.id_commitment, net.world.manifest.start_block)
        found[:] = [event for event in history if isinstance(event, Slashed)]
        return bool(found)

    await until(look, 60)
    (slash,) = found
    return slash


async def is_refused(spammer: Spammer, node: Node) -> bool:
    return await spammer.send(node, spammer.record.rate - 1) in REFUSALS


async def no_more_to_slash(net: Net) -> bool:
    """Every node knows what became of the members that it found."""
    await net.world.mine()
    for node in net.nodes:
        rln = node.running.node.rln
        assert rln is not None
        slashes = await rln.slasher.slashes()
        if slashes.exposed == 0 or slashes.won + slashes.lost < slashes.exposed:
            return False
    return True


class Dying:
    """A prover with which the program ends: its count is on disk, and nothing was sent."""

    async def prove(self, *_: object) -> bytes:
        raise Died


class Died(Exception):
    """In place of a power cut."""


class Deaf(httpx.AsyncHTTPTransport):
    """Sends a message, and hears no answer."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if request.url.path == "/v1/relay":
            raise httpx.ReadError("cut", request=request)
        return response


async def test_who_keeps_the_rate_is_safe(net: Net) -> None:
    account, home = await net.account(), net.home()
    before = [await node.exposed() for node in net.nodes]
    async with net.client(account, home) as member:
        await net.join(member, net.nodes[0], rate=8)
    async with net.ears() as ears:
        # Between its count and its message, and again between message and answer: the same slot each time.
        async with net.client(account, home, prover=Dying()) as member:
            message = member.mailbox.compose(TOPIC, b"through crashes")
            with pytest.raises(Died):
                await publish(member, net, message)
        async with (
            httpx.AsyncClient(transport=Deaf()) as http,
            net.client(account, home, http=http) as member,
        ):
            with pytest.raises(AnswerLost):
                await publish(member, net, message)
        async with net.client(account, home) as member:
            again = await publish(member, net, message, at=1)
            assert again.slot
            assert again.slot.message_id == 0
            await hear(ears, "through crashes")
            assert (await say(member, net, "next")).slot == Slot(again.slot.epoch, 1)
            await hear(ears, "next")
        # A clock as wrong as one may be, or about to begin an epoch.
        epoch = LOCAL.member_window // 10
        edge = -time.time() % epoch - 0.3
        for skew in (0, 60, edge, -60, edge - epoch, 0):
            async with net.client(account, home, clock=Skewed(skew)) as member:
                texts = [f"{number} with {skew} s" for number in range(2)]
                for at, text in enumerate(texts):
                    await say(member, net, text, at)
                await hear(ears, *texts)
    assert [await node.exposed() for node in net.nodes] == before


async def publish(member: Client, net: Net, message: Message, at: int = 0) -> Published:
    operators = [net.nodes[at].operator]
    return await member.mailbox.publish(TOPIC, b"", operators=operators, message=message)


async def test_who_leaves_gets_the_stake_and_the_node_its_fee(net: Net) -> None:
    """The last test: it moves the chain's time."""
    home, rate, periods = net.nodes[0], 5, 3
    async with net.member(home, rate, periods) as member:
        payer, record = member.account.payer, net.record(member)
        stake, fee = await net.membership.cost(rate, periods)
        assert await net.balance(payer) == TOKENS - stake - fee
        left = await member.orders.leave()
        assert left.step is LeaveStep.WAIT
        for node in net.nodes:
            await until(partial(has_no_path, node, record))
        with pytest.raises(MembershipMissing):
            await say(member, net, "too late")
        later = left.withdrawable_at - (await net.world.connection.head()).timestamp
        await net.world.rpc("evm_increaseTime", later)
        await net.world.mine()

        # One period had begun when it left.
        earned, burned = await net.balance(home.operator), await net.balance(BURNED)
        waiting, to_burn = await net.membership.collectable(record)
        assert (waiting, to_burn) == (fee // periods * 4 // 5, fee // periods // 5)
        async with home.running.admin() as admin:
            members = (await admin.get("/rln/members")).json()
            due, lost = int(members["collectable"]), int(members["burned"])
            assert due >= waiting
            answer = await admin.post("/rln/collect")
        assert [each["state"] for each in answer.json()["transactions"]] == ["mined"]
        assert await net.membership.collectable(record) == (0, 0)
        assert await net.balance(home.operator) - earned == due
        assert await net.balance(BURNED) - burned == lost

        assert (await member.orders.leave()).step is LeaveStep.DONE
        assert await net.balance(payer) == TOKENS - fee // periods
        assert await net.membership.total() == await net.balance(net.membership.address)


async def has_no_path(node: Waypost, record: MemberRecord) -> bool:
    answer = await node.running.http.get(f"/v1/rln/members/{record.id_commitment}")
    return bool(answer.is_error and answer.json()["code"] == "member_removed")
