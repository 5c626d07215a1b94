"""The pruner clears everything away, and outlives what goes wrong."""

import asyncio
import sqlite3

import pytest
from tests.services.node.books import NODE_DOMAIN, OPERATOR, Blocks, Clock, opened, signed
from tests.services.node.test_messages import INBOX, LIMITS, Sender
from tests.services.node.test_sessions import ALICE, asked

from waypost.errors import StorageFull
from waypost.node.answers import KEPT, Idempotency
from waypost.node.backends.sqlite import Database
from waypost.node.ledger import Charge, Ledger
from waypost.node.messages import MessageStore
from waypost.node.metrics import Metrics
from waypost.node.pruner import Pruner
from waypost.node.relay import Relay, RelayLimits
from waypost.node.sessions import Sessions
from waypost.node.subscriptions import Subscriptions
from waypost.protocol.messages import Message
from waypost.protocol.prices import HOUR

TABLES = ("messages", "relayed", "session_nonces", "sessions", "answers")


async def rows(db: Database) -> list[int]:
    def count(table: str) -> str:
        return f"SELECT count(*) FROM {table}"

    return await db.read(lambda c: [c.execute(count(table)).fetchone()[0] for table in TABLES])


@pytest.mark.parametrize("fault", [StorageFull(), sqlite3.OperationalError("disk I/O error")], ids=repr)
async def test_every_kind_is_pruned_in_spite_of_a_fault(
    db: Database,
    ledger: Ledger,
    blocks: Blocks,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    store, sessions = MessageStore(db, LIMITS), Sessions(db, NODE_DOMAIN, OPERATOR)
    await blocks.mine(opened("alice", 100))
    await Sender(db, store, clock).put_new(topic=INBOX)
    limits = RelayLimits(retention=60, quota_bytes=10**6, clock_tolerance=60)
    relay = Relay(db, None, limits, Subscriptions(1, 1), clock, Metrics())
    message = Message(INBOX, b"relayed", clock.now * 10**9)
    await db.write(lambda connection: relay.put(connection, message))
    await sessions.open(ALICE, *asked(clock), clock.now)
    request = Charge(ALICE, lambda _: (1, None), signed("alice", 1), idempotency=Idempotency("key", b""))
    await ledger.charge(request)
    assert await rows(db) == [1, 1, 1, 1, 1]
    clock.now += HOUR + max(LIMITS.remember_seconds, KEPT)

    prune, failed, done = ledger.prune, asyncio.Event(), asyncio.Event()

    async def prune_at_last() -> None:
        if not failed.is_set():
            failed.set()
            raise fault
        await prune()
        done.set()

    monkeypatch.setattr(ledger, "prune", prune_at_last)
    task = asyncio.create_task(Pruner(store, relay, sessions, ledger, clock, interval=0).run())
    await asyncio.wait({task, asyncio.create_task(done.wait())}, return_when=asyncio.FIRST_COMPLETED)
    assert not task.done()
    assert await rows(db) == [0, 0, 0, 0, 0]
    task.cancel()
