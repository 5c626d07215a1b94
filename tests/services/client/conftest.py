"""One chain for each module; every test takes fresh operators and accounts on it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.services.client.world import World, open_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _fresh_nodes(request: pytest.FixtureRequest) -> None:
    if "world" in request.fixturenames:
        request.getfixturevalue("world").begin_test()
