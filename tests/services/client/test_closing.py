"""Closing a channel, with the node's consent and without."""

import time
from pathlib import Path

import pytest
from tests.services.client.people import DEPOSIT, new_node, open_channel, send
from tests.services.client.scripted import changed
from tests.services.client.world import DOLLAR, World

from waypost.client.closing import Step
from waypost.errors import (
    ChannelMissing,
    InsufficientFunds,
    NodeDisagrees,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_with_the_nodes_consent_the_rest_comes_back_at_once(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        await send(client)
        spent = channel.books.spent
        plan = await client.channels.plan_close(channel)
        assert (plan.step, plan.final, plan.refund) == (Step.CONSENT, spent, DEPOSIT - spent)
        closing = await client.channels.close(channel, await world.funded())
        assert (closing.step, closing.final) == (Step.DONE, spent)
        assert await client.balance() == 1000 * DOLLAR - spent
        assert channel.record.status == "closed"
        with pytest.raises(ChannelMissing):
            await send(client)


async def test_consent_is_not_asked_for_in_vain(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        with pytest.raises(InsufficientFunds, match="anybody may send it"):
            await client.channels.close(channel, client.sender())
        assert node.count(f"{channel.path}/close") == 0
        await send(client)


async def test_without_consent_the_rest_comes_back_after_the_delay(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    now = [time.time()]
    node.clock = lambda: now[0]
    async with world.client(await world.account(), tmp_path, clock=lambda: now[0]) as client:
        channel, sender = await open_channel(client, node), await world.funded()
        started = await client.channels.close(channel, sender, consent=False)
        assert started.step is Step.WAIT
        assert started.closes_at > 0
        assert channel.record.status == "closing"
        assert (await client.channels.close(channel, sender, consent=False)).step is Step.WAIT
        with pytest.raises(ChannelMissing):
            await send(client)
        while (await world.connection.head()).timestamp < started.closes_at:
            await world.mint(node.payee, 1)  # every transaction is a block
        now[0] = started.closes_at
        assert (await client.channels.plan_close(channel, consent=False)).step is Step.FINISH
        assert (await client.channels.close(channel, sender, consent=False)).step is Step.DONE
        assert await client.balance() == 1000 * DOLLAR


async def test_a_node_that_asks_for_more_than_it_is_owed_gets_no_close(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)

        def greedy(close: dict[str, object]) -> dict[str, object]:
            return close | {"finalCumulative": str(node.opening + 1)}

        node.tamper = changed(f"{channel.path}/close", close=greedy)
        with pytest.raises(NodeDisagrees, match="without its consent"):
            await client.channels.close(channel, await world.funded())
        state = await world.channels.channel(node.payee, channel.token, channel.signer)
        assert state.status.name == "OPEN"
