"""The world of the node's tests on anvil, and a proxy through which the node sees it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.fire.anvil import reorg
from tests.fire.proxy import Proxy
from tests.services.node.money_node import EAGER, MoneyNode, NodeKeys, assert_books_agree, open_node, until
from tests.services.node.world import ETHER, Client, Deployed, World

from waypost.chain import deploy, presets
from waypost.chain.channels import ChannelState
from waypost.chain.connection import connect
from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.errors import ChannelNotFinal
from waypost.node import blocks

DEEPEST = 12
"""Blocks that a reorg undoes at most: those on top of what a test sets up."""


async def deployed(url: str) -> Deployed:
    """The contracts of the local preset on this chain."""
    async with await connect(url) as connection:
        plan = await deploy.plan(connection, presets.LOCAL)
        manifest = await deploy.execute(plan, Sender(connection, FUNDED_KEYS[9]))
        return Deployed(url, manifest, await Token(connection, manifest.token).domain())


@dataclass
class Battlefield:
    """One test's node and its clients; everybody but the node sees the chain as it is."""

    world: World
    proxy: Proxy
    keys: NodeKeys
    clients: list[Client]
    acknowledged: dict[str, int]

    @classmethod
    @asynccontextmanager
    async def enter(
        cls, there: Deployed, proxy: Proxy, folder: Path, clients: int = 2
    ) -> AsyncIterator["Battlefield"]:
        """With money for everybody, below blocks that no reorg of a test undoes."""
        async with World.enter(there) as world:
            keys = NodeKeys(folder)
            await world.fund(keys.gas_account, 10 * ETHER)
            people = [await world.client(keys.payee) for _ in range(clients)]
            for client in people:
                await world.fund(client.payer, ETHER // 100)
            await world.mine(DEEPEST)
            yield cls(world, proxy, keys, people, {})

    @asynccontextmanager
    async def node(self, **options: Any) -> AsyncIterator[MoneyNode]:
        """The node, which looks through the proxy."""
        settings = {"claim": EAGER, **options}
        async with open_node(self.world, self.keys, url=self.proxy.url, **settings) as node:
            yield node

    async def open(self, node: MoneyNode, client: Client) -> None:
        """A channel of the client's; what the answer says is paid is acknowledged."""
        opened = await node.open(client.request())
        assert opened.account is not None
        self.acknowledged[client.signer] = opened.account.paid

    async def pay(self, node: MoneyNode, client: Client, total: int) -> None:
        """A receipt, acknowledged unless the node says that it reads the chain anew."""
        try:
            await node.pay(client, total)
        except ChannelNotFinal:
            return
        self.acknowledged[client.signer] = max(total, self.acknowledged.get(client.signer, 0))

    async def reorg(self, depth: int, *kept: tuple[bytes, int]) -> None:
        """Of the newest blocks, and one more on top of the new ones, which makes the new chain the longer."""
        await reorg(self.world.url, depth, *kept)
        await self.world.mine()

    async def settle(self, node: MoneyNode) -> None:
        """In fair weather everything acknowledged ends up claimed, once, on the chain and in the books."""
        self.proxy.clear()

        async def settled() -> bool:
            if not await self.is_level(node) or (await node.outbox.status()).waiting:
                return False
            on_chain = {client.signer: await self.claimed(client) for client in paying}
            return on_chain == self.acknowledged and await node.claimed() == sum(on_chain.values())

        paying = [client for client in self.clients if client.signer in self.acknowledged]
        await until(settled, 60)
        for client in paying:
            assert (await node.books(client)).paid == self.acknowledged[client.signer]
        assert (await node.ledger.totals()).lost == 0
        await assert_books_agree(node)

    async def is_level(self, node: MoneyNode) -> bool:
        """Whether the books have seen the chain's newest block, and not one that a reorg has replaced."""
        here, there = await node.db.read(blocks.head), await self.world.connection.head()
        return here is not None and here.hash == there.hash

    async def state(self, client: Client) -> ChannelState:
        """What the chain itself says of the client's channel."""
        return await self.world.channels.channel(self.keys.payee, self.world.token.address, client.signer)

    async def claimed(self, client: Client) -> int:
        """The same of what was claimed."""
        return (await self.state(client)).claimed

    async def live(self, node: MoneyNode, chance: Random, rounds: int) -> None:
        """A node's day: clients pay, blocks come, and one of the clients leaves in the middle of it."""
        staying = list(self.clients)
        for number in range(rounds):
            if number == rounds // 2:
                await staying.pop().start_close()
            client = chance.choice(self.clients)
            if client in staying:
                paid = self.acknowledged[client.signer]
                await self.pay(node, client, paid + chance.randint(1, 20_000))
            if chance.random() < 0.3:
                await self.world.mine()
            await asyncio.sleep(0.02)
