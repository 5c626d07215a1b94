"""A real chain with the real contracts on it, and clients who pay over it.
Every test brings its own accounts, so that all can share one chain."""

import asyncio
import contextlib
import hashlib
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from eth_typing import ChecksumAddress
from web3.types import RPCEndpoint

from waypost.chain import deploy, presets
from waypost.chain.channels import Channels
from waypost.chain.connection import Call, Connection, connect
from waypost.chain.embedded import FUNDED_KEYS, EmbeddedChain
from waypost.chain.manifest import Manifest
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.node.opening_rules import Request
from waypost.protocol.eip712 import Domain
from waypost.protocol.openings import Authorization, Opening, SignedOpening, authorize
from waypost.protocol.receipts import Receipt, SignedReceipt
from waypost.protocol.signatures import address_of

ETHER = 10**18
DEPOSIT = 5_000_000
PRICE = 100_000

_serial = itertools.count()


def new_key(what: str) -> bytes:
    """A private key that no other test has."""
    return hashlib.sha256(f"{what} {os.getpid()} {next(_serial)} {time.time_ns()}".encode()).digest()


@dataclass(frozen=True)
class Deployed:
    """A chain that runs in a thread of its own, with the contracts on it."""

    url: str
    manifest: Manifest
    token_domain: Domain


@contextlib.contextmanager
def deployed_chain() -> Iterator[Deployed]:
    """Runs the chain until the block is left."""
    ready: list[Deployed] = []
    started, stop = threading.Event(), threading.Event()

    async def run() -> None:
        async with EmbeddedChain() as chain, await connect(chain.url) as connection:
            plan = await deploy.plan(connection, presets.LOCAL)
            manifest = await deploy.execute(plan, Sender(connection, FUNDED_KEYS[9]))
            domain = await Token(connection, manifest.token).domain()
            ready.append(Deployed(chain.url, manifest, domain))
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="deployed-chain")
    thread.start()
    try:
        assert started.wait(60)
        yield ready[0]
    finally:
        stop.set()
        thread.join()


class World:
    """The chain as a test sees it: it can do what no node can."""

    def __init__(self, deployed: Deployed, connection: Connection) -> None:
        self.url = deployed.url
        self.manifest = deployed.manifest
        self.token_domain = deployed.token_domain
        self.connection = connection
        self.channels = Channels(connection, deployed.manifest.channels)
        self.token = Token(connection, deployed.manifest.token)
        self.faucet = Sender(connection, FUNDED_KEYS[0])
        self.start = 0
        """Block number before which a test's nodes need not look."""

    async def rpc(self, method: str, *parameters: Any) -> Any:
        """A method of the chain that has no binding."""
        provider = self.connection.web3.provider
        answer: Any = await provider.make_request(RPCEndpoint(method), list(parameters))
        assert "error" not in answer, answer
        return answer["result"]

    async def mine(self, count: int = 1) -> None:
        """Empty blocks, or what waits."""
        for _ in range(count):
            await self.rpc("evm_mine")

    @classmethod
    @contextlib.asynccontextmanager
    async def enter(cls, deployed: Deployed) -> AsyncIterator["World"]:
        """The world from now on."""
        async with await connect(deployed.url) as connection:
            world = cls(deployed, connection)
            world.start = (await connection.head()).number
            yield world

    async def fund(self, account: ChecksumAddress, wei: int = ETHER) -> None:
        """Ether from nowhere."""
        await self.faucet.send(Call(account, b"", wei))

    async def mint(self, account: ChecksumAddress, amount: int) -> None:
        """Tokens from nowhere."""
        await self.faucet.send(self.token.mint(account, amount))

    async def client(self, payee: ChecksumAddress, *, tokens: int = DEPOSIT) -> "Client":
        """Somebody with tokens and no ether."""
        client = Client(self, payee)
        await self.mint(client.payer, tokens)
        return client

    async def sender(self) -> Sender:
        """A new account with ether."""
        sender = Sender(self.connection, new_key("sender"))
        await self.fund(sender.address)
        return sender

    @contextlib.asynccontextmanager
    async def mining_by_hand(self) -> AsyncIterator[None]:
        """What is sent waits until a test mines it, or leaves."""
        await self.rpc("evm_setAutomine", False)
        try:
            yield
        finally:
            await self.rpc("evm_setAutomine", True)
            await self.mine()

    async def events(self, payee: ChecksumAddress) -> list[Any]:
        """All that Channels ever said about this payee."""
        head = await self.connection.head()
        logs = await self.connection.logs([self.channels.address], 0, head.number)
        events = [self.channels.decode(log) for log in logs]
        return [event for event in events if getattr(event, "payee", None) == payee]


@dataclass
class Client:
    """A payer without ether and its channel's signer."""

    world: World
    payee: ChecksumAddress
    payer_key: bytes = field(default_factory=lambda: new_key("payer"))
    signer_key: bytes = field(default_factory=lambda: new_key("signer"))

    @property
    def payer(self) -> ChecksumAddress:
        """Who pays."""
        return address_of(self.payer_key)

    @property
    def signer(self) -> ChecksumAddress:
        """The channel."""
        return address_of(self.signer_key)

    def opening(self, amount: int = DEPOSIT, *, close_delay: int = 60, **terms: Any) -> SignedOpening:
        """Signed by the signer."""
        defaults: dict[str, Any] = {
            "payer": self.payer,
            "payee": self.payee,
            "token": self.world.token.address,
            "signer": self.signer,
            "close_delay": close_delay,
            "amount": amount,
            "salt": bytes(32),
            "deadline": int(time.time()) + 3600,
        }
        opening = Opening(**defaults | terms)
        return SignedOpening(opening, opening.sign(self.world.channels.domain(), self.signer_key))

    def authorization(self, signed: SignedOpening, *, valid_before: int | None = None) -> Authorization:
        """Signed by the payer."""
        before = signed.opening.deadline if valid_before is None else valid_before
        domain = self.world.token_domain
        return authorize(signed.opening, self.world.channels.address, domain, self.payer_key, before)

    def receipt(self, cumulative: int) -> SignedReceipt:
        """Signed by the signer."""
        receipt = Receipt(self.payee, self.world.token.address, cumulative)
        return SignedReceipt(receipt, receipt.sign(self.world.channels.domain(), self.signer_key))

    def request(self, *, paid: int = PRICE, **terms: Any) -> Request:
        """What POST /v1/channels takes."""
        signed = self.opening(**terms)
        return Request(signed, self.authorization(signed), self.receipt(paid))

    async def start_close(self) -> None:
        """By the payer, who got ether for it from somewhere."""
        if not await self.world.connection.balance(self.payer):
            await self.world.fund(self.payer, ETHER // 100)
        sender = Sender(self.world.connection, self.payer_key)
        await sender.send(self.world.channels.start_close(self.payee, self.world.token.address, self.signer))
