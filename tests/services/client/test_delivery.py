"""Deliveries that are paid for, over real sockets: at the right price, through breaks, and only once."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.services.client.people import open_channel
from tests.services.client.relaying import (
    TOPIC,
    RelayNode,
    listen,
    messages,
    relay_node,
    sent,
    take,
    texts,
    until_live,
)
from tests.services.client.world import World

from waypost.client.client import Client
from waypost.errors import ChannelMissing, NodeDisagrees, PriceTooHigh
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("impatient")]


async def paid(world: World, client: Client, stack: AsyncExitStack, **options: Any) -> RelayNode:
    node = await stack.enter_async_context(relay_node(world, time.time, relay_per_kib=1000, **options))
    await open_channel(client, node)
    return node


async def test_each_batch_is_paid_once_and_both_books_agree(world: World, client: Client) -> None:
    wanted = messages(100, size=4_000)
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        async with await listen(client, node, cursor="0") as subscription:
            await node.publish(*wanted)
            assert texts(await take(subscription, 100)) == sent(wanted)
            await node.publish(*messages(101, size=4_000)[100:])
            await take(subscription, 1)
        account, books = node.accounts[channel.signer], channel.books
        delivered = sum(e.message.size for e in node.relayed)
        cost = books.spent - node.opening
        assert node.prices.relay_cost(delivered) <= cost <= node.prices.relay_cost(delivered) + 20
        assert (account.paid, account.spent) == (books.paid, books.spent)
        assert (books.reserved, books.interrupted, books.unanswered, books.stopped) == (0, 0, 0, "")
        assert node.firsts[0]["session"] in node.tokens


async def test_a_node_that_charges_too_much_is_distrusted_after_what_it_delivered(
    world: World, client: Client
) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        node.overcharge = 1
        async with await listen(client, node, cursor="0") as subscription:
            await node.publish(*messages(3))
            with pytest.raises(NodeDisagrees):
                await take(subscription, 4)
        assert channel.books.stopped


async def test_a_node_that_delivers_one_message_twice_for_money_is_distrusted(
    world: World, client: Client
) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        (twice,) = messages(1, size=5_000)
        async with await listen(client, node, cursor="0") as subscription:
            await node.publish(twice, twice)
            with pytest.raises(NodeDisagrees, match="for messages that cost"):
                await take(subscription, 2)
        assert "messages that cost" in channel.books.stopped


async def test_a_node_that_delivers_again_after_a_break_for_money_is_distrusted(
    world: World, client: Client
) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        async with await listen(client, node, cursor="0") as subscription:
            await node.publish(*messages(3))
            await take(subscription, 3)
            deliver = node._deliver
            node._deliver = lambda socket, first: deliver(socket, {**first, "cursor": "0"})  # type: ignore[method-assign]
            node.sockets[-1].transport.abort()
            with pytest.raises(NodeDisagrees, match="for messages that cost 0"):
                await take(subscription, 1)
        assert len(node.sockets) == 2
        assert "for messages that cost 0" in channel.books.stopped


async def test_each_node_is_paid_for_the_messages_that_it_delivers(world: World, client: Client) -> None:
    async with AsyncExitStack() as stack:
        both = [await paid(world, client, stack) for _ in range(2)]
        async with await listen(client, *both, cursor="0") as subscription:
            for node, last in zip(both, (b"of one", b"of the other"), strict=True):
                await node.publish(*messages(3), Envelope(Message(TOPIC, last, 5)))
            await take(subscription, 5)  # the last ones come after what both have
        assert [channel.books.stopped for channel in client.channels.all()] == ["", ""]


async def test_a_batch_beyond_the_price_is_not_paid(world: World, client: Client) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        node.junk = [json.dumps({"type": "payment_required", "amount": "256001", "required": ""})]
        async with await listen(client, node) as subscription:
            with pytest.raises(PriceTooHigh, match="256001"):
                await take(subscription, 1)
        assert channel.books.signed == channel.books.spent == node.opening


async def test_a_connection_that_breaks_after_the_payment_leaves_a_doubt_that_is_settled(
    world: World, client: Client
) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        honest = node._send
        broken: list[int] = []

        async def breaks(socket: Any, first: Any, batch: Any, size: int) -> None:
            if broken:
                await honest(socket, first, batch, size)
                return
            broken.append(size)
            demand = {"type": "payment_required", "amount": str(node.prices.relay_cost(size)), "required": ""}
            await socket.send(json.dumps(demand))
            await socket.recv()
            account = node.accounts[channel.signer]
            await socket.close()
            assert account.spent == node.opening  # it charged nothing

        node._send = breaks  # type: ignore[method-assign]
        wanted = messages(3)
        async with await listen(client, node, cursor="0") as subscription:
            await node.publish(*wanted)
            assert texts(await take(subscription, 3)) == sent(wanted)
        assert len(broken) == 1
        account, books = node.accounts[channel.signer], channel.books
        assert account.spent == books.spent
        assert not books.doubtful


async def test_breaks_within_batches_cost_nothing_twice_and_no_trust(world: World, client: Client) -> None:
    """The node charged, the messages came, and the account of it was lost each time."""
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        honest = node._send
        cut: list[int] = []

        async def cuts(socket: Any, first: Any, batch: Any, size: int) -> None:
            class Cutting:
                async def send(self, text: str) -> None:
                    if json.loads(text)["type"] == "account" and len(cut) < 3:
                        cut.append(size)
                        await socket.close()
                    else:
                        await socket.send(text)

                async def recv(self) -> Any:
                    return await socket.recv()

            await honest(Cutting(), first, batch, size)  # type: ignore[arg-type]

        node._send = cuts  # type: ignore[method-assign]
        wanted = messages(5)
        async with await listen(client, node, cursor="0") as subscription:
            for envelope in wanted:
                await node.publish(envelope)
                assert texts(await take(subscription, 1)) == sent([envelope])
        account, books = node.accounts[channel.signer], channel.books
        assert len(cut) == 3
        assert (
            account.spent
            == books.spent
            == node.opening + sum(node.prices.relay_cost(envelope.message.size) for envelope in wanted)
        )
        assert (books.strikes, books.stopped) == (0, "")


async def test_an_ended_session_is_replaced(world: World, client: Client) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        async with await listen(client, node, cursor="0") as subscription:
            await until_live(subscription)
            node.tokens.clear()
            await node.publish(*messages(2))
            assert len(await take(subscription, 2)) == 2
        assert node.firsts[0]["session"] != node.firsts[-1]["session"]


async def test_without_a_channel_a_node_with_a_price_says_so(world: World, client: Client) -> None:
    async with (
        relay_node(world, time.time, relay_per_kib=1000) as node,
        await listen(client, node) as subscription,
    ):
        with pytest.raises(ChannelMissing, match="open a channel first"):
            await take(subscription, 1)


async def test_ending_in_the_middle_of_a_batch_books_it_as_broken_off(world: World, client: Client) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        asked = asyncio.Event()

        async def hangs(socket: Any, first: Any, batch: Any, size: int) -> None:
            demand = {"type": "payment_required", "amount": "1", "required": ""}
            await socket.send(json.dumps(demand))
            await socket.recv()
            asked.set()
            await asyncio.Event().wait()

        node._send = hangs  # type: ignore[method-assign]
        async with await listen(client, node, cursor="0"):
            await node.publish(*messages(1))
            async with asyncio.timeout(60):
                await asked.wait()
        assert channel.books.interrupted == 1
        assert channel.books.reserved == 0
