"""Three nodes that really listen, on a chain with the real contracts, and people with the SDK."""

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from eth_typing import ChecksumAddress
from pydantic import SecretBytes
from tests.e2e.documents import ROOT
from tests.services.node.money_node import until
from tests.services.node.relaying import Listening, listening, register, relay_settings
from tests.services.node.world import Deployed, World

from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.membership import MemberRecord, Membership
from waypost.chain.presets import LOCAL
from waypost.cli.demo.processes import free_ports
from waypost.cli.node.rln import timing
from waypost.client import Account, Client
from waypost.client.prover import Prover
from waypost.client.subscription import Subscription
from waypost.node.settings import NodeSettings

TOPIC = "/waypost/1/test/plain"
TOKENS = 10**9
BURNED = ChecksumAddress("0x000000000000000000000000000000000000dEaD")  # type: ignore[arg-type]


class Waypost:
    """A node, which runs in a task of its own so that whoever wants can start and stop it."""

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._started: asyncio.Future[Listening]
        self.running: Listening

    @property
    def operator(self) -> ChecksumAddress:
        """Which is the payee, too."""
        return self.settings.operator

    async def start(self) -> None:
        """Returns when it answers."""
        self._stop, self._started = asyncio.Event(), asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._give_up)
        self.running = await self._started

    async def stop(self) -> None:
        """Returns when its port is free."""
        task, self._task = self._task, None
        if task is not None:
            self._stop.set()
            await task

    async def _run(self) -> None:
        async with listening(self.settings) as node:
            await until(lambda: node.node.rln is not None and node.node.rln.sync.ready)
            self._started.set_result(node)
            await self._stop.wait()

    def _give_up(self, task: asyncio.Task[None]) -> None:
        if not self._started.done():
            self._started.set_exception(task.exception() or RuntimeError("the node ended"))

    async def exposed(self) -> int:
        """How many members' secrets it has found."""
        read = self.running.node.db.read
        return int(await read(lambda books: books.execute("SELECT count(*) FROM exposures").fetchone()[0]))


@dataclass
class Skewed:
    """A clock that is so many seconds off."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.seconds


@dataclass
class Net:
    """`nodes` are registered with stake; `prover` is shared, since loading its key takes seconds."""

    world: World
    nodes: tuple[Waypost, ...]
    prover: Prover
    folder: Path
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def membership(self) -> Membership:
        """The contract."""
        return Membership(self.world.connection, self.world.manifest.contracts["RlnMembership"].address)

    def client(self, account: Account, home: Path, **options: Any) -> Client:
        """The SDK on a folder."""
        options = {"prover": self.prover, **options}
        return Client(account, self.world.manifest, self.world.url, home=home, **options)

    async def account(self) -> Account:
        """Somebody with tokens and no ETH."""
        account = Account.create()
        await self.world.mint(account.payer, TOKENS)
        return account

    @contextlib.asynccontextmanager
    async def person(self) -> AsyncIterator[Client]:
        """With a folder that nobody else has."""
        async with self.client(await self.account(), self.home()) as client:
            yield client

    @contextlib.asynccontextmanager
    async def member(self, node: Waypost, rate: int, periods: int = 1) -> AsyncIterator[Client]:
        """A person who has joined at the node."""
        async with self.person() as client:
            await self.join(client, node, rate, periods)
            yield client

    async def join(self, client: Client, node: Waypost, rate: int, periods: int = 1) -> None:
        """Through the node, and until every node's tree has the member."""
        quote = await client.orders.quote(await client.nodes.get(node.operator), rate, periods)
        record = await client.orders.join(quote)
        for each in self.nodes:
            other = await client.nodes.get(each.operator)
            await until(partial(client.memberships.trees.has, record, other))

    def home(self) -> Path:
        """A new folder."""
        return self.folder / f"home-{next(self.numbers)}"

    def record(self, client: Client) -> MemberRecord:
        """The person's membership, as the contract knows it."""
        return client.memberships.member(client.memberships.current())

    async def balance(self, account: ChecksumAddress) -> int:
        """Tokens."""
        return await self.world.token.balance_of(account)

    @contextlib.asynccontextmanager
    async def ears(self) -> AsyncIterator[list["Ear"]]:
        """A subscriber at each node, who has been given all that the node kept."""
        async with contextlib.AsyncExitStack() as stack:
            listener, ears = await stack.enter_async_context(self.person()), []
            for node in self.nodes:
                heard = await listener.mailbox.subscribe(
                    [TOPIC], operators=[node.operator], name=node.operator
                )
                ears.append(Ear(await stack.enter_async_context(heard)))
                await asyncio.wait_for(heard.live.wait(), 60)
            yield ears


@dataclass
class Ear:
    """What is heard at one node."""

    subscription: Subscription

    async def hear(self, count: int) -> list[str]:
        """The next so many messages."""
        async with asyncio.timeout(60):
            return [(await anext(self.subscription)).message.payload.decode() for _ in range(count)]


async def hear(ears: Sequence[Ear], *texts: str) -> None:
    """These come next everywhere, in any order, each once."""
    for ear in ears:
        assert sorted(await ear.hear(len(texts))) == sorted(texts)


@contextlib.asynccontextmanager
async def open_net(deployed: Deployed, folder: Path) -> AsyncIterator[Net]:
    """Runs the nodes until the block is left."""
    contract = deployed.manifest.contracts["RlnMembership"]
    epoch, root = timing(LOCAL.member_window)
    rln = {
        "contract": contract.address,
        "start_block": contract.block,
        "epoch_seconds": epoch,
        "root_seconds": root,
    }
    async with contextlib.AsyncExitStack() as stack:
        world = await stack.enter_async_context(World.enter(deployed))
        prover = Prover(ROOT / "build" / "keys", deployed.manifest.chain_id)
        stack.push_async_callback(prover.close)
        nodes = []
        for number, port in enumerate(free_ports(3)):
            place = folder / f"node-{number}-{os.getpid()}"
            settings = relay_settings(deployed, place, port, rln=rln, poll_seconds=0.25)
            settings = settings.model_copy(update={"gas_key": SecretBytes(FUNDED_KEYS[1 + number])})
            await register(world, settings)
            nodes.append(Waypost(settings))
            stack.push_async_callback(nodes[-1].stop)
        await asyncio.gather(prover.start(), *(node.start() for node in nodes))
        yield Net(world, tuple(nodes), prover, folder)
