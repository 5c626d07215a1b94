"""One anvil a module: past a thousand blocks its reorgs go wrong. Tests bring accounts and a proxy."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.fire.anvil import anvil
from tests.fire.proxy import Proxy
from tests.fire.world import Battlefield, deployed
from tests.services.node.world import Deployed


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
