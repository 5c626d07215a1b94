"""Turns receipts into money on chain: plan, simulate, send; the outbox follows. One claim flies at a time.
What was claimed is what the chain's events say: no crash, reorg or second claimer can miscount it."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import structlog

from waypost.chain.channels import Channels
from waypost.errors import ClaimPaysNothing
from waypost.node import transactions
from waypost.node.accounts import ChannelAccount
from waypost.node.backends.schema import find_meta, write_meta
from waypost.node.backends.sqlite import Database
from waypost.node.claim_plan import Market, Plan, is_urgent, plan, worthwhile
from waypost.node.ledger import Ledger
from waypost.node.loops import Loop, Signal, backoff, ring_or_pause
from waypost.node.outbox import Outbox
from waypost.node.settings import ClaimSettings
from waypost.node.transactions import Draft, State, Transaction

PURPOSE = "claim"
MAX_GAS = 2**24  # EIP-7825
LEAST_GAS, LEAST_GAS_PER_ENTRY = 120_000, 15_000
"""Gas limits are never lower: a first claim to an empty account needs this much."""
RETRY_SECONDS = 5.0
"""Pause after a claim that the chain refused; it doubles."""

_WAITING_SINCE = "claim_waiting_since"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A claim that was sent: what it should pay, in token base units, and what became of it."""

    hash: bytes
    state: State
    value: int
    receipts: int
    block_number: int | None
    created: int


@dataclass(frozen=True, slots=True)
class ClaimerStatus:
    """`waiting_since`: Unix seconds from which on something worth its gas has been waiting; None: nothing is.
    `fault`: the code of what keeps it from claiming, if anything does."""

    flight: ClaimRecord | None
    waiting_since: int | None
    fault: str | None


@dataclass(frozen=True, slots=True)
class _Books:
    """What one round decides on, read from one snapshot."""

    accounts: list[ChannelAccount]
    flight: Transaction | None
    recent: list[ClaimRecord]
    waiting_since: int | None


class Claimer:
    """Claims for the ledger's payee. `clock` gives Unix seconds; `signal` rings when blocks were applied."""

    def __init__(
        self,
        channels: Channels,
        ledger: Ledger,
        outbox: Outbox,
        db: Database,
        clock: Callable[[], int],
        signal: Signal,
        settings: ClaimSettings,
        *,
        poll_seconds: float,
    ) -> None:
        self._channels = channels
        self._ledger = ledger
        self._outbox = outbox
        self._db = db
        self._clock = clock
        self._signal = signal
        self._settings = settings
        self._poll_seconds = poll_seconds
        self._lock = asyncio.Lock()
        self._late: set[str] = set()
        self._loop = Loop("claimer", self.step, poll_seconds, signal)

    async def run(self) -> None:
        """Claims whenever it pays, or must be."""
        await self._loop.run()

    async def claim_now(self, patience: float = 60.0) -> list[bytes]:
        """Claims all that is claimable, whatever the gas; returns the transactions' hashes.

        Waits up to `patience` seconds for them to count; those that do not by then stay on their way.
        Raises ClaimPaysNothing, InsufficientFunds or another ChainError.
        """
        sent: list[int] = []
        end = time.monotonic() + patience
        while True:
            ring = self._signal.next()
            flight = await self.step(forced=True)
            if flight is None:
                break
            if flight.id not in sent:
                sent.append(flight.id)
            left = end - time.monotonic()
            if left <= 0:
                break
            await ring_or_pause(ring, min(left, self._poll_seconds))
        return await self._db.read(lambda connection: [transactions.find(connection, id).hash for id in sent])

    async def history(self, limit: int = 100) -> list[ClaimRecord]:
        """The latest claims, newest first."""
        return await self._db.read(lambda connection: _recent(connection, limit))

    async def status(self) -> ClaimerStatus:
        """What it is doing."""
        books = await self._db.read(self._read)
        flight = next((record for record in books.recent if record.state is State.SENT), None)
        return ClaimerStatus(flight, books.waiting_since, self._loop.faults.code)

    async def step(self, *, forced: bool = False) -> Transaction | None:
        """One round. Returns the claim in flight, sent now or before; None if there is none."""
        async with self._lock:
            books = await self._db.read(self._read)
            self._warn_if_late(books.accounts)
            if books.flight is not None:
                if any(map(is_urgent, books.accounts)) and not books.flight.urgent:
                    await self._outbox.hurry(books.flight)
                return books.flight
            if not books.accounts:
                await self._note_wait(books, None)
                return None
            if not forced and self._clock() < _retry_at(books.recent):
                return None
            market = Market(await self._outbox.gas_price(), self._settings.token_per_ether)
            now = self._clock()
            candidates = worthwhile(books.accounts, market, now, forced=forced)
            since = (books.waiting_since or now) if candidates else None
            await self._note_wait(books, since)
            age = 0 if since is None else now - since
            chosen = plan(candidates, market, self._settings, age=age, forced=forced)
            return None if chosen is None else await self._claim(chosen, market, forced=forced)

    async def _claim(self, chosen: Plan, market: Market, *, forced: bool) -> Transaction | None:
        payee, token = self._ledger.accounts.payee, self._ledger.accounts.token
        call = self._channels.claim(payee, token, chosen.receipts)
        answer, estimate = await self._outbox.rehearse(call)
        value = min(chosen.value, int.from_bytes(answer))
        if value == 0:
            raise ClaimPaysNothing(
                f"The chain would pay nothing for {chosen.value} base units that the books call claimable.",
                value=str(chosen.value),
                receipts=len(chosen.receipts),
            )
        regardless = forced or chosen.urgent
        if not regardless and value <= market.cost(estimate):
            return None  # the books are behind the chain: somebody claimed most of it
        # Estimates may be wrong either way. Unused gas costs nothing; too little costs all of it.
        least = LEAST_GAS + len(chosen.receipts) * LEAST_GAS_PER_ENTRY
        draft = Draft(
            PURPOSE,
            call,
            gas=min(MAX_GAS, max(least, estimate * 6 // 5)),
            ceiling=None if regardless else market.ceiling(value, estimate),
            urgent=chosen.urgent,
        )
        sent = await self._outbox.post(draft, _recording(value, len(chosen.receipts)))
        log.info("claim_sent", value=value, receipts=len(chosen.receipts), urgent=chosen.urgent)
        return sent

    def _read(self, connection: sqlite3.Connection) -> _Books:
        flights = [t for t in transactions.sent(connection) if t.purpose == PURPOSE]
        return _Books(
            accounts=self._ledger.accounts.claimable(connection),
            flight=flights[0] if flights else None,
            recent=_recent(connection, 8),
            waiting_since=_waiting_since(connection),
        )

    async def _note_wait(self, books: _Books, since: int | None) -> None:
        """Remembers, across restarts, from when on something worth its gas has been waiting."""
        if since != books.waiting_since:
            await self._db.write(lambda connection: write_meta(connection, _WAITING_SINCE, str(since or "")))

    def _warn_if_late(self, accounts: list[ChannelAccount]) -> None:
        latest = self._clock() + self._settings.close_margin_seconds
        late = {a.signer: a for a in accounts if is_urgent(a) and a.closes_at <= latest}
        for signer in late.keys() - self._late:
            log.error("claim_late", signer=signer, value=late[signer].claimable, ends=late[signer].closes_at)
        self._late = set(late)


def _recording(value: int, receipts: int) -> Callable[[sqlite3.Connection, int], None]:
    def record(connection: sqlite3.Connection, transaction: int) -> None:
        connection.execute("INSERT INTO claims VALUES (?, ?, ?)", (transaction, str(value), receipts))
        write_meta(connection, _WAITING_SINCE, "")

    return record


def _waiting_since(connection: sqlite3.Connection) -> int | None:
    return int(find_meta(connection, _WAITING_SINCE) or 0) or None


def _recent(connection: sqlite3.Connection, limit: int) -> list[ClaimRecord]:
    rows = connection.execute(
        "SELECT hash, state, value, receipts, block_number, created FROM claims"
        " JOIN transactions ON id = transaction_id ORDER BY id DESC LIMIT ?",
        (limit,),
    )
    return [_record(row) for row in rows]


def _record(row: Any) -> ClaimRecord:
    return ClaimRecord(
        row["hash"],
        State(row["state"]),
        int(row["value"]),
        row["receipts"],
        row["block_number"],
        row["created"],
    )


def _retry_at(recent: list[ClaimRecord]) -> float:
    """When to claim again after claims that the chain refused: gas is not burned in a loop."""
    refused = len(list(takewhile(lambda record: record.state is State.REVERTED, recent)))
    return recent[0].created + backoff(RETRY_SECONDS, refused) if refused else 0.0
