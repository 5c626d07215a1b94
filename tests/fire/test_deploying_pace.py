"""How often a deployment looks at the chain while it waits: as fits the time between blocks, on anvil."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from tests.fire.anvil import anvil
from tests.services.chain.endpoint import Endpoint, ask
from tests.services.node.money_node import until

from waypost.chain.confirming import SLOWEST, pace
from waypost.chain.connection import Connection, connect
from waypost.chain.deploy import execute, plan
from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.presets import TESTNET
from waypost.chain.transactions import Sender


@pytest.fixture
def url() -> Iterator[str]:
    with anvil("--chain-id", "11155111") as running:
        yield running


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    async with await connect(url) as connected:
        yield connected


@pytest.mark.parametrize(
    ("apart", "seconds"), [(1, 0.5), (2, 1.0), (6, 3.0), (8, 4.0), (12, 4.0), (600, 4.0)]
)
async def test_half_of_the_time_between_blocks(
    url: str, connection: Connection, apart: int, seconds: float
) -> None:
    await ask(url, "evm_mine")  # the first block is as far from genesis as the clock says
    await mine(url, apart, 10)
    assert await pace(connection) == seconds


async def test_the_newest_blocks_count(url: str, connection: Connection) -> None:
    """A chain that was slow is looked at often once it is fast, never more often than the bound."""
    assert await pace(connection) == 0.2  # no block but the first
    await mine(url, 12, 20)
    assert await pace(connection) == 4.0
    await mine(url, 2, 10)
    assert await pace(connection) == 1.0
    await mine(url, 0, 10)
    assert await pace(connection) == 0.2


async def test_a_slow_chain_is_not_asked_all_the_time(url: str) -> None:
    """Between two blocks that come seconds after each other there are few looks."""
    careful = replace(TESTNET, confirmations=2)
    told: list[str] = []
    async with Endpoint() as endpoint:
        endpoint.behind = url
        async with await connect(endpoint.url) as connection:
            await ask(url, "anvil_setBlockTimestampInterval", 12)
            sender = Sender(connection, FUNDED_KEYS[0])
            running = asyncio.ensure_future(execute(await plan(connection, careful), sender, told.append))
            await until(lambda: any("2 of 2 confirmations are missing" in words for words in told))
            since = time.monotonic()
            endpoint.asked.clear()
            await asyncio.sleep(3)  # fifteen looks, at the fastest
            await ask(url, "evm_mine")
            await ask(url, "evm_mine")
            await running
    looks = endpoint.asked.count("eth_getBlockByNumber")
    assert looks <= 1 + (time.monotonic() - since) / SLOWEST  # however busy this machine is


async def mine(url: str, apart: int, blocks: int) -> None:
    """So many blocks, so many seconds apart."""
    await ask(url, "anvil_setBlockTimestampInterval", apart)
    for _ in range(blocks):
        await ask(url, "evm_mine")
