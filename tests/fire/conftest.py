"""One anvil a module: past a thousand blocks its reorgs go wrong. Tests bring accounts and a proxy."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.fire.anvil import anvil
from tests.fire.deployment import Deployment
from tests.fire.proxy import Proxy
from tests.fire.world import Battlefield, deployed
from tests.services.chain.endpoint import Endpoint
from tests.services.node.world import Deployed

from waypost.chain.connection import Connection, connect


@pytest.fixture(scope="module")
def chain() -> Iterator[Deployed]:
    with anvil() as url:
        yield asyncio.run(deployed(url))


@pytest.fixture
async def proxy(chain: Deployed) -> AsyncIterator[Proxy]:
    async with Proxy(chain.url) as running:
        yield running


@pytest.fixture
async def field(chain: Deployed, proxy: Proxy, tmp_path: Path) -> AsyncIterator[Battlefield]:
    async with Battlefield.enter(chain, proxy, tmp_path / "node") as entered:
        yield entered


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    """To the anvil of a module that says where it is."""
    async with await connect(url) as connected:
        yield connected


@pytest.fixture
async def deployment(url: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    """Onto that anvil, by an account of its own."""
    async with Endpoint() as endpoint:
        made = Deployment(url, endpoint, tmp_path)
        await made.prepare()
        yield made
