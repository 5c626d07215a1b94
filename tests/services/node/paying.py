"""A process that charges without pause, and prints a line for every answer it gets: made to be killed.
Run as `python -m tests.services.node.paying FOLDER ROUND [LIMIT]`; LIMIT is the largest file, in bytes."""

import asyncio
import random
import resource
import sqlite3
import sys
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

from waypost.errors import StorageFull
from waypost.node.answers import Idempotency
from waypost.node.backends.sqlite import Database
from waypost.node.ledger import Charge, Charged, Ledger
from waypost.node.messages import MessageStore, StoreLimits
from waypost.protocol.messages import Message
from waypost.protocol.prices import PriceList

DEPOSIT = 10**24
RETENTION = 3600
PRICES = PriceList(TOKEN, 0, 1000, 1, 1, 1, 1)
LIMITS = StoreLimits(3600, 3600, 2**40, 2**40, 60)
SIGNER = address("alice")


class Payer:
    """Stores one message per key, and pays each with a receipt of its own."""

    def __init__(self, db: Database) -> None:
        self.clock = Clock()
        self.ledger: Ledger = open_ledger(db, self.clock)
        self.messages = MessageStore(db, LIMITS)
        self.db = db
        self.total = 0

    async def start(self) -> None:
        """Opens the channel, the same in every process, and goes on where the last one ended."""
        await Blocks(self.db, self.ledger).mine(opened("alice", DEPOSIT))
        account = await self.ledger.account(SIGNER)
        assert account is not None
        self.total = account.paid

    async def pay(self, key: str, *, size: int | None = None) -> Charged[str]:
        """Stores the message of this key; the same call again is a retry."""
        payload = random.Random(key).randbytes(size or random.Random(key).randint(1, 20_000))
        message = Message("/waypost/1/crash/raw", payload, self.clock.now * 10**9)

        def store(connection: sqlite3.Connection) -> tuple[int, str]:
            now = self.clock.now
            stored = self.messages.put(connection, message, SIGNER, RETENTION, PRICES, now)
            return stored.cost, stored.id.hex()

        self.total += 10**6
        return await self.ledger.charge(
            Charge(
                SIGNER,
                store,
                receipt=signed("alice", self.total),
                session=True,
                idempotency=Idempotency(key, message.id),
            )
        )


async def pay_for_ever(payer: Payer, name: str) -> None:
    for number in range(sys.maxsize):
        key = f"{name}-{number}"
        answer = await payer.pay(key)
        print(key, answer.charged, answer.paid, answer.spent, flush=True)


async def fill_the_disk(payer: Payer) -> None:
    """Pays until nothing fits any more, then shows that the node lives on."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    count = 0
    try:
        while True:
            answer = await payer.pay(f"full-{count}", size=20_000)
            count += 1
    except StorageFull:
        print("full after", count, answer.spent, flush=True)
    account = await payer.ledger.account(SIGNER)
    assert account is not None
    print("reads", account.spent, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits[1], limits[1]))
    answer = await payer.pay(f"full-{count}", size=20_000)
    print("room again", int(answer.replayed), answer.spent, flush=True)


async def main(folder: str, name: str, limit: str | None = None) -> None:
    async with open_database(Path(folder)) as db:
        payer = Payer(db)
        await payer.start()
        if limit:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
            await fill_the_disk(payer)
        else:
            await asyncio.gather(*(pay_for_ever(payer, f"{name}-{worker}") for worker in range(8)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
