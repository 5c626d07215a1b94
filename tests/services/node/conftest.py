"""A node's parts on a real database in a temporary folder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.services.node.books import Blocks, Clock, open_database, open_ledger
from tests.services.node.money_node import NodeKeys
from tests.services.node.world import ETHER, Deployed, World, deployed_chain

from waypost.node.backends.sqlite import Database
from waypost.node.ledger import Ledger


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "node") as database:
        yield database


@pytest.fixture
def ledger(db: Database, clock: Clock) -> Ledger:
    return open_ledger(db, clock)


@pytest.fixture
def blocks(db: Database, ledger: Ledger) -> Blocks:
    return Blocks(db, ledger)


@pytest.fixture(scope="session")
def deployed() -> Iterator[Deployed]:
    with deployed_chain() as chain:
        yield chain


@pytest.fixture
async def world(deployed: Deployed) -> AsyncIterator[World]:
    async with World.enter(deployed) as world:
        yield world


@pytest.fixture
async def keys(world: World, tmp_path: Path) -> NodeKeys:
    keys = NodeKeys(tmp_path / "node")
    await world.fund(keys.gas_account, 10 * ETHER)
    return keys
