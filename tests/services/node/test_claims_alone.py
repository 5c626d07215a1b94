"""Claiming without a chain: what is drafted, when, and what is said of it, to the last unit and second.
One ETH is worth 3,000 tokens of 6 decimals."""

import asyncio
import sqlite3
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from tests.services.node import books
from tests.services.node.books import CHAIN_ID, CHANNELS, PAYEE, TOKEN, Blocks, Clock, address, signed
from tests.services.node.desk import GAS_PRICE, Desk, stored
from web3 import AsyncWeb3

from waypost.chain.channels import Channels
from waypost.chain.connection import Call, Connection
from waypost.errors import ClaimPaysNothing
from waypost.node import transactions
from waypost.node.backends.sqlite import Database
from waypost.node.claim_plan import BATCH_GAS, ENTRY_GAS, Market
from waypost.node.claims import LEAST_GAS, LEAST_GAS_PER_ENTRY, MAX_GAS, Claimer, ClaimerStatus, ClaimRecord
from waypost.node.ledger import Ledger
from waypost.node.loops import Signal
from waypost.node.settings import ClaimSettings
from waypost.node.transactions import Draft, State, Transaction

DEPOSIT = 10**12
TOKEN_PER_ETHER = 3_000_000_000
MARKET = Market(GAS_PRICE, token_per_ether=TOKEN_PER_ETHER)
COST = MARKET.cost(BATCH_GAS + ENTRY_GAS)
"""What a claim of one receipt is thought to cost beforehand."""
LEAST = LEAST_GAS + LEAST_GAS_PER_ENTRY


@dataclass
class Alone:
    """A claimer's surroundings."""

    db: Database
    ledger: Ledger
    blocks: Blocks
    clock: Clock
    desk: Desk

    @property
    def channels(self) -> Channels:
        """Of a chain that is not there."""
        return Channels(Connection(AsyncWeb3(), "nowhere", CHAIN_ID), CHANNELS)

    def claimer(
        self,
        *,
        token_per_ether: int = TOKEN_PER_ETHER,
        max_age_seconds: int = 0,
        close_margin_seconds: int = 0,
    ) -> Claimer:
        """One that claims as soon as it pays."""
        settings = ClaimSettings(
            token_per_ether=token_per_ether,
            min_value=0,
            max_age_seconds=max_age_seconds,
            close_margin_seconds=close_margin_seconds,
        )
        parts = self.channels, self.ledger, self.desk, self.db, self.clock, Signal()
        return Claimer(*parts, settings, poll_seconds=0.001)

    async def earn(self, *amounts: int) -> None:
        """Alice, and then Bob and Carol, open channels and pay so much over them."""
        for name, amount in zip(("alice", "bob", "carol"), amounts, strict=False):
            await self.blocks.mine(books.opened(name, DEPOSIT))
            await self.ledger.accept(address(name), signed(name, amount))

    async def conclude(self, transaction: Transaction | None, state: State, block: int = 7) -> None:
        """What became of a claim."""
        assert transaction is not None
        attempt = transaction.hash
        await self.db.write(lambda connection: transactions.conclude(connection, attempt, state, block))


@pytest.fixture
def alone(db: Database, ledger: Ledger, blocks: Blocks, clock: Clock) -> Alone:
    return Alone(db, ledger, blocks, clock, Desk(db, clock))


# ---- What is sent ----


async def test_a_claim_is_drafted_for_what_the_chain_would_pay(alone: Alone) -> None:
    await alone.earn(1_000_000)
    alone.desk.pays = 700_000
    with capture_logs() as logs:
        sent = await alone.claimer().step()
    assert sent is not None
    call = alone.channels.claim(PAYEE, TOKEN, [signed("alice", 1_000_000)])
    ceiling = MARKET.ceiling(700_000, alone.desk.estimate)
    assert alone.desk.drafts == [Draft("claim", call, LEAST, ceiling, urgent=False)]
    assert [record.value for record in await alone.claimer().history()] == [700_000]
    assert logs == [
        {"log_level": "info", "event": "claim_sent", "value": 700_000, "receipts": 1, "urgent": False}
    ]


async def test_a_claim_is_worth_no_more_than_the_books_say(alone: Alone) -> None:
    await alone.earn(1_000_000, 2_000_000)
    await alone.claimer().step()
    (record,) = await alone.claimer().history()
    assert (record.value, record.receipts) == (3_000_000, 2)


async def test_an_urgent_claim_may_cost_whatever_it_takes(alone: Alone) -> None:
    await alone.earn(100)
    await alone.blocks.mine(books.close_started("alice", alone.clock.now + 3600))
    with capture_logs() as logs:
        assert await alone.claimer().step() is not None
    assert [(draft.ceiling, draft.urgent) for draft in alone.desk.drafts] == [(None, True)]
    assert [entry["urgent"] for entry in logs] == [True]


async def test_so_may_one_that_is_asked_for_but_it_does_not_hurry(alone: Alone) -> None:
    await alone.earn(100)
    assert await alone.claimer().step() is None
    assert await alone.claimer().step(forced=True) is not None
    assert [(draft.ceiling, draft.urgent) for draft in alone.desk.drafts] == [(None, False)]


@pytest.mark.parametrize(
    ("receipts", "estimate", "gas"),
    [
        (1, 60_000, LEAST),
        (3, 60_000, LEAST_GAS + 3 * LEAST_GAS_PER_ENTRY),
        (1, 112_500, LEAST),
        (1, 112_506, LEAST + 7),
        (1, 13_000_001, 15_600_001),
        (1, 13_981_014, MAX_GAS),
        (1, 16_000_000, MAX_GAS),
    ],
)
async def test_the_gas_limit_leaves_room_above_the_estimate(
    alone: Alone, receipts: int, estimate: int, gas: int
) -> None:
    await alone.earn(*[1_000_000] * receipts)
    alone.desk.estimate = estimate
    await alone.claimer(token_per_ether=0).step()
    assert [draft.gas for draft in alone.desk.drafts] == [gas]


async def test_a_claim_that_would_only_pay_for_its_gas_is_not_sent(alone: Alone) -> None:
    await alone.earn(1_000_000)
    alone.desk.pays = MARKET.cost(alone.desk.estimate)
    assert await alone.claimer().step() is None
    assert alone.desk.drafts == []
    alone.desk.pays += 1
    assert await alone.claimer().step() is not None


async def test_a_claim_that_would_pay_nothing_says_what_the_books_expect(alone: Alone) -> None:
    await alone.earn(1_000_000, 2_000_000)
    alone.desk.pays = 0
    with pytest.raises(ClaimPaysNothing) as raised:
        await alone.claimer().step(forced=True)
    expected = "The chain would pay nothing for 3000000 base units that the books call claimable."
    assert str(raised.value) == expected
    assert raised.value.details == {"value": "3000000", "receipts": 2}
    assert alone.desk.drafts == []


# ---- When ----


async def test_the_first_claim_never_waits(alone: Alone) -> None:
    await alone.earn(1_000_000)
    alone.clock.now = 0
    assert await alone.claimer().step() is not None


async def test_after_refusals_it_pauses_to_the_second(alone: Alone) -> None:
    await alone.earn(1_000_000)
    claimer = alone.claimer()
    for pause in (5, 10, 20, 30, 30, 30, 30, 30, 30, 30):
        await alone.conclude(await claimer.step(), State.REVERTED)
        alone.clock.now += pause - 1
        assert await claimer.step() is None
        alone.clock.now += 1
    await alone.conclude(await claimer.step(), State.MINED)
    await alone.conclude(await claimer.step(), State.REVERTED)
    alone.clock.now += 5
    assert await claimer.step() is not None


async def test_who_asks_need_not_wait_out_a_pause(alone: Alone) -> None:
    await alone.earn(1_000_000)
    claimer = alone.claimer()
    await alone.conclude(await claimer.step(), State.REVERTED)
    assert await claimer.step() is None
    assert await claimer.step(forced=True) is not None


@pytest.mark.parametrize(("times_its_cost", "seconds"), [(15, 1), (10, 2)])
async def test_the_longer_it_waits_the_less_it_needs(alone: Alone, times_its_cost: int, seconds: int) -> None:
    """From 20 times its cost straight down to its cost, here within 3 seconds."""
    await alone.earn(times_its_cost * COST)
    claimer, since = alone.claimer(max_age_seconds=3), alone.clock.now
    for _ in range(seconds):
        assert await claimer.step() is None
        assert await claimer.status() == ClaimerStatus(None, since, None)
        alone.clock.now += 1
    assert await claimer.step() is not None
    assert (await claimer.status()).waiting_since is None


async def test_the_wait_ends_when_nothing_is_worth_its_gas(alone: Alone) -> None:
    await alone.earn(COST)
    claimer = alone.claimer(max_age_seconds=100)
    assert await claimer.step() is None
    alone.desk.price *= 1000
    alone.clock.now += 50
    assert await claimer.step() is None
    assert (await claimer.status()).waiting_since is None
    alone.desk.price //= 1000
    assert await claimer.step() is None
    assert (await claimer.status()).waiting_since == alone.clock.now


async def test_the_wait_ends_when_somebody_else_has_claimed(alone: Alone) -> None:
    await alone.earn(COST)
    claimer = alone.claimer(max_age_seconds=100)
    assert await claimer.step() is None
    await alone.blocks.mine(books.claimed(("alice", COST)))
    assert await claimer.step() is None
    assert (await claimer.status()).waiting_since is None
    # What is earned next has its own wait.
    alone.clock.now += 1000
    await alone.ledger.accept(address("alice"), signed("alice", 2 * COST))
    assert await claimer.step() is None
    assert (await claimer.status()).waiting_since == alone.clock.now


async def test_a_round_that_changes_nothing_writes_nothing(alone: Alone) -> None:
    await alone.earn(COST)
    worthless, waiting = alone.claimer(token_per_ether=10**15), alone.claimer(max_age_seconds=100)
    writes = alone.db.writes
    await worthless.step()
    assert alone.db.writes == writes
    for _ in range(3):
        await waiting.step()
    assert alone.db.writes == writes + 1


async def test_an_opening_on_its_way_does_not_hold_up_a_claim(alone: Alone) -> None:
    await alone.earn(1_000_000)
    await alone.desk.post(Draft("opening", Call(CHANNELS, b""), 1), lambda *_: None)
    assert await alone.claimer().step() is not None
    assert [draft.purpose for draft in alone.desk.drafts] == ["opening", "claim"]


async def test_a_claim_on_its_way_is_hurried_only_once_a_channel_closes(alone: Alone) -> None:
    await alone.earn(1_000_000)
    claimer = alone.claimer()
    sent = await claimer.step()
    assert sent is not None
    assert await claimer.step() == sent
    assert alone.desk.hurried == []
    await alone.blocks.mine(books.close_started("alice", alone.clock.now + 3600))
    assert await claimer.step() == sent
    assert alone.desk.hurried == [sent.id]
    again = await claimer.step()
    assert again is not None
    assert (again.id, again.urgent) == (sent.id, True)
    assert alone.desk.hurried == [sent.id]
    assert len(alone.desk.drafts) == 1


@pytest.mark.parametrize(
    ("patience", "moments"), [((3.0,), (0.0, 1.0, 2.0, 3.0)), ((0.0,), (5.0, 5.0)), ((), (7.0, 8.0, 67.0))]
)
async def test_claiming_now_stops_when_patience_runs_out(
    alone: Alone, monkeypatch: pytest.MonkeyPatch, patience: tuple[float, ...], moments: tuple[float, ...]
) -> None:
    await alone.earn(100)
    left = iter(moments)
    monkeypatch.setattr("waypost.node.claims.time", SimpleNamespace(monotonic=lambda: next(left)))
    claimer = alone.claimer()
    async with asyncio.timeout(10):
        hashes = await claimer.claim_now(*patience)
    assert next(left, None) is None
    flight = (await claimer.status()).flight
    assert flight is not None
    assert hashes == [flight.hash]


# ---- What is said ----


async def test_the_claim_on_its_way_is_told_as_it_was_recorded(alone: Alone) -> None:
    await alone.earn(1_000_000, 2_000_000)
    claimer = alone.claimer()
    assert await claimer.status() == ClaimerStatus(None, None, None)
    sent = await claimer.step()
    assert sent is not None
    record = ClaimRecord(sent.hash, State.SENT, 3_000_000, 2, None, alone.clock.now)
    assert await claimer.status() == ClaimerStatus(record, None, None)
    assert await claimer.history() == [record]
    alone.clock.now += 10
    await alone.conclude(sent, State.MINED, 7)
    assert await claimer.status() == ClaimerStatus(None, None, None)
    mined = ClaimRecord(sent.hash, State.MINED, 3_000_000, 2, 7, alone.clock.now - 10)
    assert await claimer.history() == [mined]


async def test_history_tells_the_latest_hundred_unless_asked_for_more(alone: Alone) -> None:
    def claim(connection: sqlite3.Connection) -> None:
        for value in range(103):
            sent = stored(connection, Draft("claim", Call(CHANNELS, b""), 1), alone.clock(), lambda *_: None)
            connection.execute("INSERT INTO claims VALUES (?, ?, 1)", (sent.id, str(value)))

    await alone.db.write(claim)
    claimer = alone.claimer()
    assert [record.value for record in await claimer.history()] == [*range(102, 2, -1)]
    assert [record.value for record in await claimer.history(2)] == [102, 101]
    assert len(await claimer.history(1000)) == 103


async def test_what_is_late_is_said_once_and_in_full(alone: Alone) -> None:
    await alone.earn(300_000, 2_000_000)
    ends = alone.clock.now + 3601
    await alone.blocks.mine(books.close_started("alice", ends))
    claimer = alone.claimer(close_margin_seconds=3600)
    with capture_logs() as logs:
        await claimer.step()
        assert [entry for entry in logs if entry["event"] == "claim_late"] == []
        alone.clock.now += 1
        await claimer.step()
        await claimer.step()
    late = {
        "log_level": "error",
        "event": "claim_late",
        "signer": address("alice"),
        "value": 300_000,
        "ends": ends,
    }
    assert [entry for entry in logs if entry["log_level"] == "error"] == [late]
