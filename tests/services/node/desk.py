"""An outbox that sends nothing."""

import hashlib
import sqlite3
from collections.abc import Callable

from tests.services.node.books import Clock

from waypost.chain.connection import Call
from waypost.node import transactions
from waypost.node.backends.sqlite import Database
from waypost.node.outbox import Outbox
from waypost.node.transactions import Attempt, Draft, Transaction

GAS_PRICE = 10**9


class Desk(Outbox):
    """In place of the outbox and the chain behind it: keeps what it is given, and answers as a test says."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock
        self.price = GAS_PRICE
        self.pays = 2**96
        self.estimate = 60_000
        self.drafts: list[Draft] = []
        self.hurried: list[int] = []

    async def gas_price(self) -> int:
        return self.price

    async def rehearse(self, call: Call) -> tuple[bytes, int]:
        return self.pays.to_bytes(32), self.estimate

    async def post(self, draft: Draft, record: Callable[[sqlite3.Connection, int], None]) -> Transaction:
        self.drafts.append(draft)
        return await self._db.write(lambda connection: stored(connection, draft, self._clock(), record))

    async def hurry(self, transaction: Transaction) -> None:
        self.hurried.append(transaction.id)
        await self._db.write(lambda connection: transactions.hurry(connection, transaction.nonce))


def stored(
    connection: sqlite3.Connection,
    draft: Draft,
    now: int,
    record: Callable[[sqlite3.Connection, int], None],
) -> Transaction:
    """What the outbox does once it has signed."""
    nonce = transactions.next_nonce(connection)
    digest = hashlib.sha256(f"{nonce} {now} {draft}".encode()).digest()
    attempt = Attempt(digest, b"", 1, 1, empty=False, signed_at=now)
    transaction = transactions.add(connection, draft, nonce, attempt)
    record(connection, transaction)
    return transactions.find(connection, transaction)
