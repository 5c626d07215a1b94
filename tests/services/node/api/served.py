"""A whole node behind its real ASGI application, on a chain with the real contracts, and its customers."""

import asyncio
import base64
import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from eth_typing import URI, ChecksumAddress
from fastapi import FastAPI
from tests.services.node.world import Deployed, new_key

from waypost.chain.channels import Channels
from waypost.chain.connection import Connection, connect
from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.node.app import create_admin_app, create_app
from waypost.node.node import Node
from waypost.node.settings import NodeConfig, NodeSettings, PriceSettings, RateSettings
from waypost.node.settings import settings as complete
from waypost.protocol.eip712 import channels_domain, node_domain
from waypost.protocol.openings import Opening, SignedOpening, authorize
from waypost.protocol.payments import PaymentPayload, PaymentRequirements
from waypost.protocol.receipts import Receipt
from waypost.protocol.sessions import Session
from waypost.protocol.signatures import Signature, address_of

DEPOSIT = 5_000_000
ENDPOINT = "http://127.0.0.1:8400"
ADMIN_TOKEN = "what only the operator knows"
PAYER, GAS = FUNDED_KEYS[7], FUNDED_KEYS[8]
PRICES = PriceSettings(
    store_per_kib_hour=1000,
    fetch_per_kib=500,
    relay_per_kib=700,
    opening=100_000,
    min_receipt=10,
    min_deposit=1_000_000,
)
TOPIC = "/waypost/1/test/raw"
MONEY_TABLES = ("channels", "answers", "messages", "storage_used", "sessions", "openings", "transactions")

_numbers = itertools.count(time.time_ns())


@dataclass
class Clock:
    """The time of day, which a test can move."""

    shift: int = 0

    def __call__(self) -> int:
        return int(time.time()) + self.shift


def node_settings(deployed: Deployed, folder: Path, **changes: Any) -> NodeSettings:
    """Those of a new node with keys of its own, on the deployed contracts."""
    payee, manifest = new_key("operator"), deployed.manifest
    config: dict[str, Any] = {
        "rpc_url": deployed.url,
        "chain_id": manifest.chain_id,
        "channels": manifest.channels,
        "registry": manifest.registry,
        "token": manifest.token,
        "start_block": manifest.start_block,
        "operator": address_of(payee),
        "payee": address_of(payee),
        "endpoint": ENDPOINT,
        "port": 0,
        "admin_port": 0,
        "prices": PRICES,
        "confirmations": 0,
        "min_close_delay": 2,
        "poll_seconds": 0.02,
        "rate": RateSettings(requests_per_second=10**6, burst=10**6),
    }
    private: dict[str, Any] = {
        "data_dir": folder / "node",
        "node_key": new_key("node"),
        "gas_key": GAS,
        "payee_key": payee,
        "admin_token": ADMIN_TOKEN,
    }
    return complete(NodeConfig.model_validate({**config, **changes}), **private)


@dataclass
class Customer:
    """One channel with the node: its key, and the total it has signed so far."""

    settings: NodeConfig
    key: bytes = field(default_factory=lambda: new_key("signer"))
    total: int = 0

    @property
    def signer(self) -> ChecksumAddress:
        """The channel."""
        return address_of(self.key)

    @property
    def path(self) -> str:
        """The channel's URL."""
        return f"/v1/channels/{self.settings.payee}/{self.settings.token}/{self.signer}"

    def opening(self, amount: int = DEPOSIT, close_delay: int = 600) -> SignedOpening:
        """Signed by the channel's signer alone."""
        opening = Opening(
            payer=address_of(PAYER),
            payee=self.settings.payee,
            token=self.settings.token,
            signer=self.signer,
            close_delay=close_delay,
            amount=amount,
            salt=os.urandom(32),
            deadline=int(time.time()) + 3600,
        )
        return SignedOpening(opening, opening.sign(self._domain, self.key))

    def receipt(self, cumulative: int, *, payee: ChecksumAddress | None = None) -> Signature:
        """Signs a total."""
        receipt = Receipt(payee or self.settings.payee, self.settings.token, cumulative)
        return receipt.sign(self._domain, self.key)

    def raised(self, cumulative: int) -> dict[str, Any]:
        """The body that raises what is paid to this total."""
        return {
            "token": self.settings.token,
            "signer": self.signer,
            "cumulative": str(cumulative),
            "signature": self.receipt(cumulative).to_hex(),
        }

    def pay(self, raised: int, **changes: Any) -> dict[str, str]:
        """The header that raises the total; `changes` to the payload make it a bad one."""
        self.total += raised
        settings = self.settings
        accepted = PaymentRequirements(
            changes.pop("chain_id", settings.chain_id),
            changes.pop("amount", raised),
            changes.pop("asset", settings.token),
            changes.pop("pay_to", settings.payee),
            600,
        )
        payload: dict[str, Any] = {
            "signer": self.signer,
            "cumulative": self.total,
            "signature": self.receipt(changes.get("cumulative", self.total)),
            **changes,
        }
        return {PaymentPayload.header: PaymentPayload(accepted, **payload).to_header()}

    def session_request(self, **changes: Any) -> dict[str, Any]:
        """The body that opens a session."""
        asked: dict[str, Any] = {"nonce": next(_numbers), "expires": int(time.time()) + 600, **changes}
        session = Session(operator=self.settings.operator, **asked)
        signature = session.sign(node_domain(self.settings.chain_id, self.settings.registry), self.key)
        return {
            "token": self.settings.token,
            "signer": self.signer,
            "nonce": str(asked["nonce"]),
            "expires": asked["expires"],
            "signature": signature.to_hex(),
        }

    @property
    def _domain(self) -> Any:
        return channels_domain(self.settings.chain_id, self.settings.channels)


def message(text: str = "hello", **changes: Any) -> dict[str, Any]:
    """A body for POST /v1/messages that no other call returns."""
    return {
        "topic": TOPIC,
        "payload": base64.b64encode(text.encode()).decode(),
        "timestamp": str(time.time_ns()),
        "retention": 3600,
        **changes,
    }


def price_of(body: Mapping[str, Any]) -> int:
    """What storing this message costs by PRICES: per KiB and hour, rounded up once."""
    size = len(body["topic"]) + len(base64.b64decode(body["payload"])) + 8
    seconds: int = body["retention"]
    return -(-size * seconds * PRICES.store_per_kib_hour // (1024 * 3600))


async def payer(connection: Connection, settings: NodeConfig) -> Sender:
    """Somebody with tokens, which Channels may take."""
    sender, token = Sender(connection, PAYER), Token(connection, settings.token)
    if not await token.allowance(sender.address, settings.channels):
        await sender.send(token.mint(sender.address, 10**18))
        await sender.send(token.approve(settings.channels, 10**18))
    return sender


async def open_channels(connection: Connection, customers: Sequence[Customer], **terms: Any) -> None:
    """Opens the customers' channels on chain, all with the same node."""
    settings = customers[0].settings
    call = Channels(connection, settings.channels).open_many([one.opening(**terms) for one in customers])
    await (await payer(connection, settings)).send(call)


class Served:
    """A node that answers. `app` is its ASGI application, unless a server runs it."""

    app: FastAPI

    def __init__(self, node: Node, http: httpx.AsyncClient, connection: Connection) -> None:
        self.node = node
        self.http = http
        self.connection = connection
        self.settings = self.node.settings
        self.channels = Channels(connection, self.settings.channels)

    async def open(self, count: int = 1, **terms: Any) -> list[Customer]:
        """Customers whose channels were opened on chain, and are known to the node."""
        customers = [Customer(self.settings) for _ in range(count)]
        await open_channels(self.connection, customers, **terms)
        await self.caught_up()
        return customers

    async def opening_request(self, customer: Customer, fee: int) -> dict[str, Any]:
        """The body that has the node open the customer's channel, and pays it `fee` for that."""
        await payer(self.connection, self.settings)
        signed, token = customer.opening(), Token(self.connection, self.settings.token)
        authorization = authorize(
            signed.opening, self.channels.address, await token.domain(), PAYER, signed.opening.deadline
        )
        receipt = {"cumulative": str(fee), "signature": customer.receipt(fee).to_hex()}
        return {**signed.to_json(), "authorization": authorization.to_json(), "receipt": receipt}

    async def lose_chain(self) -> None:
        """Nothing answers at the RPC endpoint any more, and the node has noticed."""
        self.node.sync._connection.web3.provider.endpoint_uri = URI("http://127.0.0.1:9")
        async with asyncio.timeout(60):
            while self.node.sync.fault is None:  # noqa: ASYNC110  # two tasks meet
                await asyncio.sleep(0.005)

    async def customer(self, **terms: Any) -> Customer:
        """One of them."""
        return (await self.open(1, **terms))[0]

    async def session(self, customer: Customer, **terms: Any) -> dict[str, str]:
        """The header of a new session."""
        answer = await self.http.post("/v1/sessions", json=customer.session_request(**terms))
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['session']}"}

    async def start_close(self, customer: Customer) -> None:
        """The payer wants its deposit back."""
        call = self.channels.start_close(self.settings.payee, self.settings.token, customer.signer)
        await Sender(self.connection, PAYER).send(call)
        await self.caught_up()

    async def caught_up(self) -> None:
        """Waits until the books cover the chain's head."""
        head = (await self.connection.head()).number
        async with asyncio.timeout(60):
            while self.node.sync.head < head or not self.node.sync.ready:  # noqa: ASYNC110  # two tasks meet
                await asyncio.sleep(0.005)

    async def books(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row about money and messages: equal before and after whatever changed nothing."""

        def read(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
            return {
                table: sorted(map(tuple, connection.execute(f"SELECT * FROM {table}")), key=repr)
                for table in MONEY_TABLES
            }

        return await self.node.db.read(read)

    def admin(self, token: str | None = ADMIN_TOKEN) -> httpx.AsyncClient:
        """A client of the operator's listener."""
        given = {} if token is None else {"Authorization": f"Bearer {token}"}
        headers = httpx.Headers(given, encoding="latin-1")
        transport = httpx.ASGITransport(create_admin_app(self.node), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://admin", headers=headers)


@contextlib.asynccontextmanager
async def served(settings: NodeSettings, clock: Clock | None = None) -> AsyncIterator[Served]:
    """Runs the node until the block is left."""
    app = create_app(settings, clock or Clock())
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        connection = await stack.enter_async_context(await connect(settings.rpc_url))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=ENDPOINT))
        node = Served(app.state.node, http, connection)
        node.app = app
        await node.caught_up()
        yield node


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Asserts that the answer is this problem document, and returns it."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"urn:waypost:error:{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem
