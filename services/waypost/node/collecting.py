"""The operator's share of members' fees: what has streamed from them, and getting it on chain. It is
collected when the operator says so: a fee that waits is not lost."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog
from eth_typing import ChecksumAddress

from waypost.chain.connection import Call
from waypost.chain.fee_streams import Tariff
from waypost.chain.membership import MAX_COLLECTS, MemberRecord, Membership
from waypost.errors import TransactionReverted
from waypost.node import transactions
from waypost.node.backends.sqlite import Database
from waypost.node.claim_plan import Market
from waypost.node.claims import MAX_GAS
from waypost.node.loops import Signal
from waypost.node.member_log import Status, record_of
from waypost.node.outbox import Outbox
from waypost.node.submissions import settle
from waypost.node.transactions import Draft, State

T = TypeVar("T")

COLLECT, EXPIRE = "collect", "expire"
READS_AT_ONCE = 16
MAX_EXPIRIES = 50
"""Members that one call removes: each is a transaction of its own."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HomeMember:
    """A member of this node that has not ended. `collected` was paid to the node so far; of what waits,
    `collectable` would be paid to it and `burned` would be burned; `reward`: for whoever expires it."""

    record: MemberRecord
    status: Status
    paid_until: int
    collected: int
    collectable: int
    burned: int
    reward: int

    def is_late(self, now: int) -> bool:
        """Whether it can be expired."""
        return self.status is Status.MEMBER and now >= self.paid_until


@dataclass(frozen=True, slots=True)
class Fees:
    """All of the node's members as of `now` (Unix seconds). `gas` is what collecting needs, at `gas_price`
    wei each; `cost` what that is worth in base units, 0 if the node counts gas as free."""

    members: tuple[HomeMember, ...]
    now: int
    gas: int
    gas_price: int
    cost: int

    @property
    def collectable(self) -> int:
        """To the node, in base units."""
        return sum(member.collectable for member in self.members)

    @property
    def burned(self) -> int:
        """With it, in base units."""
        return sum(member.burned for member in self.members)

    @property
    def late(self) -> list[HomeMember]:
        """Those that nobody pays for any more, the longest first."""
        return sorted(
            (member for member in self.members if member.is_late(self.now)), key=lambda each: each.paid_until
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that collects or expires, and what became of it."""

    hash: bytes
    state: State


class Collector:
    """For the members whose home node is `payee`. `clock` gives Unix seconds; `signal` rings when blocks were
    applied. All methods raise ChainErrors."""

    def __init__(
        self,
        membership: Membership,
        tariff: Tariff,
        payee: ChecksumAddress,
        outbox: Outbox,
        db: Database,
        clock: Callable[[], int],
        signal: Signal,
        *,
        token_per_ether: int = 0,
    ) -> None:
        self.contract = membership.address
        self.payee = payee
        self._membership = membership
        self._tariff = tariff
        self._outbox = outbox
        self._db = db
        self._clock = clock
        self._signal = signal
        self._token_per_ether = token_per_ether
        self._lock = asyncio.Lock()

    async def count(self) -> tuple[int, int]:
        """How many members are in the tree, and how many of them pay this node."""

        def read(connection: sqlite3.Connection) -> tuple[int, int]:
            row = connection.execute(
                "SELECT count(*) AS n, coalesce(sum(home_node = ?), 0) AS mine FROM members WHERE status = ?",
                (self.payee, Status.MEMBER),
            ).fetchone()
            return int(row["n"]), int(row["mine"])

        return await self._db.read(read)

    async def survey(self) -> Fees:
        """What has streamed by now, and what collecting it would cost."""
        members, now = await self._members()
        gas = 0
        for call in self._calls(members):
            _, needed = await self._outbox.rehearse(call)
            gas += needed
        price = await self._outbox.gas_price()
        return Fees(members, now, gas, price, Market(price, self._token_per_ether).cost(gas))

    async def collect(self, patience: float = 60.0) -> list[Sent]:
        """Collects all that has streamed, in batches; returns the transactions.

        Waits up to `patience` seconds until they are mined; those that are not by then stay on their way.
        """
        async with self._lock:
            flying = await self._flying(COLLECT)
            if not flying:
                members, _ = await self._members()
                for call in self._calls(members):
                    flying.append(await self._post(COLLECT, call))
        return await self._landed(flying, patience)

    async def expire(self, patience: float = 60.0) -> list[Sent]:
        """Removes members that nobody pays for, at most MAX_EXPIRIES, where the reward is worth the gas. The
        chain pays the gas account for it. Returns and waits as `collect` does."""
        async with self._lock:
            flying = await self._flying(EXPIRE)
            if not flying:
                members, now = await self._members()
                late = Fees(members, now, 0, 0, 0).late
                market = Market(await self._outbox.gas_price(), self._token_per_ether)
                for member in late[:MAX_EXPIRIES]:
                    call = self._membership.expire(member.record)
                    try:
                        _, gas = await self._outbox.rehearse(call)
                    except TransactionReverted:
                        continue  # somebody else was faster, or it was extended a moment ago
                    if market.cost(gas) <= member.reward:
                        flying.append(await self._post(EXPIRE, call))
        return await self._landed(flying, patience)

    async def _members(self) -> tuple[tuple[HomeMember, ...], int]:
        rows = await self._db.read(
            lambda connection: connection.execute(
                "SELECT * FROM members WHERE home_node = ? AND status IN (?, ?, ?) ORDER BY position",
                (self.payee, Status.MEMBER, Status.EXITED, Status.EXPIRED),
            ).fetchall()
        )
        # The next block carries about our time, the newest one may be old.
        now = max((await self._membership.connection.head()).timestamp, self._clock())
        found: list[HomeMember | None] = []
        for chunk in _batches(rows, READS_AT_ONCE):
            found += await asyncio.gather(*(self._member(row, now) for row in chunk))
        return tuple(member for member in found if member is not None), now

    async def _member(self, row: sqlite3.Row, now: int) -> HomeMember | None:
        """None if the chain is ahead of the book, or behind it."""
        record = record_of(row)
        state = await self._membership.member(record.id_commitment)
        if state is None or state.record_hash != record.hash():
            return None
        paid, burned = self._tariff.collectable(record, state, now)
        return HomeMember(
            record,
            Status(row["status"]),
            self._tariff.paid_until(record, state),
            self._tariff.collected(record, state),
            paid,
            burned,
            self._tariff.expiry_reward(record),
        )

    def _calls(self, members: Sequence[HomeMember]) -> list[Call]:
        records = [member.record for member in members if member.collectable]
        return [self._membership.collect(self.payee, batch) for batch in _batches(records, MAX_COLLECTS)]

    async def _post(self, purpose: str, call: Call) -> int:
        _, gas = await self._outbox.rehearse(call)
        sent = await self._outbox.post(
            Draft(purpose, call, min(MAX_GAS, gas * 6 // 5)), lambda connection, id: None
        )
        log.info("member_fees_sent" if purpose == COLLECT else "expiry_sent", hash="0x" + sent.hash.hex())
        return sent.id

    async def _flying(self, purpose: str) -> list[int]:
        """Those that were sent before and are not mined: they are waited for, and not sent twice."""
        waiting = await self._db.read(transactions.sent)
        return [each.id for each in waiting if each.purpose == purpose]

    async def _landed(self, ids: Sequence[int], patience: float) -> list[Sent]:
        def read(connection: sqlite3.Connection) -> list[transactions.Transaction]:
            return [transactions.find(connection, id) for id in ids]

        found = await settle(
            lambda: self._db.read(read),
            lambda all_: all(each.state is not State.SENT for each in all_),
            self._signal,
            patience,
        )
        return [Sent(each.hash, each.state) for each in found]


def _batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
