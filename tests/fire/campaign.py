"""A node's life, cut short again and again: real processes of `waypost node run` behind the proxy, killed at
random moments, while clients pay over HTTP, open channels and leave. By seed, for tests and for the soak."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from operator import ge
from pathlib import Path
from random import Random
from typing import Any

import httpx
from tests.fire.anvil import reorg
from tests.fire.proxy import FAULTS, Proxy, Weather
from tests.services.node.money_node import NodeKeys, assert_books_agree, open_node, until
from tests.services.node.world import DEPOSIT, ETHER, PRICE, Client, Deployed, World, new_key

from waypost.chain.channels import ChannelStatus
from waypost.chain.presets import LOCAL
from waypost.cli.demo.processes import free_ports
from waypost.node import settings
from waypost.node.settings import ClaimSettings, NodeConfig, PriceSettings, RateSettings

CLOSE_DELAY = 15
"""Seconds: several restarts of a node."""
DEEPEST = 6
FAULT_RATE = 0.03
START_SECONDS = 60.0
PASSWORD = "of keys that hold nothing"


@dataclass
class Tally:
    """What a campaign was, in counts. `acknowledged` and `claimed` in token base units, over all channels."""

    kills: int = 0
    kills_at_start: int = 0
    restarts: int = 0
    channels: int = 0
    receipts: int = 0
    reorgs: int = 0
    closings: int = 0
    acknowledged: int = 0
    claimed: int = 0
    lost: int = 0
    doubled: int = 0


@dataclass
class Payer:
    """A client as the campaign sees it: `signed` may have reached the node, `acknowledged` has."""

    client: Client
    signed: int = 0
    acknowledged: int = 0
    leaves: bool = False


@dataclass
class Campaign:
    """One node, its clients, and how often it is killed."""

    world: World
    proxy: Proxy
    folder: Path
    chance: Random
    tally: Tally = field(default_factory=Tally)
    payers: list[Payer] = field(default_factory=list)
    _fresh: list[Payer] = field(default_factory=list)

    @classmethod
    @contextlib.asynccontextmanager
    async def begin(cls, there: Deployed, folder: Path, seed: int, kills: int) -> AsyncIterator["Campaign"]:
        """Money for everybody, and the node's folder."""
        async with Proxy(there.url) as proxy, World.enter(there) as world:
            campaign = cls(world, proxy, folder, Random(seed))
            campaign._write_settings()
            await world.fund(campaign.keys.gas_account, 100 * ETHER)
            for _ in range(3 + kills):
                client = await world.client(campaign.keys.payee)
                await world.fund(client.payer, ETHER // 100)
                campaign._fresh.append(Payer(client))
            await world.mine(DEEPEST)
            yield campaign

    @property
    def keys(self) -> NodeKeys:
        """The node's accounts: the operator is paid and pays for gas."""
        key = settings.read_key(self.folder, "operator", PASSWORD)
        assert key is not None
        return NodeKeys(self.folder, key, key)

    async def run(self, kills: int) -> Tally:
        """Kills the node so many times, then lets it live, and holds it to what it promised."""
        while self.tally.kills < kills:
            self.proxy.weather = Weather(FAULT_RATE, tuple(sorted(FAULTS)), self.chance)
            async with self._node() as node:
                await self._live_and_die(node)
            await self._leave()
        self.proxy.clear()
        async with self._node() as node:
            assert await node.is_ready(), "the node does not start in fair weather"
            await until(self._all_is_claimed, 120)
            await self._finish(node)
        await self._account()
        return self.tally

    # What happens in a node's life

    async def _live_and_die(self, node: "Process") -> None:
        if self.chance.random() < 0.15:
            await asyncio.sleep(self.chance.uniform(0, 2.5))
            self.tally.kills_at_start += 1
        elif await node.is_ready():
            for _ in range(self.chance.randint(5, 30)):
                await self._something(node)
            last = asyncio.ensure_future(self._something(node))
            await asyncio.sleep(self.chance.choice((0, 0.005, 0.02, 0.1, 0.3)))
            node.kill()
            await last
        else:
            self.tally.restarts += 1  # it met a fault before it had any state to lose, and said so
            return
        node.kill()
        self.tally.kills += 1

    async def _something(self, node: "Process") -> None:
        match self.chance.choices(("pay", "open", "close", "reorg", "mine"), (60, 15, 8, 7, 10))[0]:
            case "pay" if payer := self._one():
                await self._pay(node, payer)
            case "close" if self._staying() > 2 and (payer := self._one()):
                payer.leaves = True
                self.tally.closings += 1
                await self._start_close(payer)
            case "reorg" if not await self._ends_soon():
                depth = self.chance.randint(1, DEEPEST)
                await reorg(self.world.url, depth)
                await self.world.mine()
                self.tally.reorgs += 1
            case "mine":
                await self.world.mine()
            case _:
                await self._open(node)

    async def _open(self, node: "Process") -> None:
        if not self._fresh:
            return
        payer = self._fresh[0]
        signed = payer.client.opening(close_delay=CLOSE_DELAY)
        answer = await node.post(
            "/v1/channels",
            {
                **signed.to_json(),
                "authorization": payer.client.authorization(signed).to_json(),
                "receipt": _receipt(payer.client, PRICE),
            },
        )
        if answer is not None and answer.status_code == 201:
            payer.acknowledged = payer.signed = int(answer.json()["paid"])
            self.payers.append(self._fresh.pop(0))
            self.tally.channels += 1

    async def _pay(self, node: "Process", payer: Payer) -> None:
        payer.signed = min(DEPOSIT, payer.signed + self.chance.randint(1, 50_000))
        token, signer = self.world.token.address, payer.client.signer
        body = {"token": token, "signer": signer, **_receipt(payer.client, payer.signed)}
        answer = await node.post("/v1/receipts", body)
        if answer is not None and answer.is_success:
            payer.acknowledged = max(payer.acknowledged, payer.signed)
            self.tally.receipts += 1

    async def _leave(self) -> None:
        """Payers who want to leave begin anew after a reorg, and take their rest the moment that they can."""
        now = await self._now()
        for payer in self.payers:
            if not payer.leaves:
                continue
            await self._start_close(payer)
            state = await self._state(payer)
            if state.status is ChannelStatus.CLOSING and state.closes_at <= now:
                sender = await self.world.sender()
                where = self.keys.payee, self.world.token.address, payer.client.signer
                await sender.send(self.world.channels.finish_close(*where))

    async def _start_close(self, payer: Payer) -> None:
        """Unless a reorg has undone even the opening: then the node sends that again first."""
        if (await self._state(payer)).status is ChannelStatus.OPEN:
            await payer.client.start_close()

    # What must be true in the end

    async def _all_is_claimed(self) -> bool:
        states = [await self._state(payer) for payer in self.payers]
        claimed = [state.claimed for state in states]
        return all(map(ge, claimed, (payer.acknowledged for payer in self.payers)))

    async def _finish(self, node: "Process") -> None:
        """Whatever is waiting is mined, and the books have seen it."""
        admin_token = settings.read_admin_token(self.folder).get_secret_value()
        headers = {"Authorization": f"Bearer {admin_token}"}

        async def quiet() -> bool:
            answer = await node.http.get(f"{node.admin}/status", headers=headers)
            status = answer.json()
            totals = status["totals"]
            return not status["waitingTransactions"] and totals["claimable"] == "0"

        await until(quiet, 60)

    async def _account(self) -> None:
        for payer in self.payers:
            claimed = (await self._state(payer)).claimed
            self.tally.acknowledged += payer.acknowledged
            self.tally.claimed += claimed
            self.tally.lost += claimed < payer.acknowledged
            self.tally.doubled += claimed > payer.signed
        async with open_node(self.world, self.keys) as books:
            await books.catch_up()
            await assert_books_agree(books)

    # Small things

    def _one(self) -> Payer | None:
        staying = [payer for payer in self.payers if not payer.leaves]
        return self.chance.choice(staying) if staying else None

    def _staying(self) -> int:
        return sum(not payer.leaves for payer in self.payers)

    async def _state(self, payer: Payer) -> Any:
        where = self.keys.payee, self.world.token.address, payer.client.signer
        return await self.world.channels.channel(*where)

    async def _ends_soon(self) -> bool:
        """A reorg that undoes a claim in the last seconds is deeper than any node can promise for."""
        now = await self._now()
        states = [await self._state(payer) for payer in self.payers if payer.leaves]
        closing = [state for state in states if state.status is ChannelStatus.CLOSING]
        return any(state.closes_at < now + CLOSE_DELAY / 2 for state in closing)

    async def _now(self) -> int:
        """The chain's clock, which reorgs move."""
        await self.world.mine()
        return (await self.world.connection.head()).timestamp

    def _write_settings(self) -> None:
        port, admin_port = free_ports(2)
        operator, manifest = new_key("operator"), self.world.manifest
        address = NodeKeys(self.folder, operator, operator).payee
        config = NodeConfig(
            rpc_url=self.proxy.url,
            chain_id=manifest.chain_id,
            channels=manifest.channels,
            registry=manifest.registry,
            token=manifest.token,
            start_block=manifest.start_block,
            operator=address,
            payee=address,
            endpoint=f"http://127.0.0.1:{port}",
            port=port,
            admin_port=admin_port,
            prices=PriceSettings(min_receipt=1),
            claim=ClaimSettings(min_value=50_000, max_age_seconds=3, close_margin_seconds=0),
            rate=RateSettings(requests_per_second=10**6, burst=10**6),
            confirmations=LOCAL.confirmations,
            min_close_delay=LOCAL.min_close_delay,
            poll_seconds=0.1,
            opening_cap_per_hour=10**6,
        )
        keys = {"operator": operator, "node": new_key("node")}
        settings.initialise(self.folder, config, keys, PASSWORD, scrypt_n=2)

    @contextlib.asynccontextmanager
    async def _node(self) -> AsyncIterator["Process"]:
        config = settings.read_config(self.folder)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "waypost", "node", "run", "--data-dir", str(self.folder)),
            *("--log-level", "error"),
            env={**os.environ, "WAYPOST_PASSWORD": PASSWORD},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            process = Process(child, http, config.endpoint, f"http://127.0.0.1:{config.admin_port}")
            try:
                yield process
            finally:
                process.kill()
                await child.wait()


@dataclass
class Process:
    """A running node."""

    child: asyncio.subprocess.Process
    http: httpx.AsyncClient
    endpoint: str
    admin: str

    async def is_ready(self) -> bool:
        """Waits until it answers; False if it ends instead."""
        give_up = time.monotonic() + START_SECONDS
        while self.child.returncode is None and time.monotonic() < give_up:
            with contextlib.suppress(httpx.TransportError):
                if (await self.http.get(f"{self.endpoint}/readyz")).is_success:
                    return True
            await asyncio.sleep(0.05)
        return False

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response | None:
        """The answer; None if the node died first."""
        try:
            return await self.http.post(self.endpoint + path, json=body)
        except httpx.TransportError:
            return None

    def kill(self) -> None:
        """The power fails."""
        if self.child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(signal.SIGKILL)


def _receipt(client: Client, cumulative: int) -> dict[str, str]:
    signature = client.receipt(cumulative).signature
    return {"cumulative": str(cumulative), "signature": signature.to_hex()}


def to_json(tally: Tally) -> dict[str, int]:
    """For reports."""
    return asdict(tally)
