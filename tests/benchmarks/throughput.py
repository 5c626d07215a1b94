"""Measures what payment costs a node: the same durable POST, paid and unpaid, in one run and in turns.
Nodes are real processes on one core; load, clients and chain are on another. `make bench ARGS=--json`."""

import argparse
import asyncio
import base64
import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from tests.benchmarks import receipts
from tests.benchmarks.load import Pay, Round, body, fire, requests
from tests.benchmarks.nodes import LOAD_CORE, BenchNode, bench_node, pin
from tests.services.node.api.served import Customer, open_channels
from tests.services.node.world import deployed_chain

from waypost.chain.connection import connect
from waypost.node.settings import PriceSettings

GOAL = 0.75
"""Of what unpaid requests get done with the same processor time, for those that a session pays for, as the
SDK's are: one receipt, many requests. Other programs slow a rate, but hardly change this."""
FREE = PriceSettings(
    store_per_kib_hour=0, fetch_per_kib=0, relay_per_kib=0, opening=0, min_receipt=0, min_deposit=0
)
PRICED = PriceSettings(min_receipt=1)
RECEIPTS = 5_000
NAMES = {"unpaid": "unpaid", "paid, by session": "session", "a receipt in each": "receipt"}
CPU = "process_cpu_seconds_total"


def unpaid(customer: Customer, cost: int) -> dict[str, str]:
    """At a node whose price is zero."""
    return {}


def receipt(customer: Customer, cost: int) -> dict[str, str]:
    """With a fresh receipt in every request: the way of x402, and the dearest for the node."""
    return customer.pay(cost)


async def sessions(node: BenchNode) -> Pay:
    """Opens a session on every channel: requests spend what was paid before."""
    tokens: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=node.url) as http:
        for one in node.customers:
            one.total += 1_000_000
            (await http.post("/v1/receipts", json=one.raised(one.total))).raise_for_status()
            asked = one.session_request(expires=int(time.time()) + 3600)
            opened = (await http.post("/v1/sessions", json=asked)).raise_for_status()
            tokens[one.signer] = opened.json()["session"]
    return lambda customer, cost: {"Authorization": f"Bearer {tokens[customer.signer]}"}


async def round_trip(node: BenchNode, count: int, size: int) -> tuple[float, float]:
    """Milliseconds, median, of a 402 alone, and of asking, reading the 402, signing and paying."""
    customer, refusals, wholes = node.customers[0], [], []
    async with httpx.AsyncClient(base_url=node.url, headers={"Content-Type": "application/json"}) as http:
        for _ in range(count):
            content, _message = body(size)
            begin = time.perf_counter()
            refused = await http.post("/v1/messages", content=content)
            refusals.append(time.perf_counter() - begin)
            required = json.loads(base64.b64decode(refused.headers["PAYMENT-REQUIRED"]))
            headers = customer.pay(int(required["accepts"][0]["amount"]))
            paid = await http.post("/v1/messages", content=content, headers=headers)
            assert paid.status_code == 201, paid.text
            wholes.append(time.perf_counter() - begin)
    return median(refusals) * 1000, median(wholes) * 1000


async def measure(paid: BenchNode, free: BenchNode, arguments: argparse.Namespace) -> dict[str, Any]:
    """Rounds in turns, the first of them to warm up; the figures are medians over the others."""
    async with await connect(paid.config.rpc_url) as connection:
        await open_channels(connection, paid.customers)
        await asyncio.sleep(2 * paid.config.poll_seconds + 1)  # the node finds them in its next round
    ways: dict[str, tuple[BenchNode, Pay]] = {
        "unpaid": (free, unpaid),
        "session": (paid, await sessions(paid)),
        "receipt": (paid, receipt),
    }
    rounds: defaultdict[str, list[Round]] = defaultdict(list)
    cpu: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(arguments.rounds + 1):
        for name, (node, pay) in ways.items():
            streams = requests(node.customers, paid.prices, arguments.requests, arguments.size, pay)
            before = node.metric(CPU)
            done = await fire(node.port, streams)
            if number:
                rounds[name].append(done)
                cpu[name].append((node.metric(CPU) - before) / done.requests * 10**6)
                figures = (
                    f"{done.per_second:7.0f}/s  {done.median_ms:6.1f} ms  {cpu[name][-1]:5.0f} µs of CPU"
                )
                print(f"{name:8} {figures}", file=sys.stderr)
    refusal_ms, paying_ms = await round_trip(paid, 200, arguments.size)
    return {
        "perSecond": {name: round(median(done.per_second for done in all)) for name, all in rounds.items()},
        "ratio": {name: round(_ratio(rounds[name], rounds["unpaid"]), 3) for name in ("session", "receipt")},
        "cpuUs": {name: round(median(all)) for name, all in cpu.items()},
        "x402": {"refusalMs": round(refusal_ms, 2), "refusedThenPaidMs": round(paying_ms, 2)},
        "connections": arguments.connections,
        "payloadBytes": arguments.size,
    }


def _ratio(rounds: list[Round], unpaid: list[Round]) -> float:
    """Of neighbours in time, so that a busy machine slows both."""
    return median(done.per_second / base.per_second for done, base in zip(rounds, unpaid, strict=True))


def main() -> int:
    """Prints the figures; fails when payment costs more than the goal allows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=3_000, help="in each round (default 3000)")
    parser.add_argument("--connections", type=int, default=32, help="each a customer of its own (default 32)")
    parser.add_argument("--size", type=int, default=512, help="bytes of payload (default 512)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    pin(LOAD_CORE)
    with tempfile.TemporaryDirectory() as folder, deployed_chain() as deployed:
        places, count = Path(folder), arguments.connections
        with (
            bench_node(deployed, places / "paid", PRICED, count) as paid,
            bench_node(deployed, places / "free", FREE, count) as free,
        ):
            figures = asyncio.run(measure(paid, free, arguments))
    signed = receipts.sign_receipts(RECEIPTS)
    figures["receiptCheckUs"] = round(receipts.measure(receipts.check, signed), 1)
    cpu = figures["cpuUs"]
    met = cpu["unpaid"] / cpu["session"] >= GOAL and figures["receiptCheckUs"] <= receipts.BUDGET_US
    print(json.dumps(figures) if arguments.json else report(figures))
    return 0 if met else 1


def report(figures: dict[str, Any]) -> str:
    """For people."""
    rates, ratio, cpu, x402 = (figures[name] for name in ("perSecond", "ratio", "cpuUs", "x402"))
    rows = [
        f"  {name:18} {rates[way]:6}/s  {cpu[way]:5} µs of CPU   {ratio.get(way, 1):.2f}"
        for name, way in NAMES.items()
    ]
    what = f"{figures['payloadBytes']} bytes, {figures['connections']} connections"
    return "\n".join(
        (
            f"durable POST /v1/messages, {what}",
            *rows,
            f"  goal, by session: {GOAL} of unpaid; by processor time {cpu['unpaid'] / cpu['session']:.2f}",
            f"402 alone {x402['refusalMs']} ms; 402, signing and paying {x402['refusedThenPaidMs']} ms",
            f"receipt check {figures['receiptCheckUs']} µs (budget {receipts.BUDGET_US:.0f})",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
