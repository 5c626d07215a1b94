"""Who gets a bearer token, for how long, and what it opens."""

import sqlite3
from collections.abc import Callable

import pytest
from tests.services.node import books
from tests.services.node.books import NODE_DOMAIN, OPERATOR, Blocks, Clock, address, key, opened

from waypost.errors import ChannelUnknown, InvalidSignature, SessionExpired, SessionInvalid
from waypost.node import sessions as module
from waypost.node.backends.sqlite import Database
from waypost.node.sessions import EXPIRED_KEPT, Sessions
from waypost.protocol.eip712 import Domain, node_domain
from waypost.protocol.sessions import Session
from waypost.protocol.signatures import Signature

ALICE, BOB = address("alice"), address("bob")


@pytest.fixture
async def sessions(db: Database, blocks: Blocks) -> Sessions:
    await blocks.mine(opened("alice", 100))
    return Sessions(db, NODE_DOMAIN, OPERATOR)


def asked(
    clock: Clock, nonce: int = 1, seconds: int = 3600, by: str = "alice", domain: Domain = NODE_DOMAIN
) -> tuple[Session, Signature]:
    session = Session(OPERATOR, nonce, clock.now + seconds)
    return session, session.sign(domain, key(by))


async def test_a_token_speaks_for_its_channel(db: Database, sessions: Sessions, clock: Clock) -> None:
    token, expires = await sessions.open(ALICE, *asked(clock, seconds=600), clock.now)
    assert expires == clock.now + 600
    for fresh in (sessions, Sessions(db, NODE_DOMAIN, OPERATOR)):  # also after a restart
        assert await fresh.signer_of(token, clock.now) == ALICE
        assert await fresh.signer_of(token, expires - 1) == ALICE
        with pytest.raises(SessionExpired):
            await fresh.signer_of(token, expires)
    for unknown in ("", token[:-1], token + "A", "\udcff"):
        with pytest.raises(SessionInvalid):
            await sessions.signer_of(unknown, clock.now)


async def test_an_hour_at_most(sessions: Sessions, clock: Clock) -> None:
    _, expires = await sessions.open(ALICE, *asked(clock, seconds=3660), clock.now)
    assert expires == clock.now + 3600  # the client's clock may be a minute ahead
    for seconds in (3661, 2**39):
        with pytest.raises(SessionInvalid):
            await sessions.open(ALICE, *asked(clock, 2, seconds), clock.now)
    for seconds in (0, -1):
        with pytest.raises(SessionExpired):
            await sessions.open(ALICE, *asked(clock, 2, seconds), clock.now)


async def test_a_nonce_counts_once(db: Database, sessions: Sessions, clock: Clock) -> None:
    await sessions.open(ALICE, *asked(clock, 2**256 - 1), clock.now)
    for again in (sessions, Sessions(db, NODE_DOMAIN, OPERATOR)):
        await again.prune(clock.now + 3599)
        with pytest.raises(SessionInvalid, match="nonce"):
            await again.open(ALICE, *asked(clock, 2**256 - 1), clock.now)
    await sessions.open(ALICE, *asked(clock, 0), clock.now)


async def test_only_the_signer_of_a_known_channel_gets_one(sessions: Sessions, clock: Clock) -> None:
    with pytest.raises(ChannelUnknown):
        await sessions.open(BOB, *asked(clock, by="bob"), clock.now)
    session, nonsense = asked(clock)[0], Signature(bytes(32), bytes(32))
    with pytest.raises(ChannelUnknown):  # before any recovery, which would say invalid_signature
        await sessions.open(BOB, session, nonsense, clock.now)
    elsewhere = node_domain(1, books.REGISTRY)
    for wrong in (asked(clock, by="bob"), asked(clock, domain=elsewhere)):
        with pytest.raises(InvalidSignature):
            await sessions.open(ALICE, *wrong, clock.now)
    other = Session(BOB, 1, clock.now + 60)
    with pytest.raises(SessionInvalid, match=BOB):
        await sessions.open(ALICE, other, other.sign(NODE_DOMAIN, key("alice")), clock.now)
    await sessions.open(ALICE, *asked(clock), clock.now)  # none of these used the nonce up


async def test_pruning_forgets_what_has_expired(db: Database, sessions: Sessions, clock: Clock) -> None:
    token, expires = await sessions.open(ALICE, *asked(clock), clock.now)
    count = counter("session_nonces")
    await sessions.prune(expires)
    assert await db.read(count) == 0
    restarted = Sessions(db, NODE_DOMAIN, OPERATOR)
    with pytest.raises(SessionExpired):
        await restarted.signer_of(token, expires)
    await sessions.prune(expires + EXPIRED_KEPT)
    with pytest.raises(SessionInvalid):
        await Sessions(db, NODE_DOMAIN, OPERATOR).signer_of(token, expires)


async def test_the_database_holds_no_token(db: Database, sessions: Sessions, clock: Clock) -> None:
    token, _ = await sessions.open(ALICE, *asked(clock), clock.now)
    dump = await db.read(lambda connection: "\n".join(connection.iterdump()))
    assert ALICE in dump
    assert token not in dump
    assert token.encode().hex() not in dump


async def test_memory_is_bounded(
    db: Database, sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    tokens = [(await sessions.open(ALICE, *asked(clock, nonce), clock.now))[0] for nonce in range(5)]
    for token in tokens * 2:
        assert await sessions.signer_of(token, clock.now) == ALICE
        assert len(sessions._remembered) <= 2


def counter(table: str) -> Callable[[sqlite3.Connection], int]:
    return lambda connection: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
