"""Networks that lose answers, nodes that withhold them, clients that die: everything is paid once."""

import asyncio
from pathlib import Path

import httpx
import pytest
from tests.services.client.people import new_node, open_channel, send
from tests.services.client.world import World

from waypost.errors import (
    AnswerLost,
    NodeDisagrees,
    NodeRefused,
    NodeUnreachable,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def losing(path: str, times: int) -> "tuple[list[str], object]":
    lost: list[str] = []

    def tamper(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == path and len(lost) < times:
            lost.append(request.headers.get("idempotency-key", ""))
            raise httpx.ReadError("connection reset", request=request)
        return response

    return lost, tamper


async def test_a_lost_answer_is_asked_for_again_and_paid_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        monkeypatch.setattr("waypost.client.channel.FIRST_PAUSE_SECONDS", 0)
        lost, node.tamper = losing("/v1/messages", 3)  # type: ignore[assignment]
        charged = await send(client)
        assert len(lost) == 3
        assert len(set(lost)) == 1
        assert channel.books.spent == node.accounts[channel.signer].spent == node.opening + charged
        assert len(node.messages) == 1


async def test_answers_that_never_come_cost_at_most_one_price(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await new_node(world)
    account = await world.account()
    monkeypatch.setattr("waypost.client.channel.FIRST_PAUSE_SECONDS", 0)
    async with world.client(account, tmp_path) as client:
        channel = await open_channel(client, node)
        charged = await send(client)
        _, node.tamper = losing("/v1/messages", 10**6)  # type: ignore[assignment]
        for error in (AnswerLost, AnswerLost, NodeDisagrees, NodeDisagrees):
            with pytest.raises(error):
                await send(client)
        assert channel.books.signed == node.opening + 3 * charged
        assert "never answered" in channel.books.stopped
    async with world.client(account, tmp_path) as client:
        with pytest.raises(NodeDisagrees, match="never answered"):
            await send(client)


async def test_a_request_that_was_never_sent_costs_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await new_node(world)
    monkeypatch.setattr("waypost.client.channel.FIRST_PAUSE_SECONDS", 0)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        await send(client)
        handler = world.network.hosts.pop(node.operator.host)
        before = channel.books.spent
        with pytest.raises(NodeUnreachable):
            await send(client)
        assert not channel.books.doubtful
        world.network.hosts[node.operator.host] = handler
        await send(client)
        assert channel.books.spent == node.accounts[channel.signer].spent > before


async def test_a_killed_client_finds_out_what_was_charged(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()
    async with world.client(account, tmp_path) as client:
        channel = await open_channel(client, node)
        charged = await send(client)
        served = asyncio.Event()

        async def hang(request: httpx.Request) -> httpx.Response:
            response = await node.handle(request)
            if request.url.path == "/v1/messages":
                served.set()
                await asyncio.Event().wait()
            return response

        world.network.hosts[node.operator.host] = hang
        sending = asyncio.gather(*(send(client) for _ in range(5)))
        await served.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        world.network.hosts[node.operator.host] = node.handle
    async with world.client(account, tmp_path) as client:
        channel = client.channels.by_signer(channel.signer)
        assert channel.books.doubtful
        await send(client)
        assert channel.books.spent == node.accounts[channel.signer].spent
        assert channel.books.signed <= node.opening + 7 * charged
        assert channel.books.strikes == 0


async def test_an_expired_session_is_replaced(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        await send(client)
        node.tokens.clear()
        await send(client)
        assert channel.books.spent == node.accounts[channel.signer].spent
        assert node.count("/v1/sessions") == 2


async def test_a_refused_request_costs_nothing_and_its_receipt_pays_for_the_next(
    world: World, tmp_path: Path
) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        charged = await send(client)

        def full(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            return httpx.Response(507, json={"code": "storage_full", "detail": "Full."})

        honest = node.handle

        async def refuse(request: httpx.Request) -> httpx.Response:
            return (
                full(request, httpx.Response(507))
                if request.url.path == "/v1/messages"
                else await honest(request)
            )

        world.network.hosts[node.operator.host] = refuse
        for _ in range(3):
            with pytest.raises(NodeRefused) as raised:
                await send(client)
            assert raised.value.details["reason"] == "storage_full"
        assert channel.books.signed == node.opening + 2 * charged
        world.network.hosts[node.operator.host] = honest
        await send(client)
        assert channel.books.signed == channel.books.spent == node.opening + 2 * charged
