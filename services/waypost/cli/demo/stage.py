"""What the acts of the demo share: the chain, the nodes, the people, and what has happened so far."""

import asyncio
import os
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from eth_typing import ChecksumAddress

from waypost.chain.channels import Channels, Claimed
from waypost.chain.connection import Call, Connection
from waypost.chain.manifest import Manifest
from waypost.chain.registry import Registry
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.cli.demo.narrator import Narrator
from waypost.cli.demo.processes import POLL_SECONDS, Process
from waypost.client import Account, Client
from waypost.client.channel import Channel
from waypost.client.closing import Step
from waypost.client.prover import Prover
from waypost.errors import DemoFailed
from waypost.node.settings import read_admin_token

DOLLAR = 10**6
"""Base units of the test token."""
GAS_MONEY = 10**18
"""Wei that each operator starts with."""


@dataclass(frozen=True, slots=True)
class Waypost:
    """One node of the demo: a server process and its operator, who is also its payee."""

    name: str
    folder: Path
    operator_key: bytes
    operator: ChecksumAddress
    endpoint: str
    admin: str

    async def ask(self, http: httpx.AsyncClient, method: str, path: str) -> Any:
        """An operator's request on the admin listener."""
        token = read_admin_token(self.folder).get_secret_value()
        headers = {"Authorization": f"Bearer {token}"}
        answer = await http.request(method, self.admin + path, headers=headers)
        if answer.is_error:
            raise DemoFailed(f"{self.name} answered {method} {path} with {answer.text}")
        return answer.json()


@dataclass(frozen=True, slots=True)
class Slash:
    """What a spammer lost, in base units: `reward` went to `receiver`, `burned` to nobody."""

    receiver: str
    stake: int
    reward: int
    burned: int
    refused: int
    """Nodes that refuse whatever the spammer sends now."""


@dataclass(slots=True)
class Deployed:
    """The contracts, bound."""

    connection: Connection
    manifest: Manifest
    channels: Channels
    registry: Registry
    token: Token


@dataclass(slots=True)
class Stage:
    """`password` opens every key file of the demo; `bank` is a funded account of the embedded chain."""

    folder: Path
    narrator: Narrator
    messages: int
    seed: int
    http: httpx.AsyncClient
    stack: AsyncExitStack
    """Clients and connections, closed at the end."""
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    processes: list[Process] = field(default_factory=list)
    rpc_url: str = ""
    deployed: Deployed = field(init=False)
    bank: Sender = field(init=False)
    wayposts: list[Waypost] = field(default_factory=list)
    people: dict[str, Client] = field(default_factory=dict)
    deposited: dict[str, int] = field(default_factory=dict)
    """What each person brought, in base units."""
    stored: dict[bytes, str] = field(default_factory=dict)
    """Message id → text."""
    fetched: int = 0
    verified: int = 0
    prover: Prover | None = None
    """One for all people, since loading its key takes seconds."""
    chatted: int = 0
    slash: Slash | None = None
    cheats: dict[str, bool] = field(default_factory=dict)
    """Name → whether it was refused, for the right reason and at no cost to the node."""

    def run(self, name: str, *arguments: str) -> Process:
        """Starts a `waypost` command as a server."""
        environment = {**os.environ, "WAYPOST_PASSWORD": self.password}
        process = Process(name, list(arguments), self.folder / f"{name}.log", environment)
        self.processes.append(process)
        return process

    async def meet(self, name: str, tokens: int) -> Client:
        """A new person with `tokens` base units and no ETH."""
        account = Account.create()
        await self.bank.send(self.deployed.token.mint(account.payer, tokens))
        client = Client(
            account,
            self.deployed.manifest,
            self.rpc_url,
            home=self.folder / name,
            prover=self.prover,
        )
        self.people[name] = await self.stack.enter_async_context(client)
        self.deposited[name] = tokens
        return self.people[name]

    async def give_ether(self, to: ChecksumAddress) -> None:
        """Gas money for an operator."""
        await self.bank.send(Call(to, b"", GAS_MONEY, "A gift of gas money"))

    async def claims(self) -> list[Claimed]:
        """Every claim on chain that paid something, in chain order."""
        head = await self.deployed.connection.head()
        first, channels = self.deployed.manifest.start_block, self.deployed.channels
        logs = await self.deployed.connection.logs([channels.address], first, head.number)
        events = [channels.decode(log) for log in logs]
        return [event for event in events if isinstance(event, Claimed) and event.total]

    def served(self, waypost: Waypost) -> int:
        """What the people's own books say this node's service came to, in base units."""
        return sum(
            channel.books.spent
            for client in self.people.values()
            for channel in client.channels.all()
            if channel.record.operator == waypost.operator
        )

    def accounts(self) -> Mapping[str, str]:
        """The contracts' addresses by name."""
        return {name: entry.address for name, entry in self.deployed.manifest.contracts.items()}


async def close(client: Client, channel: Channel, sender: Sender, *, consent: bool) -> None:
    """Closes a channel with `sender`'s gas; without the node's consent this takes the close delay."""
    while (await client.channels.close(channel, sender, consent=consent)).step is not Step.DONE:  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)


def rln_keys() -> Path:
    """Where the development key is kept between performances."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "waypost" / "rln-keys"
