"""The SDK's front door: one account on one deployment, with its channels, memberships, nodes
and mailbox."""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import httpx

from waypost.chain.connection import connect
from waypost.chain.manifest import Manifest
from waypost.chain.transactions import Sender
from waypost.client.account import Account
from waypost.client.channel import Context
from waypost.client.channels import PaymentChannels
from waypost.client.deployment import Deployment
from waypost.client.mailbox import Mailbox
from waypost.client.membership import Memberships
from waypost.client.nodes import Nodes, PriceCeiling
from waypost.client.orders import Orders
from waypost.client.prover import Prover
from waypost.client.publisher import Publisher
from waypost.client.store import Store
from waypost.client.transport import http_client


class Client:
    """Use as `async with Client(account, manifest, rpc_url, home=folder) as client:`.

    `home` holds what has to survive: one process at a time may use it, unless `read_only`. `ceiling` is the
    most that is paid per unit. `rln_keys`: the folder with the key that proofs are made with, `home`/rln-keys
    unless given; `progress` is told what takes long there. `http` and `clock` (Unix seconds) are there for
    tests. Entering raises RpcUnreachable, WrongChain, WrongContract, DeploymentMismatch, DataInUse,
    DataOfAnotherChain."""

    deployment: Deployment
    nodes: Nodes
    channels: PaymentChannels
    memberships: Memberships
    orders: Orders
    prover: Prover
    mailbox: Mailbox

    def __init__(
        self,
        account: Account,
        manifest: Manifest,
        rpc_url: str,
        *,
        home: Path,
        ceiling: PriceCeiling | None = None,
        read_only: bool = False,
        rln_keys: Path | None = None,
        progress: Callable[[str], None] = lambda _: None,
        http: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.account = account
        self._manifest, self._rpc_url, self._home = manifest, rpc_url, home
        self._ceiling, self._read_only, self._http, self._clock = ceiling, read_only, http, clock
        self._rln_keys, self._progress = rln_keys or home / "rln-keys", progress
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(
                await connect(self._rpc_url, self._manifest.chain_id)
            )
            self.deployment = await Deployment.open(connection, self._manifest)
            store = await Store.open(
                self._home, self.deployment.identity, self.account.payer, exclusive=not self._read_only
            )
            stack.callback(store.close)
            http = self._http if self._http is not None else await stack.enter_async_context(http_client())
            self.nodes = Nodes(self.deployment, http, self._clock, self._ceiling)
            context = Context(self.deployment, self.nodes, store, self._clock)
            self.channels = PaymentChannels(self.account, context)
            self.memberships = Memberships(self.account, context)
            self.orders = Orders(self.memberships)
            self.prover = Prover(self._rln_keys, self.deployment.chain_id, self._progress)
            stack.push_async_callback(self.prover.close)
            publisher = Publisher(context, self.channels, self.memberships, self.prover)
            self.mailbox = Mailbox(self.account, context, self.channels, publisher)
            if not self._read_only:
                stack.push_async_callback(self.channels.save)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def balance(self) -> int:
        """The payer's tokens outside of channels, in base units."""
        return await self.deployment.token.balance_of(self.account.payer)

    def sender(self, private_key: bytes | None = None) -> Sender:
        """Sends transactions and pays their gas: the payer itself, or whoever owns `private_key`."""
        return Sender(self.deployment.connection, private_key or self.account.payer_key)
