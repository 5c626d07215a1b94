"""Opening a channel takes its time, may be interrupted, and happens once."""

import json
import time
from pathlib import Path

import httpx
import pytest
from tests.services.client.people import DEPOSIT, new_node, open_channel, send, state_files
from tests.services.client.world import DOLLAR, World

from waypost.errors import (
    AnswerLost,
    NodeRefused,
    OpeningPending,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_opening_is_continued_not_repeated(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()

    def lost(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == "/v1/channels":
            raise httpx.ReadError("reset", request=request)
        return response

    node.tamper = lost
    async with world.client(account, tmp_path) as client:
        verified = await client.nodes.get(node.operator.address)
        terms = await client.channels.terms(verified, DEPOSIT)
        with pytest.raises(AnswerLost):
            await client.channels.open(verified, terms, wait=0)
        (channel,) = client.channels.all()
        assert channel.record.status == "opening"
    node.tamper = None
    async with world.client(account, tmp_path) as client:
        verified = await client.nodes.get(node.operator.address)
        again = await client.channels.open(verified, terms)
        assert again.signer == channel.signer
        assert await client.balance() == 1000 * DOLLAR - DEPOSIT
        assert again.books.spent == node.opening
        await send(client)


async def test_an_opening_that_is_not_mined_is_pending(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()
    honest = node.handle

    async def slow(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/channels":
            return httpx.Response(202, json={"transaction": "0x" + "00" * 32, "status": "pending"})
        return await honest(request)

    world.network.hosts[node.operator.host] = slow
    async with world.client(account, tmp_path) as client:
        verified = await client.nodes.get(node.operator.address)
        terms = await client.channels.terms(verified, DEPOSIT)
        with pytest.raises(OpeningPending):
            await client.channels.open(verified, terms, wait=0)
        (channel,) = await client.channels.refresh()
        assert channel.record.status == "opening"
        world.network.hosts[node.operator.host] = honest
        assert (await client.channels.open(verified, terms)).signer == channel.signer


async def test_an_opening_whose_time_is_up_is_forgotten(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    now = time.time() - 7200  # the opening's deadline is half an hour later: long past on chain
    node.clock = lambda: now

    def refuse(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        return response

    async with world.client(await world.account(), tmp_path, clock=lambda: now) as client:
        node.tamper = refuse
        with pytest.raises(NodeRefused, match="opening_refused"):
            await open_channel(client, node)
        assert len(client.channels.all()) == 1
        assert await client.channels.refresh() == []
        assert state_files(tmp_path, "0x*") == []


async def test_signers_that_another_device_used_are_skipped(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()
    async with (
        world.client(account, tmp_path / "phone") as phone,
        world.client(account, tmp_path / "desk") as desk,
    ):
        used = [(await open_channel(phone, node)).record.index for _ in range(2)]
        assert used == [0, 1]
        assert (await open_channel(desk, node)).record.index == 2


async def test_a_payer_with_ether_can_do_without_the_node(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        sender = await world.funded()
        verified = await client.nodes.get(node.operator.address)
        terms = await client.channels.terms(verified, DEPOSIT)

        def notice(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            if request.url.path == "/v1/sessions" and response.status_code == 404:  # not seen yet, but now
                node.know(json.loads(request.content)["signer"], client.account.payer, DEPOSIT)
            return response

        node.tamper = notice
        channel = await client.channels.open(verified, terms, sender=sender)
        assert channel.books.spent == 0
        assert node.count("/v1/channels") == 0
        await send(client)


async def test_topping_up_raises_deposit_and_limit(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node, limit=DOLLAR)
        assert await client.channels.top_up(channel, 3 * DOLLAR, await world.funded()) == DEPOSIT + 3 * DOLLAR
        assert channel.books.limit == 4 * DOLLAR
        state = await world.channels.channel(node.payee, channel.token, channel.signer)
        assert state.deposited == DEPOSIT + 3 * DOLLAR
