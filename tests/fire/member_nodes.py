"""Relaying nodes as processes, each on a folder of its own: killed, and started again."""

import asyncio
import contextlib
import os
import sqlite3
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from eth_typing import ChecksumAddress
from tests.fire.campaign import PASSWORD
from tests.services.node.money_node import until
from tests.services.node.relaying import Subscription, register, relay_settings
from tests.services.node.world import Deployed, World
from websockets.asyncio.client import connect

from waypost.chain.presets import LOCAL
from waypost.cli.demo.processes import free_ports
from waypost.cli.node.rln import timing
from waypost.node import settings
from waypost.node.backends.sqlite import FILE
from waypost.node.relay_log import FROM_THE_START
from waypost.node.settings import NodeSettings, RlnSettings
from waypost.protocol.relay import Envelope

TOPIC = "/waypost/1/fire/plain"
EPOCH_SECONDS = 10
START_SECONDS = 120.0


@dataclass
class Mortal:
    """A node, alive or not."""

    settings: NodeSettings
    world: World
    http: httpx.AsyncClient
    child: asyncio.subprocess.Process | None = None

    @classmethod
    async def create(cls, there: Deployed, world: World, folder: Path, http: httpx.AsyncClient) -> "Mortal":
        """Registered with stake, and not running yet."""
        port, admin_port = free_ports(2)
        contract = there.manifest.contracts["RlnMembership"]
        rln = {
            "contract": contract.address,
            "start_block": contract.block,
            "epoch_seconds": EPOCH_SECONDS,
            "root_seconds": timing(LOCAL.member_window)[1],
        }
        made = relay_settings(there, folder, port, admin_port=admin_port, rln=rln, poll_seconds=0.1)
        await register(world, made)
        assert made.payee_key is not None
        keys = {"operator": made.payee_key.get_secret_value(), "node": made.node_key.get_secret_value()}
        settings.initialise(made.data_dir, made, keys, PASSWORD, scrypt_n=2)
        return cls(made, world, http)

    @property
    def operator(self) -> ChecksumAddress:
        """Which is the payee, too."""
        return self.settings.operator

    @property
    def rln(self) -> RlnSettings:
        """What it follows."""
        assert self.settings.rln is not None
        return self.settings.rln

    async def start(self) -> None:
        """Unless it is alive; does not wait for anything."""
        if self.child is None:
            self.child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "waypost", "node", "run", "--log-level", "error"),
                *("--data-dir", str(self.settings.data_dir)),
                env={**os.environ, "WAYPOST_PASSWORD": PASSWORD},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
            )

    async def kill(self) -> None:
        """With SIGKILL."""
        child, self.child = self.child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def tree(self) -> dict[str, Any] | None:
        """The members as it shows them, as of the chain's newest block; None before it has read that."""
        assert self.child is not None
        assert self.child.returncode is None, "the node ended by itself"
        try:
            answer = await self.http.get(f"{self.settings.endpoint}/v1/rln")
        except httpx.TransportError:
            return None
        head = await self.world.connection.head()
        shown: dict[str, Any] = answer.json()
        return shown if answer.is_success and shown["blockHash"] == "0x" + head.hash.hex() else None

    async def is_level(self) -> None:
        """Waits until its members are those of the newest block."""

        async def level() -> bool:
            return await self.tree() is not None

        await until(level, START_SECONDS)

    async def replay(self) -> Counter[str]:
        """What it gives to a subscriber who was never there: texts, and how often."""
        url = f"ws://127.0.0.1:{self.settings.port}/v1/relay"
        async with connect(url, compression=None, proxy=None) as socket:
            subscription = Subscription(socket)
            await subscription.send({"topics": [TOPIC], "cursor": FROM_THE_START})
            await subscription.next("live")
        given = [frame["message"] for frame in subscription.frames if frame["type"] == "message"]
        return Counter(Envelope.from_json(each).message.payload.decode() for each in given)

    def exposed(self) -> set[int]:
        """The members whose secret it has found."""
        with contextlib.closing(sqlite3.connect(self.settings.data_dir / FILE)) as books:
            rows = books.execute("SELECT id_commitment FROM exposures").fetchall()
        return {int.from_bytes(commitment) for (commitment,) in rows}
