"""Transactions that strangers have the node send. Nobody can make it waste much gas: they are simulated, so
many are sent an hour, a payer has one at a time, and none for an hour after one that failed."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from eth_typing import ChecksumAddress

from waypost.chain.connection import Call
from waypost.errors import NodeError, TransactionReverted
from waypost.node import transactions
from waypost.node.backends.sqlite import Database
from waypost.node.claim_plan import Market
from waypost.node.loops import Signal, ring_or_pause
from waypost.node.outbox import Outbox
from waypost.node.transactions import Draft, State, Transaction
from waypost.protocol.openings import ReceiveWithAuthorization

T = TypeVar("T")

HOUR = 3600
MAX_GAS = 400_000
MARGIN_SECONDS = 60
"""Signatures must stay valid at least this long, or they might expire before they are mined."""

Record = Callable[[sqlite3.Connection, int], None]
"""Stores what a transaction is for, given its id."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of transactions: its name in the books, and how it is refused, as it is or for now."""

    purpose: str
    refused: type[NodeError]
    limited: type[NodeError]


class Submissions:
    """Sends them. `clock` gives Unix seconds. `cap_per_hour` is for each kind; `token_per_ether`: base units.

    Hold `lock` from looking for what was sent before until `send` has returned: each of two would pass its
    simulation, and together they might be more than a payer has.
    """

    def __init__(
        self,
        outbox: Outbox,
        db: Database,
        clock: Callable[[], int],
        *,
        cap_per_hour: int,
        token_per_ether: int = 0,
    ) -> None:
        self._outbox = outbox
        self._db = db
        self._clock = clock
        self._cap_per_hour = cap_per_hour
        self._token_per_ether = token_per_ether
        self.lock = asyncio.Lock()

    def now(self) -> int:
        """Unix seconds."""
        return self._clock()

    async def check_limits(self, kind: Kind, payer: ChecksumAddress) -> None:
        """That one more of this kind and payer may be sent now. Raises `kind.limited`."""
        now = self._clock()
        await self._db.read(lambda connection: self._check_limits(connection, kind, payer, now))

    async def send(
        self,
        kind: Kind,
        call: Call,
        record: Record,
        *,
        worth: int | None,
        slack: int = 1,
        later: int = 0,
        advice: str = "try again later.",
    ) -> Transaction:
        """Simulates the call, stores it with what `record` writes, and sends it.

        `worth`: base units that the node gets for it, of which gas may cost `slack` times as much now, and
        twice that before it is mined; None: gas does not count. `later`: gas of what comes after, for which
        it must be enough, too. `advice` ends the refusal. Raises `kind.refused`, InsufficientFunds or another
        ChainError.
        """
        try:
            _, estimate = await self._outbox.rehearse(call)
        except TransactionReverted as error:
            raise kind.refused(f"The {kind.purpose} would fail: {error}", **error.details) from error
        market = Market(await self._outbox.gas_price(), self._token_per_ether)
        cost = market.cost(estimate + later)
        if estimate > MAX_GAS or (worth is not None and cost > slack * worth):
            raise kind.refused(
                f"The {kind.purpose} needs {estimate} gas{f' and {later} later' if later else ''}, worth"
                f" {cost}, and the node has {worth or 0} for it: {advice}",
                gas=estimate,
                cost=str(cost),
                price=str(worth or 0),
            )
        ceiling = None if worth is None else market.ceiling(2 * slack * worth, estimate + later)
        return await self._outbox.post(Draft(kind.purpose, call, estimate * 6 // 5, ceiling), record)

    def worth_of(self, budget: int, spent: int) -> int:
        """The `worth` with which a transaction cannot cost more than is left of `budget` (base units) after
        `spent` (wei): its gas limit is six fifths of the estimate, and its price may double."""
        left = budget - Market(1, self._token_per_ether).cost(spent)
        return max(0, left) * 5 // 12

    def _check_limits(
        self, connection: sqlite3.Connection, kind: Kind, payer: ChecksumAddress, now: int
    ) -> None:
        since = now - HOUR
        if transactions.count_since(connection, kind.purpose, since) >= self._cap_per_hour:
            raise kind.limited(
                f"The node sends at most {self._cap_per_hour} {kind.purpose}s an hour.",
                maximum=self._cap_per_hour,
                retryAfter=60,
            )
        row = connection.execute(
            "SELECT state, created FROM (SELECT transaction_id, payer FROM openings"
            " UNION ALL SELECT transaction_id, payer FROM member_actions)"
            " JOIN transactions ON id = transaction_id"
            " WHERE payer = ? AND (state = ? OR (state IN (?, ?) AND created >= ?)) ORDER BY id DESC LIMIT 1",
            (payer, State.SENT, State.REVERTED, State.CANCELLED, since),
        ).fetchone()
        if row is None:
            return
        if row["state"] == State.SENT:
            raise kind.limited("Another transaction of this payer is under way.", payer=payer, retryAfter=10)
        wait = row["created"] + HOUR - now
        raise kind.limited(
            f"A transaction of this payer failed on chain; the node sends its next one in {wait} s.",
            payer=payer,
            retryAfter=wait,
        )


def check_validity(
    kind: Kind, deadline: int, now: int, transfer: ReceiveWithAuthorization | None = None
) -> None:
    """That what was signed, and the payer's transfer, last long enough. Raises `kind.refused`."""
    if transfer is not None and transfer.valid_after >= now:
        raise kind.refused("The authorization is not valid yet.", validAfter=transfer.valid_after)
    ends = deadline if transfer is None else min(deadline, transfer.valid_before)
    if ends < now + MARGIN_SECONDS:
        raise kind.refused(
            f"What was signed ends at {ends}; the node needs it until {now + MARGIN_SECONDS}.",
            given=ends,
            minimum=now + MARGIN_SECONDS,
        )


async def settle(
    look: Callable[[], Awaitable[T]], is_settled: Callable[[T], bool], signal: Signal, seconds: float
) -> T:
    """What `look` finds once that is settled, or after so many seconds. `signal` rings when it may be."""
    end = time.monotonic() + seconds
    while True:
        ring = signal.next()
        found = await look()
        left = end - time.monotonic()
        if is_settled(found) or left <= 0:
            return found
        await ring_or_pause(ring, min(left, 1.0))
