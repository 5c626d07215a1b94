"""Messages between people, through nodes that keep the rules and nodes that don't."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.services.client.people import new_node, open_channel
from tests.services.client.scripted import ScriptedNode, Tamper, changed
from tests.services.client.world import World

from waypost.client.client import Client
from waypost.client.inbox import Fetched
from waypost.errors import (
    ChannelMissing,
    InvalidAddress,
    InvalidAnswer,
    InvalidSeal,
    MessageForged,
    MessageTooLarge,
    NodeDisagrees,
    NodeRefused,
    WaypostError,
)
from waypost.protocol import mailboxes
from waypost.protocol.messages import Message

pytestmark = pytest.mark.asyncio(loop_scope="module")

FETCH = "/v1/mailbox/fetch"
LIST = "/v1/mailbox"
DAY = 24 * 3600


@asynccontextmanager
async def person(world: World, home: Path, *nodes: ScriptedNode, **options: Any) -> AsyncIterator[Client]:
    """Somebody with a channel at each of these nodes."""
    async with world.client(await world.account(), home, **options) as client:
        for node in nodes:
            await open_channel(client, node)
        yield client


async def read(client: Client, *nodes: ScriptedNode) -> Fetched:
    """Fetches from these nodes, and acknowledges."""
    fetched = await client.mailbox.fetch(await client.mailbox.look([node.operator.address for node in nodes]))
    await client.mailbox.acknowledge(fetched)
    return fetched


def texts(fetched: Fetched) -> list[bytes]:
    return [received.plaintext for received in fetched.messages]


def errors(fetched: Fetched) -> list[type[WaypostError]]:
    return [type(fault.error) for fault in fetched.faults]


# ---- Honest nodes ----


async def test_what_is_sent_arrives_once_and_in_order(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with person(world, tmp_path / "a", node) as alice, person(world, tmp_path / "b", node) as bob:
        sent = [b"one", b"two", "drei €".encode(), b"\x00\xff", b""]
        for text in sent:
            await alice.mailbox.send(bob.mailbox.address, text)
        fetched = await read(bob, node)
        assert texts(fetched) == sent
        assert not fetched.faults
        channel = bob.channels.at(node.operator.address)
        assert channel.books.spent == node.opening + fetched.charged
        assert texts(await read(bob, node)) == []
        assert texts(await read(alice, node)) == []


async def test_nodes_see_neither_text_nor_who_it_is_for(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with person(world, tmp_path / "a", node) as alice, person(world, tmp_path / "b") as bob:
        await alice.mailbox.send(bob.mailbox.address, b"a secret")
        ((message, _),) = node.messages.values()
        assert b"a secret" not in message.payload
        assert bytes(bob.account.mailbox_key.public_key) not in message.payload
        assert message.topic in bob.mailbox.inbox.topics()
        assert message.topic not in alice.mailbox.inbox.topics()


async def test_copies_are_kept_at_different_nodes_and_paid_for_once(world: World, tmp_path: Path) -> None:
    nodes = [await new_node(world) for _ in range(3)]
    async with person(world, tmp_path / "a", *nodes) as alice, person(world, tmp_path / "b", *nodes) as bob:
        sent = await alice.mailbox.send(bob.mailbox.address, b"hello", copies=3)
        assert {copy.operator for copy in sent.copies} == {node.operator.address for node in nodes}
        assert sent.charged == 3 * sent.copies[0].charged
        fetched = await read(bob, *nodes)
        assert texts(fetched) == [b"hello"]
        assert sum(node.count(FETCH) for node in nodes) == 1


async def test_a_node_that_is_away_is_replaced(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.client.channel.FIRST_PAUSE_SECONDS", 0)
    nodes = [await new_node(world) for _ in range(3)]
    async with person(world, tmp_path, *nodes) as client:
        del world.network.hosts[nodes[0].operator.host]
        for _ in range(3):
            sent = await client.mailbox.send(client.mailbox.address, b"hello", copies=2)
            assert len(sent.copies) == 2
        short = await client.mailbox.send(client.mailbox.address, b"hello", copies=3)
        assert len(short.copies) == 2
        assert list(short.faults) == [nodes[0].operator.address]


async def test_a_message_survives_until_it_is_acknowledged(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()
    async with world.client(account, tmp_path) as client:
        await open_channel(client, node)
        await client.mailbox.send(client.mailbox.address, b"hello")
        operators = [node.operator.address]
        assert texts(await client.mailbox.fetch(await client.mailbox.look(operators))) == [b"hello"]
        fetched = await client.mailbox.fetch(await client.mailbox.look(operators))
        assert texts(fetched) == [b"hello"]
        await client.mailbox.acknowledge(fetched)
    async with world.client(account, tmp_path) as client:
        assert texts(await read(client, node)) == []


async def test_the_cursor_moves_on(world: World, tmp_path: Path) -> None:
    node = await new_node(world, max_page=3)
    async with person(world, tmp_path, node) as client:
        for number in range(10):
            await client.mailbox.send(client.mailbox.address, b"%d" % number)
        assert len((await read(client, node)).messages) == 10
        assert node.count(FETCH) == 4  # three at a time, as the node wants it
        node.requests.clear()
        await client.mailbox.send(client.mailbox.address, b"new")
        assert texts(await read(client, node)) == [b"new"]
        cursors = [request.content for request in node.requests if request.url.path == LIST]
        assert len(cursors) == 1
        assert b'"cursor":"10"' in cursors[0]


async def test_a_node_that_lost_its_cursors_is_listed_from_the_start(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with person(world, tmp_path, node) as client:
        await client.mailbox.send(client.mailbox.address, b"old")
        await read(client, node)
        await client.mailbox.send(client.mailbox.address, b"new")

        def forgetful(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            if request.url.path == LIST and b"cursor" in request.content:
                return httpx.Response(400, json={"code": "invalid_cursor", "detail": "Unknown."})
            return response

        node.tamper = forgetful
        assert texts(await read(client, node)) == [b"new"]


async def test_messages_of_earlier_days_are_found(world: World, tmp_path: Path) -> None:
    now = [time.time()]
    node = await new_node(world, clock=lambda: now[0])
    async with person(world, tmp_path, node, clock=lambda: now[0]) as client:
        for age in (29, 1, 0):
            now[0] = time.time() - age * DAY
            await client.mailbox.send(client.mailbox.address, b"%d days ago" % age, retention=30 * DAY)
        assert texts(await read(client, node)) == [b"29 days ago", b"1 days ago", b"0 days ago"]


async def test_looking_is_free_and_fetching_costs_what_was_quoted(world: World, tmp_path: Path) -> None:
    nodes = [await new_node(world), await new_node(world, fetch_per_kib=1)]
    async with person(world, tmp_path, *nodes) as client:
        for size in (10, 1000, 100_000, 150_000):
            await client.mailbox.send(client.mailbox.address, b"x" * size, copies=2)
        listing = await client.mailbox.look([node.operator.address for node in nodes])
        assert node_spent(nodes) == node_spent(nodes)
        before = node_spent(nodes)
        quote = client.mailbox.inbox.quote(listing)
        fetched = await client.mailbox.fetch(listing)
        assert fetched.charged == quote == node_spent(nodes) - before
        assert nodes[0].count(FETCH) == 0  # the other one is cheaper


def node_spent(nodes: list[ScriptedNode]) -> int:
    return sum(account.spent for node in nodes for account in node.accounts.values())


async def test_a_message_that_only_a_strange_node_has_is_not_lost(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with person(world, tmp_path / "a", node) as alice, person(world, tmp_path / "b") as bob:
        await alice.mailbox.send(bob.mailbox.address, b"hello")
        fetched = await read(bob, node)
        assert errors(fetched) == [ChannelMissing]
        assert len(fetched.unread) == 1
        await open_channel(bob, node)
        assert texts(await read(bob, node)) == [b"hello"]


async def test_an_expired_message_is_no_ones_fault(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with person(world, tmp_path, node) as client:
        await client.mailbox.send(client.mailbox.address, b"early")
        await client.mailbox.send(client.mailbox.address, b"late")
        listing = await client.mailbox.look([node.operator.address])
        node.messages.pop(next(iter(node.messages)))
        fetched = await client.mailbox.fetch(listing)
        assert texts(fetched) == [b"late"]
        assert not fetched.unread
        node.messages.clear()
        gone = await client.mailbox.fetch(listing)
        assert errors(gone) == [NodeRefused, NodeRefused]
        assert not gone.unread
        assert not client.channels.at(node.operator.address).books.stopped


async def test_junk_is_named_once_and_paid_for_once(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with person(world, tmp_path, node) as client:
        topic = client.mailbox.inbox.topics()[-2]
        sealed = mailboxes.seal(b"for somebody else", bytes(32 * [9]))
        for number, payload in enumerate((b"junk", sealed)):
            message = Message(topic, payload, time.time_ns() + number)
            node.messages[message.id] = message, int(time.time()) + DAY
        await client.mailbox.send(client.mailbox.address, b"real")
        fetched = await read(client, node)
        assert texts(fetched) == [b"real"]
        assert errors(fetched) == [InvalidSeal, InvalidSeal]
        assert not (await read(client, node)).faults


@pytest.mark.parametrize("recipient", ["", "wp1", "0x" + "11" * 32, "wp1" + "a" * 56])
async def test_nothing_is_sent_to_a_mistyped_address(world: World, tmp_path: Path, recipient: str) -> None:
    node = await new_node(world)
    async with person(world, tmp_path, node) as client:
        with pytest.raises(InvalidAddress):
            await client.mailbox.send(recipient, b"hello")
        assert node.count("/v1/messages") == 0


async def test_too_large_messages_are_refused_at_home(world: World, tmp_path: Path) -> None:
    async with person(world, tmp_path) as client:
        with pytest.raises(MessageTooLarge):
            await client.mailbox.send(client.mailbox.address, bytes(150 * 1024))
        with pytest.raises(ChannelMissing, match="open one first"):
            await client.mailbox.send(client.mailbox.address, b"hello")


# ---- Lying nodes ----


def altered(**changes: Any) -> Tamper:
    """The first delivered message with fields changed."""

    def change(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [messages[0] | changes, *messages[1:]]

    return changed(FETCH, messages=change)


@pytest.mark.parametrize(
    "lie",
    [
        altered(payload=base64.b64encode(b"another text").decode()),
        altered(payload="!!"),
        altered(timestamp="1"),
        altered(topic="/waypost/1/other/raw"),
        altered(meta=base64.b64encode(b"x").decode()),
        changed(FETCH, messages=lambda messages: [{}]),
        changed(FETCH, messages=lambda messages: [{"id": messages[0]["id"]}]),
    ],
)
async def test_a_forged_message_is_reported_and_fetched_elsewhere(
    world: World, tmp_path: Path, lie: Tamper
) -> None:
    liar, honest = await new_node(world, fetch_per_kib=1), await new_node(world)
    async with person(world, tmp_path, liar, honest) as client:
        await client.mailbox.send(client.mailbox.address, b"the true text", copies=2)
        liar.tamper = lie
        fetched = await read(client, liar, honest)
        assert texts(fetched) == [b"the true text"]
        assert [received.operator for received in fetched.messages] == [honest.operator.address]
        assert MessageForged in errors(fetched)
        # It was paid for that one request, and never again.
        channel = next(c for c in client.channels.all() if c.record.operator == liar.operator.address)
        assert channel.books.signed == liar.accounts[channel.signer].spent
        with pytest.raises(NodeDisagrees, match="delivered another"):
            await client.mailbox.send(client.mailbox.address, b"hello", operators=[liar.operator.address])


async def test_a_forged_message_that_nobody_else_has_stays_unread(world: World, tmp_path: Path) -> None:
    liar = await new_node(world)
    async with person(world, tmp_path, liar) as client:
        await client.mailbox.send(client.mailbox.address, b"the true text")
        liar.tamper = altered(timestamp="1")
        fetched = await read(client, liar)
        assert texts(fetched) == []
        assert MessageForged in errors(fetched)
        assert len(fetched.unread) == 1


async def test_messages_that_were_not_asked_for_are_refused(world: World, tmp_path: Path) -> None:
    liar = await new_node(world)
    async with person(world, tmp_path, liar) as client:
        await client.mailbox.send(client.mailbox.address, b"mine")
        stray = Message(
            client.mailbox.inbox.topics()[-2], mailboxes.seal(b"bait", bytes(32 * [7])), time.time_ns()
        )
        bait = {**stray.to_json(), "id": "0x" + stray.id.hex(), "expires": 0}
        liar.tamper = changed(FETCH, messages=lambda messages: [*messages, bait])
        fetched = await read(client, liar)
        assert texts(fetched) == [b"mine"]
        assert errors(fetched) == [MessageForged]


@pytest.mark.parametrize(
    "lie",
    [
        changed(FETCH, charged=lambda charged: str(int(charged) + 1)),
        changed(FETCH, spent=lambda spent: str(int(spent) + 1)),
        changed(FETCH, paid=lambda paid: str(int(paid) - 1)),
        changed(FETCH, paid=lambda paid: str(int(paid) + 10**6)),
    ],
)
async def test_wrong_bills_end_the_business(world: World, tmp_path: Path, lie: Tamper) -> None:
    liar = await new_node(world)
    async with person(world, tmp_path, liar) as client:
        await client.mailbox.send(client.mailbox.address, b"hello")
        channel = client.channels.at(liar.operator.address)
        liar.tamper = lie
        for _ in range(3):
            fetched = await read(client, liar)
            assert texts(fetched) == []
        price = liar.prices.fetch_cost(next(iter(liar.messages.values()))[0].size)
        assert channel.books.signed <= channel.books.spent + price


async def test_a_node_cannot_bill_for_what_it_does_not_deliver(world: World, tmp_path: Path) -> None:
    liar = await new_node(world)
    async with person(world, tmp_path, liar) as client:
        for text in (b"one", b"two"):
            await client.mailbox.send(client.mailbox.address, text)
        liar.tamper = changed(FETCH, messages=lambda messages: messages[:1])
        fetched = await read(client, liar)
        assert texts(fetched) == [b"one"]
        assert len(fetched.unread) == 1
        with pytest.raises(NodeDisagrees, match="charged"):
            client.channels.at(liar.operator.address)


async def test_a_node_cannot_confirm_another_message(world: World, tmp_path: Path) -> None:
    liar = await new_node(world)
    for lie in (changed("/v1/messages", id="0x" + "00" * 32), changed("/v1/messages", expires=1)):
        liar.tamper = None
        async with person(world, tmp_path / str(id(lie)), liar) as client:
            liar.tamper = lie
            with pytest.raises(InvalidAnswer, match="confirms message"):
                await client.mailbox.send(client.mailbox.address, b"hello")
            with pytest.raises(NodeDisagrees):
                await client.mailbox.send(client.mailbox.address, b"hello")


@pytest.mark.parametrize(
    "lie",
    [
        changed(LIST, messages=lambda m: [m[0] | {"topic": "/waypost/1/other/raw"}]),
        changed(LIST, messages=lambda m: [m[0] | {"size": 2**40}]),
        changed(LIST, messages=lambda m: [m[0] | {"size": -1}]),
        changed(LIST, messages=lambda m: [m[0] | {"id": "0x12"}]),
        changed(LIST, messages="all of them"),
        changed(LIST, cursor=7),
        changed(LIST, cursor="x" * 10_000),
    ],
)
async def test_a_list_that_makes_no_sense_is_a_fault_of_that_node(
    world: World, tmp_path: Path, lie: Tamper
) -> None:
    liar, honest = await new_node(world), await new_node(world)
    async with person(world, tmp_path, liar, honest) as client:
        await client.mailbox.send(client.mailbox.address, b"hello", copies=2)
        liar.tamper = lie
        fetched = await read(client, liar, honest)
        assert texts(fetched) == [b"hello"]
        assert isinstance(fetched.listing.faults[liar.operator.address], InvalidAnswer)


async def test_a_list_without_end_is_cut_off(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.client.listing.MAX_LISTED", 500)
    liar = await new_node(world)
    async with person(world, tmp_path) as client:
        topic = client.mailbox.inbox.topics()[-2]

        def endless(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            if request.url.path != LIST:
                return response
            page = liar.count(LIST) * 100
            entry = {"topic": topic, "size": 1, "timestamp": "1", "expires": 1}
            messages = [entry | {"id": f"0x{page + n:064x}"} for n in range(100)]
            return httpx.Response(200, json={"messages": messages, "cursor": str(page)})

        liar.tamper = endless
        listing = await client.mailbox.look([liar.operator.address])
        assert len(listing.ids) == 500
        assert liar.count(LIST) == 5


async def test_one_bad_node_does_not_keep_others_from_delivering(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.client.channel.FIRST_PAUSE_SECONDS", 0)
    bad, good = await new_node(world, fetch_per_kib=1), await new_node(world)
    async with person(world, tmp_path, bad, good) as client:
        await asyncio.gather(
            *(client.mailbox.send(client.mailbox.address, b"%d" % number, copies=2) for number in range(20))
        )
        listing = await client.mailbox.look([bad.operator.address, good.operator.address])
        bad.tamper = lambda request, response: httpx.Response(502, content=b"<html>")
        fetched = await client.mailbox.fetch(listing)
        assert len(fetched.messages) == 20
        assert not fetched.unread
