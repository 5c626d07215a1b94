"""Reorgs of up to twelve blocks around a claim: it counts once, in whatever block it ends up."""

import asyncio

import pytest
from tests.fire.world import DEEPEST, Battlefield
from tests.services.node.money_node import MoneyNode, until

from waypost.node.claims import PURPOSE
from waypost.node.transactions import State

DEPTHS = (1, 2, 3, 6, DEEPEST)
PAID = 1_234_567


@pytest.mark.parametrize("depth", DEPTHS)
async def test_a_claim_that_is_gone_is_sent_again(field: Battlefield, depth: int) -> None:
    async with field.node() as node:
        await claim(field, node, blocks=depth)
        await field.reorg(depth)
        assert await field.claimed(field.clients[0]) == 0
        async with node.running():
            await field.settle(node)
    assert await field.world.connection.nonce(field.keys.gas_account) == 2  # the opening, and one claim


@pytest.mark.parametrize("depth", DEPTHS[1:])
async def test_a_claim_in_another_block_counts_once(field: Battlefield, depth: int) -> None:
    async with field.node() as node:
        raw = await claim(field, node, blocks=depth)
        await field.reorg(depth, (raw, depth - 1))
        async with node.running():
            await field.settle(node)
        (record,) = await node.claimer.history()
        assert record.state is State.MINED
    assert await field.world.connection.nonce(field.keys.gas_account) == 2


@pytest.mark.parametrize("depth", DEPTHS)
async def test_an_opening_that_is_gone_is_sent_again(field: Battlefield, depth: int) -> None:
    (client, _) = field.clients
    async with field.node() as node, node.running(claiming=False):
        await field.open(node, client)
        await field.world.mine(depth - 1)
        await until(lambda: field.is_level(node))
        await field.reorg(depth)
    async with field.node() as node, node.running():
        await field.settle(node)


@pytest.mark.parametrize("depth", DEPTHS)
async def test_a_closing_channel_is_claimed_whatever_the_reorg_undoes(field: Battlefield, depth: int) -> None:
    """First the claim is undone, then the closing itself, and the payer closes again."""
    (client, _) = field.clients
    async with field.node() as node:
        async with node.running(claiming=False):
            await field.open(node, client)
            await field.pay(node, client, PAID)
        await field.world.mine(DEEPEST)
        await client.start_close()
        async with node.running():
            await field.settle(node)
        await field.world.mine(max(0, depth - 2))
        await field.reorg(depth)
        if (await field.state(client)).closes_at == 0:
            await client.start_close()
        async with node.running():
            await field.settle(node)
        assert await field.claimed(client) == PAID


async def test_what_is_not_deep_enough_is_no_income_yet(field: Battlefield) -> None:
    async with field.node(confirmations=DEEPEST) as node:
        (client, _) = field.clients
        async with node.running():
            opening = asyncio.ensure_future(field.open(node, client))
            while not opening.done():
                await field.world.mine()
                await asyncio.sleep(0.05)
            await opening
            await field.settle(node)
            totals = await node.ledger.totals()
            assert totals.confirming == totals.earned > 0
            await field.reorg(DEEPEST)
            await field.settle(node)
            await field.world.mine(DEEPEST)
            await until(lambda: _is_final(node))


async def claim(field: Battlefield, node: MoneyNode, blocks: int) -> bytes:
    """A channel that was paid and claimed, with so many blocks from the claim's on; the raw claim."""
    (client, _) = field.clients
    async with node.running(claiming=False):
        await field.open(node, client)
        await field.pay(node, client, PAID)
    await field.world.mine(DEEPEST)
    await node.catch_up()
    flight = await node.claimer.step()
    assert flight is not None
    assert flight.purpose == PURPOSE

    async def is_mined() -> bool:
        return await field.world.connection.receipt(flight.newest.hash) is not None

    await until(is_mined)  # anvil answers before it mines
    await field.world.mine(blocks - 1)
    await node.catch_up()
    await node.outbox.follow()
    assert await node.claimed() == PAID
    return flight.newest.raw


async def _is_final(node: MoneyNode) -> bool:
    totals = await node.ledger.totals()
    return totals.confirming == 0
