"""Which of the registered nodes a node reads from: its own choice, which no stranger can steer."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from eth_typing import ChecksumAddress
from pydantic import SecretBytes
from tests.services.node.api.served import node_settings
from tests.services.node.world import Deployed

from waypost.chain.registry import RegisteredNode, Registry
from waypost.errors import PeerRefused
from waypost.node import peers
from waypost.node.backends.sqlite import Database
from waypost.node.peer_link import PeerLink
from waypost.node.peers import FAILING, Peers
from waypost.node.relay import Relay
from waypost.node.settings import NodeSettings, RelaySettings
from waypost.protocol.signatures import checksum, keccak

PLACES = 4
NOWHERE = "http://127.0.0.1:9"


def addresses(count: int) -> list[ChecksumAddress]:
    return [checksum(keccak(bytes([number]))[12:]) for number in range(count)]


class Listed:
    """A registry of nodes that nobody can reach."""

    def __init__(self, operators: list[ChecksumAddress]) -> None:
        self.operators = operators

    async def nodes(self, services: int) -> AsyncIterator[RegisteredNode]:
        for operator in self.operators:
            yield RegisteredNode(operator, operator, operator, services, 0, 1, 0, b"", NOWHERE)


@pytest.fixture
def settings(deployed: Deployed, tmp_path: Path) -> NodeSettings:
    return node_settings(deployed, tmp_path, relay=RelaySettings(max_peers=PLACES))


class Choosing:
    """Makes nodes that have read the registry, and whose links do nothing."""

    def __init__(self, settings: NodeSettings, db: Database) -> None:
        self._settings, self._db = settings, db

    @contextlib.asynccontextmanager
    async def node(self, key: int, listed: Listed) -> AsyncIterator[Peers]:
        settings = self._settings.model_copy(update={"node_key": SecretBytes(key.to_bytes(32))})
        node = Peers(cast(Registry, listed), self._db, cast(Relay, None), settings, lambda: 0)
        await node._refresh()
        try:
            yield node
        finally:
            tasks = [task for _, task in node._links.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def chosen(self, key: int, operators: list[ChecksumAddress]) -> list[ChecksumAddress]:
        """What a node with this key reads from."""
        async with self.node(key, Listed(operators)) as node:
            return node.reading_from


@pytest.fixture
def choosing(settings: NodeSettings, db: Database, monkeypatch: pytest.MonkeyPatch) -> Choosing:
    monkeypatch.setattr(PeerLink, "run", lambda _: asyncio.Event().wait())
    return Choosing(settings, db)


async def test_nodes_choose_differently_and_each_stays_with_its_choice(choosing: Choosing) -> None:
    operators = addresses(20)
    one, other = [await choosing.chosen(key, operators) for key in (1, 2)]
    assert len(one) == len(other) == PLACES
    assert set(one) != set(other)
    assert await choosing.chosen(1, operators[::-1]) == one
    async with choosing.node(1, listed := Listed(operators)) as node:
        listed.operators = [operator for operator in operators if operator not in one[:1]]
        await node._refresh()
        assert set(one[1:]) < set(node.reading_from)  # only the one that is gone has lost its place


@pytest.mark.parametrize(
    "order", [int, lambda known: keccak(known.to_bytes(20))], ids=["by_address", "by_hash"]
)
async def test_no_choice_of_addresses_is_read_from_by_all(choosing: Choosing, order: Any) -> None:
    """A stranger may try keys until its addresses come first or last in any order that it knows."""
    ordered = sorted(addresses(40), key=lambda operator: order(int(operator, 16)))
    nodes = 32
    counts: Counter[str] = Counter()
    for key in range(1, nodes + 1):
        counts.update(await choosing.chosen(key, ordered))
    assert counts.total() == nodes * PLACES
    for ground in (ordered[:PLACES], ordered[-PLACES:]):  # a fair share is a tenth of all places
        assert sum(counts[operator] for operator in ground) < counts.total() / 3


async def test_one_that_keeps_failing_loses_its_place_for_a_while(
    choosing: Choosing, monkeypatch: pytest.MonkeyPatch
) -> None:
    operators = addresses(PLACES + 1)
    async with choosing.node(1, Listed(operators)) as node:
        first = node.reading_from
        (spare,) = set(operators) - set(first)
        faults = node._links[first[0]][0].faults
        for failures in range(1, FAILING + 1):
            assert node.reading_from == first
            faults.failed(PeerRefused())
            await node._refresh()
            assert (spare in node.reading_from) == (failures == FAILING)
        for _ in range(2):  # nor is it back with the next look at the registry
            assert set(node.reading_from) == {*first[1:], spare}
            await node._refresh()
        monkeypatch.setattr(peers, "REST_SECONDS", 0)
        await node._refresh()
        assert set(node.reading_from) == set(first)
