"""Measures relaying: members' messages through three nodes that read from each other, and beside them, in
turns, unproved ones through one node. Run it with `python -m tests.benchmarks.relay [--json]`.

All nodes and their verifiers share one core; load, subscribers and chain are on another. Each message is
published once, at the nodes in turn, and must come once to a subscriber at every node."""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tests.benchmarks.forging import message, payload, proved_messages
from tests.benchmarks.load import fire, post
from tests.benchmarks.nodes import LOAD_CORE, PASSWORD, BenchNode, bench_node, pin
from tests.benchmarks.subscribers import PATIENCE_SECONDS, Subscriber, send_evenly, subscribers
from tests.benchmarks.throughput import CPU, FREE
from tests.services.node.membership import Registry, deploy_membership
from tests.services.node.relaying import register
from tests.services.node.world import Deployed, World, deployed_chain

from waypost.cli.demo.processes import free_ports
from waypost.node.settings import DAY, HOUR, RlnSettings, load
from waypost.protocol.relay import Envelope

NODES = 3
TOPIC = "/waypost/1/benchmark/raw"
EPOCH_SECONDS, TOLERANCE = DAY, HOUR
"""Messages are made before nodes and load start: they must not grow too old."""
WARM_UP = 60
QUIET_SECONDS = 1.0
"""After the last message, in which nothing more may come."""
NAMES = {"proved": "proved, three nodes", "unproved": "unproved, one node"}
PROOFS, BATCHES = 'waypost_proofs{sum="verified"}', 'waypost_proofs{sum="batches"}'


@dataclass
class Way:
    """One way to relay: its nodes, three subscribers, and the messages that are still to be sent."""

    nodes: Sequence[BenchNode]
    readers: Sequence[Subscriber]
    messages: Iterator[Envelope]
    connections: int
    sent: set[str] = field(default_factory=set)
    rates: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    """Milliseconds from publishing to a subscriber of another node, where there is one."""
    counts: dict[str, float] = field(default_factory=dict)
    """What the nodes' metrics grew by while the load was full, `messages` among them."""

    def take(self, count: int) -> tuple[list[str], list[bytes]]:
        """The next messages: their payloads, and the requests that publish them."""
        taken = [next(self.messages) for _ in range(count)]
        bodies = [json.dumps(each.to_json()).encode() for each in taken]
        payloads = [payload(each.message) for each in taken]
        self.sent.update(payloads)
        return payloads, [post("/v1/relay", each) for each in bodies]

    async def fill(self, count: int) -> float:
        """Sends as fast as they are taken; messages per second until all subscribers have all."""
        payloads, requests = self.take(count)
        streams = [requests[first :: self.connections] for first in range(min(count, self.connections))]
        before, begin = self.metrics(), time.perf_counter()
        shares = [streams[first :: len(self.nodes)] for first in range(len(self.nodes))]
        await asyncio.gather(*(fire(n.port, share) for n, share in zip(self.nodes, shares, strict=True)))
        await self.all_came()
        last = max(reader.came[each] for reader in self.readers for each in payloads)
        for name, value in self.metrics().items():
            self.counts[name] = self.counts.get(name, 0) + value - before[name]
        self.counts["messages"] = self.counts.get("messages", 0) + count
        return count / (last - begin)

    async def trickle(self, count: int, per_second: float) -> list[float]:
        """Sends evenly; milliseconds that each message took to each subscriber elsewhere."""
        payloads, requests = self.take(count)
        ports = [node.port for node in self.nodes]
        due = await send_evenly(ports, requests, per_second, self.connections // len(ports))
        await self.all_came()
        return [
            (reader.came[each] - due[number]) * 1000
            for number, each in enumerate(payloads)
            for place, reader in enumerate(self.readers)
            if len(ports) == 1 or place != number % len(ports)
        ]

    async def all_came(self) -> None:
        """All that was sent so far."""
        await asyncio.gather(*(reader.until(len(self.sent)) for reader in self.readers))

    def metrics(self) -> dict[str, float]:
        """Sums over the nodes."""
        names = (CPU, PROOFS, BATCHES) if self.nodes[0].config.rln else (CPU,)
        return {name: sum(node.metric(name) for node in self.nodes) for name in names}

    def figures(self) -> dict[str, Any]:
        """Of all rounds together."""
        hundredths = quantiles(self.waits, n=100, method="inclusive")
        return {
            "perSecond": round(median(self.rates), 1),
            "p50Ms": round(hundredths[49], 1),
            "p99Ms": round(hundredths[98], 1),
            "samples": len(self.waits),
            "nodeCpuUs": round(self.counts[CPU] / self.counts["messages"] / len(self.nodes) * 10**6),
        }


async def prepare(deployed: Deployed, count: int, size: int) -> tuple[RlnSettings, list[Envelope]]:
    """A membership contract that outlasts the epoch, and a member's messages."""
    async with World.enter(deployed) as world:
        registry: Registry = await deploy_membership(world, window=4 * DAY)
        rln = RlnSettings(
            contract=registry.contract.address, start_block=registry.start, epoch_seconds=EPOCH_SECONDS
        )
        chain = deployed.manifest.chain_id
        made = await proved_messages(registry, chain, rln.network, EPOCH_SECONDS, TOPIC, count, size)
        return rln, made


@contextlib.contextmanager
def network(deployed: Deployed, folder: Path, rln: RlnSettings) -> Iterator[list[BenchNode]]:
    """Three nodes that are still to be registered, and one that knows nobody."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for number, port in enumerate((*free_ports(NODES), 0)):
            changes: dict[str, Any] = {"rln": rln, "port": port} if port else {}
            node = bench_node(
                deployed,
                folder / str(number),
                FREE,
                endpoint=f"http://127.0.0.1:{port or 8400}",
                clock_tolerance_seconds=TOLERANCE,
                max_head_age_seconds=DAY,
                poll_seconds=0.2,
                relay={"max_peers": NODES if port else 0},
                **changes,
            )
            nodes.append(stack.enter_context(node))
        yield nodes


async def join(deployed: Deployed, nodes: Sequence[BenchNode]) -> None:
    """Registers the nodes, and waits until each reads from all others."""
    async with World.enter(deployed) as world:
        for node in nodes:
            await register(world, load(node.folder, PASSWORD))
    async with asyncio.timeout(PATIENCE_SECONDS):
        for node in nodes:
            while node.metric("waypost_subscribers") < len(nodes) - 1:  # noqa: ASYNC110  # it is another process
                await asyncio.sleep(0.2)


async def measure(
    deployed: Deployed, nodes: Sequence[BenchNode], made: Sequence[Envelope], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Rounds in turns, after a short one to warm up."""
    *three, one = nodes
    await join(deployed, three)
    plain = (Envelope(message(TOPIC, arguments.size)) for _ in made)
    burst = arguments.messages // (2 * arguments.rounds)
    async with (
        subscribers([node.port for node in three], TOPIC) as readers,
        subscribers([one.port] * NODES, TOPIC) as others,
    ):
        ways = {
            "proved": Way(three, readers, iter(made), NODES * arguments.connections),
            "unproved": Way([one], others, plain, NODES * arguments.connections),
        }
        for way in ways.values():
            await way.fill(WARM_UP)
            way.counts.clear()
        for _ in range(arguments.rounds):
            for way in ways.values():
                way.rates.append(await way.fill(burst))
            for name, way in ways.items():
                waits = await way.trickle(burst, way.rates[-1] / 2)
                way.waits += waits
                figures = f"{way.rates[-1]:7.1f}/s  {median(waits):6.1f} ms  {max(waits):6.1f} ms at most"
                print(f"{name:8} {figures}", file=sys.stderr)
        await asyncio.sleep(QUIET_SECONDS)
        for way in ways.values():
            assert all(reader.came.keys() == way.sent for reader in way.readers), "Messages are missing."
    proved, unproved = ways["proved"], ways["unproved"]
    counts = proved.counts
    return {
        **{name: way.figures() for name, way in ways.items()},
        "ratio": round(median(p / u for p, u in zip(proved.rates, unproved.rates, strict=True)), 3),
        "proofsPerBatch": round(counts[PROOFS] / counts[BATCHES], 1),
        "proofsPerMessageAndNode": round(counts[PROOFS] / counts["messages"] / NODES, 3),
        "messages": arguments.rounds * 2 * burst,
        "connections": NODES * arguments.connections,
        "payloadBytes": arguments.size,
        "processors": os.cpu_count(),
    }


def main() -> int:
    """Prints the figures; fails when a message is lost or comes twice, whatever the times."""
    parser = argparse.ArgumentParser(description="Measure relaying.")
    parser.add_argument(
        "--messages", type=int, default=1_800, help="of each kind, to measure with (default 1800)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16, help="publishers at each node (default 16)")
    parser.add_argument("--size", type=int, default=512, help="bytes of payload (default 512)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    pin(LOAD_CORE)
    with tempfile.TemporaryDirectory() as folder, deployed_chain() as deployed:
        rln, made = asyncio.run(prepare(deployed, WARM_UP + arguments.messages, arguments.size))
        with network(deployed, Path(folder), rln) as nodes:
            figures = asyncio.run(measure(deployed, nodes, made, arguments))
    print(json.dumps(figures) if arguments.json else report(figures))
    return 0


def report(figures: dict[str, Any]) -> str:
    """For people."""
    rows = [
        f"  {name:19} {way['perSecond']:7.1f}/s  {way['nodeCpuUs']:5} µs of CPU in each node"
        f"  at half that load p50 {way['p50Ms']:.1f} ms, p99 {way['p99Ms']:.1f} ms"
        for name, way in ((name, figures[key]) for key, name in NAMES.items())
    ]
    what = "{payloadBytes} bytes, {connections} connections, {processors} processors".format_map(figures)
    return "\n".join(
        (
            f"POST /v1/relay, {what}",
            *rows,
            f"  ratio {figures['ratio']:.2f}; each came once to each of {NODES} subscribers",
            f"  {figures['proofsPerBatch']} proofs in a batch; each node checked each proof "
            f"{figures['proofsPerMessageAndNode']} times",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
