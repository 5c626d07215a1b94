"""One chain for each module; every test takes fresh operators and accounts on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.services.client.world import World, open_world

from waypost.client import subscription as subscriptions
from waypost.client.client import Client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _fresh_nodes(request: pytest.FixtureRequest) -> None:
    if "world" in request.fixturenames:
        request.getfixturevalue("world").begin_test()


@pytest_asyncio.fixture(loop_scope="module")
async def client(world: World, tmp_path: Path) -> AsyncIterator[Client]:
    """Somebody without a channel."""
    async with world.client(await world.account(), tmp_path) as opened:
        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subscriptions come back at once, and note at once what was consumed."""
    monkeypatch.setattr(subscriptions, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(subscriptions, "SAVE_SECONDS", 0)
