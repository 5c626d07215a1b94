"""Messages between people, through nodes that keep the rules."""

import time
from pathlib import Path

import httpx
import pytest
from tests.services.client.people import errors, new_node, open_channel, person, read, texts
from tests.services.client.scripted import ScriptedNode
from tests.services.client.world import World

from waypost.errors import (
    ChannelMissing,
    InvalidAddress,
    InvalidSeal,
    MessageTooLarge,
    NodeRefused,
)
from waypost.protocol import mailboxes
from waypost.protocol.messages import Message

pytestmark = pytest.mark.asyncio(loop_scope="module")

FETCH = "/v1/mailbox/fetch"
LIST = "/v1/mailbox"
DAY = 24 * 3600


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
