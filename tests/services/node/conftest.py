"""A node's parts on a real database in a temporary folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.services.node.books import Blocks, Clock, open_database, open_ledger

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
