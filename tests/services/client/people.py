"""What most tests of the client begin with: a scripted node, and a channel that pays it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.services.client.scripted import ScriptedNode
from tests.services.client.world import DOLLAR, World

from waypost.client.channel import Channel
from waypost.client.client import Client
from waypost.client.inbox import Fetched
from waypost.errors import WaypostError

DEPOSIT = 5 * DOLLAR


async def new_node(world: World, **options: Any) -> ScriptedNode:
    """A registered node that keeps the rules."""
    return ScriptedNode(world, await world.operator(), options.pop("clock", time.time), **options)


async def open_channel(client: Client, node: ScriptedNode, amount: int = DEPOSIT, **options: Any) -> Channel:
    """A channel with the node, which submits it."""
    verified = await client.nodes.get(node.operator.address)
    return await client.channels.open(verified, await client.channels.terms(verified, amount, **options))


async def send(client: Client, text: bytes = b"hello", **options: Any) -> int:
    """A message of the client to itself; what it cost."""
    return (await client.mailbox.send(client.mailbox.address, text, **options)).charged


def state_files(home: Path, signer: str) -> list[Path]:
    """The files of a channel, or of all that a pattern names."""
    return list(home.rglob(f"{signer}.json"))


@asynccontextmanager
async def person(world: World, home: Path, *nodes: ScriptedNode, **options: Any) -> AsyncIterator[Client]:
    """Somebody with a channel at each of these nodes."""
    async with world.client(await world.account(), home, **options) as client:
        for node in nodes:
            await open_channel(client, node)
        yield client


async def read(client: Client, *nodes: ScriptedNode) -> Fetched:
    """Fetches from these nodes, and acknowledges."""
    fetched = await client.mailbox.fetch(await client.mailbox.look([node.operator.address for node in nodes]))
    await client.mailbox.acknowledge(fetched)
    return fetched


def texts(fetched: Fetched) -> list[bytes]:
    """What was read."""
    return [received.plaintext for received in fetched.messages]


def errors(fetched: Fetched) -> list[type[WaypostError]]:
    """What went wrong."""
    return [type(fault.error) for fault in fetched.faults]
