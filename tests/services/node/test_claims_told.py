"""What the claimer tells about its claims, on a real chain."""

import pytest
from tests.services.node.money_node import NodeKeys, assert_books_agree, open_node
from tests.services.node.world import World

from waypost.chain.channels import Claimed
from waypost.errors import ClaimPaysNothing
from waypost.node.claims import ClaimRecord
from waypost.node.transactions import State


async def test_a_claim_is_told_while_it_flies_and_when_it_counts(world: World, keys: NodeKeys) -> None:
    clients = [await world.client(keys.payee) for _ in range(2)]
    async with open_node(world, keys) as node:
        for client in clients:
            await node.serve(client, 1_500_000)
        async with world.mining_by_hand():
            sent = await node.claimer.step()
            assert sent is not None
            record = ClaimRecord(sent.hash, State.SENT, 3_000_000, 2, None, sent.created)
            assert (await node.claimer.status()).flight == record
            assert await node.claimer.history() == [record]
        await node.catch_up()
        assert (await node.claimer.status()).flight is None
        (event,) = [event for event in await world.events(keys.payee) if isinstance(event, Claimed)]
        mined = ClaimRecord(sent.hash, State.MINED, event.total, 2, event.block_number, sent.created)
        assert await node.claimer.history() == [mined]


async def test_what_is_not_mined_in_time_stays_on_its_way(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys) as node:
        await node.serve(client, 2_000_000)
        async with world.mining_by_hand():
            hashes = await node.claimer.claim_now(patience=0)
            assert await node.claimer.claim_now(patience=0) == hashes
            flight = (await node.claimer.status()).flight
            assert flight is not None
            assert hashes == [flight.hash]
        await node.catch_up()
        assert await node.claimer.claim_now(patience=0) == []
        assert await node.claimed() == 2_000_000
        await assert_books_agree(node)


async def test_books_that_are_behind_say_what_they_expected(world: World, keys: NodeKeys) -> None:
    clients, stranger = [await world.client(keys.payee) for _ in range(2)], await world.sender()
    async with open_node(world, keys) as node:
        for client in clients:
            await node.serve(client, 2_000_000)
        receipts = [client.receipt(2_000_000) for client in clients]
        await stranger.send(world.channels.claim(keys.payee, world.token.address, receipts))
        with pytest.raises(ClaimPaysNothing, match="nothing for 4000000 base units") as raised:
            await node.claimer.claim_now()
        assert raised.value.details == {"value": "4000000", "receipts": 2}
