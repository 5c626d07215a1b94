"""Messages through nodes that alter, withhold and bill wrongly."""

import asyncio
import base64
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.services.client.people import errors, new_node, person, read, texts
from tests.services.client.scripted import Tamper, changed
from tests.services.client.world import World

from waypost.errors import (
    InvalidAnswer,
    MessageForged,
    NodeDisagrees,
)
from waypost.protocol import mailboxes
from waypost.protocol.messages import Message

pytestmark = pytest.mark.asyncio(loop_scope="module")

FETCH = "/v1/mailbox/fetch"
LIST = "/v1/mailbox"
DAY = 24 * 3600


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
