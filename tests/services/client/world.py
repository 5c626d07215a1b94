"""A real chain with the real contracts, and accounts on it. Nodes are reached through a network in memory."""

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from eth_typing import ChecksumAddress

from waypost.chain.channels import Channels
from waypost.chain.connection import Call, Connection, connect
from waypost.chain.deploy import execute, plan
from waypost.chain.embedded import FUNDED_KEYS, EmbeddedChain
from waypost.chain.manifest import Manifest
from waypost.chain.presets import LOCAL
from waypost.chain.registry import Registry
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.client.account import Account
from waypost.client.client import Client
from waypost.client.nodes import PriceCeiling
from waypost.protocol.nodes import NodeKey, Services
from waypost.protocol.signatures import address_of, keccak

ETHER = 10**18
DOLLAR = 10**6

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Network(httpx.AsyncBaseTransport):
    """Carries requests to the nodes of a test by their host name; nobody else is reachable."""

    def __init__(self) -> None:
        self.hosts: dict[str, Handler] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        handler = self.hosts.get(request.url.netloc.decode("ascii"))
        if handler is None:
            raise httpx.ConnectError("no such host", request=request)
        await request.aread()
        return await handler(request)


@dataclass(frozen=True, slots=True)
class Operator:
    """A registered operator: its account, the node key and where the node is said to be."""

    sender: Sender
    key: bytes
    node_key: bytes
    endpoint: str

    @property
    def address(self) -> ChecksumAddress:
        return self.sender.address

    @property
    def host(self) -> str:
        return self.endpoint.split("//")[1]


@dataclass
class World:
    """One chain with one deployment. The deployer has ETH for everybody."""

    url: str
    connection: Connection
    manifest: Manifest
    deployer: Sender
    network: Network = field(default_factory=Network)
    counter: "itertools.count[int]" = field(default_factory=itertools.count)
    pool: list[Operator] = field(default_factory=list)
    taken: int = 0

    @property
    def token(self) -> Token:
        return Token(self.connection, self.manifest.token)

    @property
    def channels(self) -> Channels:
        return Channels(self.connection, self.manifest.channels)

    @property
    def registry(self) -> Registry:
        return Registry(self.connection, self.manifest.registry)

    def fresh_key(self) -> bytes:
        return keccak(f"test key {next(self.counter)}".encode())

    async def funded(self, ether: int = 10) -> Sender:
        """A new account with ETH."""
        sender = Sender(self.connection, self.fresh_key())
        await self.deployer.send(Call(sender.address, b"", ether * ETHER))
        return sender

    async def operator(self) -> Operator:
        """A staked, registered operator that is paid at its own address; tests take turns."""
        if self.taken == len(self.pool):
            self.pool.append(await self.new_operator())
        self.taken += 1
        return self.pool[self.taken - 1]

    def begin_test(self) -> None:
        """All operators are free again, and none of their nodes answers."""
        self.taken = 0
        self.network.hosts.clear()

    async def new_operator(self, *, stake: int = 20 * DOLLAR, endpoint: str = "") -> Operator:
        """One that no other test has."""
        endpoint = endpoint or f"https://node-{next(self.counter)}.example"
        key = self.fresh_key()
        sender = Sender(self.connection, key)
        await self.deployer.send(Call(sender.address, b"", 10 * ETHER))
        operator = Operator(sender, key, self.fresh_key(), endpoint)
        node_key = address_of(operator.node_key)
        proof = NodeKey(operator.address, node_key).sign(self.registry.domain(), operator.node_key)
        register = self.registry.register(
            int(Services.STORE), node_key, operator.address, operator.endpoint, proof
        )
        await sender.send(register)
        if stake:
            await self.mint(operator.address, stake)
            await sender.send(self.token.approve(self.registry.address, stake))
            await sender.send(self.registry.stake(stake))
        return operator

    async def mint(self, to: ChecksumAddress, amount: int) -> None:
        await self.deployer.send(self.token.mint(to, amount))

    async def account(self, dollars: int = 1000) -> Account:
        """A new account with tokens and no ETH."""
        account = Account(self.fresh_key())
        await self.mint(account.payer, dollars * DOLLAR)
        return account

    def client(
        self,
        account: Account,
        home: Path,
        *,
        clock: Callable[[], float] | None = None,
        ceiling: PriceCeiling | None = None,
        read_only: bool = False,
        rln_keys: Path | None = None,
    ) -> Client:
        """The SDK on this chain and network."""
        http = httpx.AsyncClient(transport=self.network)
        return Client(
            account,
            self.manifest,
            self.url,
            home=home,
            http=http,
            ceiling=ceiling,
            read_only=read_only,
            rln_keys=rln_keys,
            clock=clock or time.time,
        )


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    """Starts a chain and deploys the contracts."""
    async with EmbeddedChain() as chain, await connect(chain.url) as connection:
        deployer = Sender(connection, FUNDED_KEYS[0])
        manifest = await execute(await plan(connection, LOCAL), deployer)
        yield World(chain.url, connection, manifest, deployer)
