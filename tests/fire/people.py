"""People whose programs end again and again: whatever they do is done by a new client on their folder."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from eth_typing import ChecksumAddress
from tests.e2e.net import TOKENS
from tests.fire.member_nodes import TOPIC, Mortal
from tests.services.node.world import World

from waypost.client import Account, Client
from waypost.client.prover import Prover
from waypost.client.records import MembershipRecord
from waypost.client.subscription import Subscription
from waypost.errors import WaypostError
from waypost.protocol.messages import Message

T = TypeVar("T")

PERIODS = 60
"""An hour: nobody is late."""
STEP_SECONDS = 120.0
"""Within which things work in the end, also slashes that failed in a reorg, whose pauses double."""


class Dying:
    """A prover with which the program ends: its count is on disk, and nothing was sent."""

    async def prove(self, *_: object) -> bytes:
        raise Died


class Died(Exception):
    """In place of a power cut."""


@dataclass
class Person:
    """Somebody with tokens, no ETH and a folder. `message`: what was not acknowledged yet."""

    account: Account
    home: Path
    world: World
    prover: Prover
    message: Message | None = None

    @classmethod
    async def create(cls, world: World, home: Path, prover: Prover) -> "Person":
        """Who is no member yet."""
        account = Account.create()
        await world.mint(account.payer, TOKENS)
        return cls(account, home, world, prover)

    def client(self, prover: Prover | None = None) -> Client:
        """The program, started again."""
        here, prover = self.world, prover or self.prover
        return Client(self.account, here.manifest, here.url, home=self.home, prover=prover)

    async def join(self, node: Mortal, rate: int) -> MembershipRecord:
        """Through the node, which may die meanwhile, until its tree has the member."""

        async def once() -> MembershipRecord:
            async with self.client() as client:
                quote = await client.orders.quote(await client.nodes.get(node.operator), rate, PERIODS)
                return await client.orders.join(quote)

        return await until_it_works(once)

    async def crash(self, message: Message) -> None:
        """Ends between its count and the message."""
        with contextlib.suppress(Died, WaypostError):
            async with self.client(Dying()) as client:  # type: ignore[arg-type]
                await client.mailbox.publish(TOPIC, b"", message=message)

    async def say(self, message: Message, nodes: Sequence[Mortal]) -> None:
        """Publishes at all of these. Raises the first fault."""
        operators = [node.operator for node in nodes]
        async with self.client() as client:
            published = await client.mailbox.publish(
                TOPIC, b"", operators=operators, copies=len(nodes), message=message
            )
        for fault in published.faults.values():
            raise fault


@contextlib.asynccontextmanager
async def listening(
    person: Person, nodes: Sequence[Mortal]
) -> AsyncIterator[dict[ChecksumAddress, list[str]]]:
    """What is heard at each node, through its lives, from now on."""

    async def listen(subscription: Subscription, texts: list[str]) -> None:
        async for heard in subscription:
            texts += [heard.message.payload.decode()]  # seen from outside while it grows

    heard: dict[ChecksumAddress, list[str]] = {}
    async with person.client() as client, contextlib.AsyncExitStack() as stack:
        tasks = []
        for operator in [node.operator for node in nodes]:
            made = await client.mailbox.subscribe([TOPIC], operators=[operator], name=operator)
            subscription = await stack.enter_async_context(made)
            await asyncio.wait_for(subscription.live.wait(), STEP_SECONDS)
            tasks.append(asyncio.ensure_future(listen(subscription, heard.setdefault(operator, []))))
        try:
            yield heard
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until_it_works(step: Callable[[], Awaitable[T]]) -> T:
    """Tries a step again and again. Raises the last fault when it takes too long."""
    give_up = time.monotonic() + STEP_SECONDS
    while True:
        try:
            return await step()
        except WaypostError:
            if time.monotonic() > give_up:
                raise
        await asyncio.sleep(0.2)
