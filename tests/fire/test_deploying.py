"""Deployments that a network gets in the way of: reorgs, and transactions that wait; and two networks."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.fire.anvil import anvil, reorg
from tests.services.chain.endpoint import ask
from tests.services.node.money_node import until

from waypost.chain.connection import connect
from waypost.chain.deploy import execute, plan, verify
from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.presets import TESTNET
from waypost.chain.transactions import Sender
from waypost.errors import WrongChain

QUICK = replace(TESTNET, confirmations=0)
CAREFUL = replace(TESTNET, confirmations=4)


@pytest.fixture
def url() -> Iterator[str]:
    with anvil("--chain-id", "11155111") as running:
        yield running


async def test_what_a_reorg_undoes_is_sent_again(url: str) -> None:
    told: list[str] = []

    async def interfere() -> None:
        await until(lambda: any("confirmations are missing" in words for words in told))
        await reorg(url, 2)  # the registry and the members' contract are gone
        for _ in range(2 * CAREFUL.confirmations + 4):
            await ask(url, "evm_mine")
            await asyncio.sleep(0.5)

    async with await connect(url) as connection:
        network = asyncio.ensure_future(interfere())
        made = await execute(await plan(connection, CAREFUL), Sender(connection, FUNDED_KEYS[0]), told.append)
        await network
        await verify(connection, made)
        head = (await connection.head()).number
        assert all(entry.block + CAREFUL.confirmations <= head for entry in made.contracts.values())
        assert await connection.nonce(made.deployer) == len(made.contracts)  # nothing is paid for twice
    assert any("going over it again" in words for words in told)


async def test_what_a_reorg_moves_is_counted_anew(url: str) -> None:
    """Two creations end up in later blocks: the confirmations of the old ones are worth nothing."""
    told: list[str] = []

    async def interfere() -> None:
        await until(lambda: any("confirmations are missing" in words for words in told))
        await ask(url, "evm_mine")
        blocks = [await ask(url, "eth_getBlockByNumber", hex(number), False) for number in (3, 4)]
        creations = [block["transactions"][0] for block in blocks]
        raws = [await ask(url, "eth_getRawTransactionByHash", creation) for creation in creations]
        kept = [(bytes.fromhex(raw[2:]), index) for raw, index in zip(raws, (1, 2), strict=True)]
        await reorg(url, 3, *kept)
        for _ in range(2 * CAREFUL.confirmations):
            await ask(url, "evm_mine")
            await asyncio.sleep(0.5)

    async with await connect(url) as connection:
        network = asyncio.ensure_future(interfere())
        made = await execute(await plan(connection, CAREFUL), Sender(connection, FUNDED_KEYS[0]), told.append)
        await network
        assert [entry.block for entry in made.contracts.values()] == [1, 2, 4, 5]
        assert await connection.nonce(made.deployer) == len(made.contracts)
        await verify(connection, made)
    assert any("going over it again" in words for words in told)


async def test_what_was_sent_before_is_waited_for(url: str) -> None:
    """An interrupted deployment has left a creation in the pool; it is not paid for twice."""
    told: list[str] = []
    async with await connect(url) as connection:
        sender = Sender(connection, FUNDED_KEYS[0])
        found = await plan(connection, QUICK)
        await ask(url, "evm_setAutomine", False)
        running = asyncio.ensure_future(execute(found, sender))
        await until(lambda: _is_waiting(sender))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        again = asyncio.ensure_future(
            execute(await plan(connection, QUICK), Sender(connection, FUNDED_KEYS[0]), told.append)
        )
        await until(lambda: bool(told))
        await ask(url, "evm_setAutomine", True)
        await ask(url, "evm_mine")
        await verify(connection, await again)
        assert await connection.nonce(sender.address) == len(found.steps)  # one for each contract
    assert told[0].startswith("Waiting for 1 earlier transactions")


async def test_addresses_and_init_code_are_equal_on_another_chain(url: str) -> None:
    with anvil("--chain-id", "17000") as other:
        async with await connect(url) as one, await connect(other) as two:
            first, second = await plan(one, QUICK), await plan(two, QUICK)
            made = [
                await execute(first, Sender(one, FUNDED_KEYS[1])),
                await execute(second, Sender(two, FUNDED_KEYS[2])),
            ]
    assert [step.init_code for step in first.steps] == [step.init_code for step in second.steps]
    assert [entry.address for entry in made[0].contracts.values()] == [
        entry.address for entry in made[1].contracts.values()
    ]
    assert made[0].chain_id != made[1].chain_id


async def test_a_network_file_for_another_chain(url: str) -> None:
    async with await connect(url) as connection:
        with pytest.raises(WrongChain):
            await plan(connection, replace(QUICK, chain_id=1))
        assert (await plan(connection, replace(QUICK, chain_id=11155111))).chain_id == 11155111


async def _is_waiting(sender: Sender) -> bool:
    return await sender.connection.nonce(sender.address, pending=True) > 0
