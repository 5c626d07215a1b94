"""A node of its own for every test, on the chain that all share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.services.node.api.served import Served, node_settings, served
from tests.services.node.relaying import Listening, OpenGate, listening
from tests.services.node.world import Deployed

from waypost.node.settings import NodeSettings


@pytest.fixture
def settings(deployed: Deployed, tmp_path: Path) -> NodeSettings:
    return node_settings(deployed, tmp_path)


@pytest.fixture
async def api(settings: NodeSettings) -> AsyncIterator[Served]:
    async with served(settings) as node:
        yield node


@pytest.fixture
async def node(settings: NodeSettings) -> AsyncIterator[Listening]:
    """One that listens."""
    async with listening(settings) as node:
        yield node


@pytest.fixture
async def open_node(node: Listening) -> Listening:
    """One that takes every proof."""
    node.node.relay._gate = OpenGate()
    return node
