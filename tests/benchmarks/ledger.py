"""Measures paid charges per second with group commit, and with one commit for each charge beside it.
Every charge checks a receipt and stores a message. Run it with `python -m tests.benchmarks.ledger`."""

import argparse
import asyncio
import json
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.services.node.books import (
    TOKEN,
    Blocks,
    Clock,
    address,
    open_database,
    open_ledger,
    opened,
    signed,
)

from waypost.node.backends.sqlite import Database
from waypost.node.ledger import Charge
from waypost.node.messages import MessageStore, StoreLimits
from waypost.protocol.messages import Message
from waypost.protocol.prices import PriceList

PRICES = PriceList(TOKEN, 0, 1, 1, 1, 1, 1)
LIMITS = StoreLimits(3600, 3600, 2**40, 2**40, 60)
SIGNER = address("alice")


@dataclass(frozen=True, slots=True)
class Speed:
    """Of `charges` in `seconds`, with `commits` disk flushes."""

    charges: int
    commits: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.charges / self.seconds


async def measure(db: Database, charges: list[Charge[None]], at_once: int) -> Speed:
    """Sends the charges, keeping `at_once` of them under way."""
    ledger = open_ledger(db, Clock())
    await Blocks(db, ledger).mine(opened("alice", 10**24))
    todo = iter(charges)

    async def client() -> None:
        for charge in todo:
            await ledger.charge(charge)

    commits, start = db.commits, time.perf_counter()
    await asyncio.gather(*(client() for _ in range(at_once)))
    return Speed(len(charges), db.commits - commits, time.perf_counter() - start)


def charges(db: Database, count: int, size: int) -> list[Charge[None]]:
    """Requests that each pay with a receipt of their own and store a message of `size` bytes."""
    store, clock = MessageStore(db, LIMITS), Clock()

    def charge(number: int) -> Charge[None]:
        message = Message("/waypost/1/bench/raw", bytes(size), clock.now * 10**9 + number)

        def effect(connection: sqlite3.Connection) -> tuple[int, None]:
            return store.put(connection, message, SIGNER, 3600, PRICES, clock.now).cost, None

        return Charge(SIGNER, effect, signed("alice", 10**6 * (number + 1)), session=True)

    return [charge(number) for number in range(count)]


async def run(count: int, at_once: int, size: int) -> tuple[Speed, Speed]:
    """The same charges one after the other, then many at once; each on a database of its own."""
    speeds = []
    for parallel in (1, at_once):
        with tempfile.TemporaryDirectory() as folder:
            async with open_database(Path(folder)) as db:
                speeds.append(await measure(db, charges(db, count, size), parallel))
    return speeds[0], speeds[1]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description="Measure the ledger.")
    parser.add_argument("--count", type=int, default=5_000, help="charges in each run (default 5000)")
    parser.add_argument("--at-once", type=int, default=64, help="charges under way (default 64)")
    parser.add_argument("--size", type=int, default=1_000, help="payload in bytes (default 1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    single, grouped = asyncio.run(run(arguments.count, arguments.at_once, arguments.size))
    figures = {
        "charges": arguments.count,
        "single_per_second": round(single.per_second),
        "grouped_per_second": round(grouped.per_second),
        "grouped_commits_per_second": round(grouped.commits / grouped.seconds),
        "charges_per_commit": round(grouped.charges / grouped.commits, 1),
        "ratio": round(grouped.per_second / single.per_second, 2),
    }
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"one commit each   {figures['single_per_second']:6} charges/s")
    print(
        f"group commit      {figures['grouped_per_second']:6} charges/s in"
        f" {figures['grouped_commits_per_second']} commits/s ({figures['charges_per_commit']} each),"
        f" {figures['ratio']} times as many"
    )


if __name__ == "__main__":
    main()
