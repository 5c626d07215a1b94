"""What a transaction may pay: no more than it is worth, than the account holds, or than is reasonable."""

import pytest
from tests.services.node.money_node import Clock, NodeKeys, open_node
from tests.services.node.tampering import Tampered, nothing, stored, tampered
from tests.services.node.world import World

from waypost.chain.fees import MAX_TIP
from waypost.errors import InsufficientFunds
from waypost.node.outbox import MAKE_WAY, PATIENCE
from waypost.node.transactions import Draft, State


async def test_fees_rise_no_further_than_it_is_worth(world: World, keys: NodeKeys) -> None:
    clock = Clock()
    async with open_node(world, keys, connection=Tampered, clock=clock) as node:
        tampered(node).free = True
        draft = Draft("claim", world.token.approve(keys.payee, 1), 100_000, ceiling=1)
        transaction = await node.outbox.post(draft, nothing)
        tampered(node).free = False
        for _ in range(3):
            clock.shift += PATIENCE
            await node.outbox.follow()
        assert (await stored(node, transaction)).newest.max_fee <= 1
        await node.outbox.hurry(transaction)
        await node.outbox.follow()
        assert await world.token.allowance(keys.gas_account, keys.payee) == 1


async def test_what_gas_became_too_dear_for_makes_way(world: World, keys: NodeKeys) -> None:
    clock = Clock()
    async with open_node(world, keys, connection=Tampered, clock=clock) as node:
        tampered(node).free = True
        cheap = Draft("exit", world.token.approve(keys.payee, 1), 100_000, ceiling=1)
        first = await node.outbox.post(cheap, nothing)
        tampered(node).free = False
        second = await node.outbox.post(Draft("slash", world.token.approve(keys.payee, 2), 100_000), nothing)
        for seconds in (PATIENCE, MAKE_WAY - 1):  # first it is raised as far as it may be
            clock.shift += seconds
            await node.outbox.follow()
        assert not (await stored(node, first)).newest.empty
        clock.shift += 1
        await node.outbox.follow()
        await node.catch_up()
        await node.outbox.follow()
        assert (await stored(node, first)).state is State.CANCELLED
        assert (await stored(node, second)).state is State.MINED
        assert await world.token.allowance(keys.gas_account, keys.payee) == 2


async def test_the_last_wei_is_enough(world: World, keys: NodeKeys) -> None:
    poor = NodeKeys(keys.folder)
    async with open_node(world, poor) as node:
        price = await node.outbox.gas_price()
        draft = Draft("claim", world.token.approve(keys.payee, 1), 100_000)
        await world.fund(poor.gas_account, 100_000 * price // 2)
        with pytest.raises(InsufficientFunds):
            await node.outbox.post(draft, nothing)
        assert (await node.outbox.status()).faults == (InsufficientFunds.code,)
        await world.fund(poor.gas_account, 100_000 * price - 100_000 * price // 2)
        assert (await node.outbox.status()).faults == ()
        transaction = await node.outbox.post(draft, nothing)
        # Less than twice the base fee is offered, but enough for the next block.
        assert price <= transaction.newest.max_fee <= price * 11 // 10
        assert (await node.outbox.status()).faults == ()
        assert await world.token.allowance(poor.gas_account, keys.payee) == 1


async def test_promised_wei_are_not_promised_twice(world: World, keys: NodeKeys) -> None:
    poor = NodeKeys(keys.folder)
    async with open_node(world, poor) as node:
        draft = Draft("claim", world.token.approve(keys.payee, 1), 100_000)
        price = await node.outbox.gas_price()
        await world.fund(poor.gas_account, 100_000 * price * 19 // 10)
        async with world.mining_by_hand():
            await node.outbox.post(draft, nothing)
            with pytest.raises(InsufficientFunds):
                await node.outbox.post(draft, nothing)
        await node.outbox.follow()


async def test_fees_rise_as_far_as_the_account_goes(world: World, keys: NodeKeys) -> None:
    poor, clock = NodeKeys(keys.folder), Clock()
    async with open_node(world, poor, connection=Tampered, clock=clock) as node:
        price = await node.outbox.gas_price()
        await world.fund(poor.gas_account, 100_000 * price)
        tampered(node).free = True
        call = world.token.approve(keys.payee, 1)
        transaction = await node.outbox.post(Draft("claim", call, 100_000), nothing)
        tampered(node).free = False
        clock.shift += PATIENCE
        await node.outbox.follow()
        newest = (await stored(node, transaction)).newest
        assert newest.max_fee == price  # less than what is usual, but all there is
        assert await world.token.allowance(poor.gas_account, keys.payee) == 1


async def test_bad_advice_on_tips_does_not_empty_the_account(world: World, keys: NodeKeys) -> None:
    async with open_node(world, keys, connection=Tampered) as node:
        tampered(node).tips = 10**14
        draft = Draft("claim", world.token.approve(keys.payee, 1), 100_000, urgent=True)
        transaction = await node.outbox.post(draft, nothing)
        assert transaction.newest.tip == MAX_TIP
