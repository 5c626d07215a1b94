"""Transactions that are stuck, dropped or replaced, base fees that jump, and two claimers by mistake."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.fire.anvil import set_base_fee
from tests.fire.world import Battlefield
from tests.services.node.money_node import Clock, MoneyNode, NodeKeys, until
from tests.services.node.world import ETHER, new_key

from waypost.chain.connection import Call
from waypost.chain.fees import Offer
from waypost.chain.transactions import Sender
from waypost.node.outbox import PATIENCE
from waypost.node.transactions import State

PAID = 1_234_567
GWEI = 10**9


@pytest.mark.parametrize("jump", [2, 10, 100])
async def test_a_closing_channel_is_claimed_whatever_the_base_fee(field: Battlefield, jump: int) -> None:
    """The claim was signed before the fee jumped, and the payer leaves at the same time."""
    (client, _), clock = field.clients, Clock()
    async with field.node(clock=clock) as node:
        await earn(field, node)
        await client.start_close()
        async with field.world.mining_by_hand():
            await node.catch_up()
            assert await node.claimer.step() is not None
            base = await field.world.connection.base_fee()
            await set_base_fee(field.world.url, base * jump)
            await field.world.mine()
            for _ in range(12):
                clock.shift += PATIENCE
                await node.outbox.follow()
                await set_base_fee(field.world.url, base * jump)
                await field.world.mine()
                await node.catch_up()
                if await field.claimed(client) == PAID:
                    break
        async with node.running():
            await field.settle(node)
    await set_base_fee(field.world.url, GWEI)
    await field.world.mine()


async def test_a_claim_that_was_dropped_is_sent_again(field: Battlefield) -> None:
    clock = Clock()
    async with field.node(clock=clock) as node:
        await earn(field, node)
        async with field.world.mining_by_hand():
            flight = await node.claimer.step()
            assert flight is not None
            await field.world.rpc("anvil_dropTransaction", "0x" + flight.hash.hex())
            await field.world.mine()
            assert await field.claimed(field.clients[0]) == 0
        clock.shift += PATIENCE
        async with node.running():
            await field.settle(node)
        assert [record.state for record in await node.claimer.history()] == [State.MINED]


async def test_somebody_else_takes_the_nonce(field: Battlefield) -> None:
    """Another program with the same key replaces the claim in the pool by something of its own."""
    clock = Clock()
    async with field.node(clock=clock) as node:
        await earn(field, node)
        async with field.world.mining_by_hand():
            flight = await node.claimer.step()
            assert flight is not None
            other = Sender(field.world.connection, field.keys.gas_key)
            dearer = Offer(10 * flight.newest.max_fee, 10 * flight.newest.tip)
            usurper = other.sign_exactly(
                Call(other.address, b""),
                nonce=flight.nonce,
                gas=21_000,
                max_fee=dearer.max_fee,
                tip=dearer.tip,
            )
            await field.world.connection.send_raw(usurper.raw)
        clock.shift += PATIENCE
        async with node.running():
            await field.settle(node)
        lost = [record.state for record in await node.claimer.history()]
        assert lost == [State.MINED, State.LOST]


@pytest.mark.parametrize("own_gas", [False, True])
async def test_two_claimers_by_mistake_claim_once(field: Battlefield, tmp_path: Path, own_gas: bool) -> None:
    """A copy of the node's folder runs, too: with the same gas account, or with one of its own."""
    async with field.node() as node:
        await earn(field, node)
    copy = NodeKeys(
        tmp_path / "copy", new_key("gas") if own_gas else field.keys.gas_key, field.keys.payee_key
    )
    await field.world.fund(copy.gas_account, ETHER)
    copy.folder.mkdir()
    for file in field.keys.folder.iterdir():
        (copy.folder / file.name).write_bytes(file.read_bytes())
    second = replace(field, keys=copy)
    async with field.node() as node, second.node() as twin, node.running(), twin.running():
        await until(lambda: _both_know(node, twin), 60)
        await field.settle(node)
        await second.settle(twin)


async def test_an_empty_gas_account_is_said_and_filled(field: Battlefield) -> None:
    """In the middle of a spike nothing can be sent; what was acknowledged waits for whoever pays for gas."""
    async with field.node() as node:
        await earn(field, node)
        await field.world.rpc("anvil_setBalance", field.keys.gas_account, hex(10**12))
        async with node.running():
            await until(lambda: _says(node, "insufficient_funds"))
            assert await field.claimed(field.clients[0]) == 0
            await field.world.fund(field.keys.gas_account, ETHER)
            await field.settle(node)


async def earn(field: Battlefield, node: MoneyNode) -> None:
    """One channel with PAID in receipts, nothing claimed."""
    (client, _) = field.clients
    async with node.running(claiming=False):
        await field.open(node, client)
        await field.pay(node, client, PAID)
    await node.catch_up()


async def _both_know(node: MoneyNode, twin: MoneyNode) -> bool:
    return await node.claimed() == await twin.claimed() == PAID


async def _says(node: MoneyNode, code: str) -> bool:
    faults = (*(await node.outbox.status()).faults, (await node.claimer.status()).fault)
    return code in faults
