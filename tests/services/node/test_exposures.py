"""Known secrets: which proofs are refused for them, whom that leaves to be slashed, and what came of it."""

import sqlite3
from collections.abc import AsyncIterator

import pytest
from tests.services.node.books import CHANNELS, PAYEE, PAYER
from tests.services.node.desk import stored
from tests.services.node.limiting import (
    ALICE,
    IDENTIFIER,
    MALLORY,
    NOW,
    OTHERS,
    ROOT_SECONDS,
    START,
    Chain,
    Gate,
    gate_on,
    made,
    two_members,
)

from waypost.chain.connection import Call
from waypost.chain.membership import Exited, Expired, Withdrawn
from waypost.node import blocks, exposures, transactions
from waypost.node.exposures import Exposure, Refused, Slashes
from waypost.node.members import TABLE
from waypost.node.transactions import Draft, State
from waypost.protocol.rln import Signal, external_nullifier, identity_commitment

BOB, CAROL = OTHERS[:2]


@pytest.fixture
def chain() -> Chain:
    chain = two_members()
    chain.register(START - 4_000, BOB, rate=9)
    chain.register(START - 4_000, CAROL, rate=5)
    return chain


@pytest.fixture
async def gate(chain: Chain) -> AsyncIterator[Gate]:
    async with gate_on(chain) as gate:
        yield gate


async def find(gate: Gate, *secrets: int, at: int = START) -> None:
    for secret in secrets:
        assert await gate.db.write(lambda c, s=secret: exposures.enter(c, s, at))  # type: ignore[misc]


def signal(chain: Chain, secret: int, x: int = 7) -> Signal:
    return made(chain.membership(secret), 0, x, external_nullifier(NOW, IDENTIFIER))


async def refused(gate: Gate, book: Refused, *signals: Signal, now: int = START) -> list[bool]:
    def look(connection: sqlite3.Connection) -> list[bool]:
        head = blocks.head(connection, TABLE)
        assert head is not None
        return [book.holds(connection, head, now, each) for each in signals]

    return await gate.db.read(look)


def exit_(chain: Chain, at: int, secret: int) -> None:
    chain.tell(at, Exited, secret, withdrawable_at=0)


# ---- What is known ----


async def test_a_secret_is_found_once(gate: Gate) -> None:
    await find(gate, MALLORY)
    assert not await gate.db.write(lambda c: exposures.enter(c, MALLORY, START + 1))
    assert await gate.db.read(exposures.count) == 1
    (row,) = await gate.db.read(lambda c: c.execute("SELECT * FROM exposures").fetchall())
    assert row["found"] == START


async def test_known_is_what_was_found_or_is_on_chain(gate: Gate, chain: Chain) -> None:
    await find(gate, MALLORY)
    chain.slash(START, BOB)
    await gate.follow(chain)
    for secret, known in ((MALLORY, True), (BOB, True), (ALICE, False), (999, False)):
        assert await gate.db.read(lambda c, s=secret: exposures.is_known(c, s)) is known  # type: ignore[misc]


# ---- What is refused ----


async def test_signals_of_known_secrets_are_refused_and_no_others(gate: Gate, chain: Chain) -> None:
    of_all = [signal(chain, secret) for secret in (MALLORY, BOB, ALICE)]
    book = Refused(ROOT_SECONDS)
    assert await refused(gate, book, *of_all) == [False, False, False]
    await find(gate, MALLORY, BOB)
    assert await refused(gate, book, *of_all) == [True, True, False]


async def test_a_share_at_zero_is_the_secret_itself(gate: Gate, chain: Chain) -> None:
    """No message has this x, as far as anybody knows; it must not be divided by."""
    await find(gate, MALLORY)
    of_both = [signal(chain, secret, x=0) for secret in (MALLORY, ALICE)]
    assert await refused(gate, Refused(ROOT_SECONDS), *of_both) == [True, False]


async def test_it_is_read_anew_when_the_chain_or_the_exposures_change(gate: Gate, chain: Chain) -> None:
    of_both, book = [signal(chain, secret) for secret in (MALLORY, BOB)], Refused(ROOT_SECONDS)
    await find(gate, MALLORY)
    assert await refused(gate, book, *of_both) == [True, False]
    chain.slash(START, BOB)
    await gate.follow(chain)
    assert await refused(gate, book, *of_both) == [True, True]
    await gate.db.write(lambda c: c.execute("DELETE FROM members").rowcount)
    assert await refused(gate, book, *of_both) == [True, True], "kept, for nothing has changed"


@pytest.mark.parametrize("slashed", [False, True])
async def test_who_has_left_is_refused_while_its_roots_count(gate: Gate, chain: Chain, slashed: bool) -> None:
    sent = signal(chain, MALLORY)
    if slashed:
        chain.slash(START, MALLORY)
    else:
        await find(gate, MALLORY)
        exit_(chain, START, MALLORY)
    await gate.follow(chain)
    assert await refused(gate, Refused(ROOT_SECONDS), sent, now=START + ROOT_SECONDS) == [True]
    assert await refused(gate, Refused(ROOT_SECONDS), sent, now=START + ROOT_SECONDS + 1) == [False]


@pytest.mark.parametrize("slashed", [False, True])
async def test_the_newest_secrets_are_held_against_proofs(
    gate: Gate, chain: Chain, monkeypatch: pytest.MonkeyPatch, slashed: bool
) -> None:
    monkeypatch.setattr(exposures, "MAX_REFUSED", 2)
    sent = [signal(chain, secret) for secret in (BOB, MALLORY, CAROL)]
    for at, secret in ((1, MALLORY), (3, CAROL), (2, BOB)):
        if slashed:
            chain.slash(START + at, secret)
        else:
            await find(gate, secret, at=START + at)
    await gate.follow(chain)
    assert sum(await refused(gate, Refused(ROOT_SECONDS), *sent)) == 2
    assert await refused(gate, Refused(ROOT_SECONDS), *sent) == [True, False, True]


async def test_what_was_found_and_slashed_counts_once(
    gate: Gate, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposures, "MAX_REFUSED", 2)
    sent = [signal(chain, secret) for secret in (MALLORY, BOB, CAROL)]
    await find(gate, MALLORY)
    for at, secret in ((3, MALLORY), (2, BOB), (1, CAROL)):
        chain.slash(START + at, secret)
    await gate.follow(chain)
    assert await refused(gate, Refused(ROOT_SECONDS), *sent) == [True, True, False]


# ---- Who is to be slashed ----


async def waiting(gate: Gate) -> list[Exposure]:
    return await gate.db.read(exposures.open_exposures)


async def test_the_largest_stakes_come_first_then_who_was_found_first(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await find(gate, ALICE, at=START + 1)
    await find(gate, MALLORY, CAROL, BOB)
    await find(gate, 999)  # a member of undone blocks, perhaps
    assert [each.secret for each in await waiting(gate)] == [BOB, CAROL, MALLORY, ALICE]
    monkeypatch.setattr(exposures, "_OPEN_AT_ONCE", 2)
    assert [each.secret for each in await waiting(gate)] == [BOB, CAROL]


async def test_who_has_left_can_be_slashed_until_the_stake_is_gone(gate: Gate, chain: Chain) -> None:
    await find(gate, ALICE, MALLORY, BOB, CAROL)
    exit_(chain, START, BOB)
    chain.tell(START, Expired, CAROL, caller=PAYER, reward=1, withdrawable_at=0)
    chain.slash(START, ALICE)
    await gate.follow(chain)
    assert [(each.secret, each.expired) for each in await waiting(gate)] == [
        (BOB, False),
        (CAROL, True),
        (MALLORY, False),
    ]
    chain.tell(START, Withdrawn, CAROL, owner=PAYER, amount=1)
    await gate.follow(chain)
    assert [each.secret for each in await waiting(gate)] == [BOB, MALLORY]


async def post(gate: Gate, note: str, secret: int, salt: bytes = b"") -> transactions.Transaction:
    """A transaction that is a step of a slash."""
    member = identity_commitment(secret)

    def record(connection: sqlite3.Connection, id: int) -> None:
        if note == "commit":
            exposures.note_commit(connection, member, id, salt)
        else:
            exposures.note_slash(connection, member, id)

    draft = Draft(note, Call(CHANNELS, b""), 1)
    return await gate.db.write(lambda connection: stored(connection, draft, START, record))


async def test_the_latest_steps_are_kept_and_all_are_counted(gate: Gate) -> None:
    await find(gate, BOB, MALLORY)
    (fresh, other) = await waiting(gate)
    assert (fresh.salt, fresh.commit, fresh.slash, fresh.attempts) == (None, None, None, 0)
    commit, slash = await post(gate, "commit", BOB, b"salt"), await post(gate, "slash", BOB)
    (mine, others) = await waiting(gate)
    assert (mine.salt, mine.commit, mine.slash, mine.attempts) == (b"salt", commit, slash, 2)
    assert (mine.record.id_commitment, mine.record.rate) == (identity_commitment(BOB), 9)
    assert others == other
    anew = await post(gate, "commit", BOB, b"pepper")
    (mine, others) = await waiting(gate)
    assert (mine.salt, mine.commit, mine.slash, mine.attempts) == (b"pepper", anew, None, 3)
    assert others == other


# ---- What came of it ----


async def test_what_came_of_it_is_what_the_chain_says(gate: Gate, chain: Chain) -> None:
    assert await gate.db.read(lambda c: exposures.slashes(c, PAYEE)) == Slashes(0, 0, 0, 0, 0)
    chain.register(START, 201, 202)
    await gate.follow(chain)
    await find(gate, ALICE, MALLORY, BOB, CAROL, 201, 999)
    first, _ = await post(gate, "commit", ALICE), await post(gate, "commit", BOB)
    await gate.db.write(lambda c: transactions.conclude(c, first.hash, State.MINED, 2))
    chain.slash(START, ALICE, reward=2**70)
    chain.slash(START, MALLORY, reward=5)
    chain.slash(START, BOB, receiver=PAYER, reward=100)
    chain.slash(START, 202, reward=1_000)  # found by others alone
    exit_(chain, START, CAROL)
    chain.tell(START, Withdrawn, CAROL, owner=PAYER, amount=1)
    await gate.follow(chain)
    assert await gate.db.read(lambda c: exposures.slashes(c, PAYEE)) == Slashes(
        exposed=6, committed=1, won=2, lost=2, reward=2**70 + 5
    )
    chain.undo(1)
    await gate.follow(chain)
    assert (await gate.db.read(lambda c: exposures.slashes(c, PAYEE))).lost == 1
