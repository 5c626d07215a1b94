"""What a node lets pass, and whom it finds: each kind of bad input."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs
from tests.services.node.books import Clock
from tests.services.node.limiting import (
    ALICE,
    BAD,
    CLIENT,
    EPOCH_SECONDS,
    IDENTIFIER,
    MALLORY,
    NOW,
    OTHERS,
    PEER,
    ROOT_SECONDS,
    START,
    TOLERANCE,
    Chain,
    Gate,
    ScriptedJudge,
    changed,
    envelope,
    gate_on,
    message,
    two_members,
)

from waypost.errors import (
    EpochOutOfRange,
    InvalidFieldElement,
    InvalidMessage,
    InvalidProof,
    MemberExposed,
    NodeError,
    NodeNotReady,
    RateLimited,
    RootUnknown,
)
from waypost.node import nullifiers
from waypost.node.proofs import CLIENTS
from waypost.node.rate_gate import Verdict
from waypost.node.settings import DAY
from waypost.protocol.poseidon import R
from waypost.protocol.relay import Envelope


@pytest.fixture
def chain() -> Chain:
    return two_members()


@pytest.fixture
def clock() -> Clock:
    return Clock(START + 300)


@pytest.fixture
async def gate(chain: Chain, clock: Clock) -> AsyncIterator[Gate]:
    async with gate_on(chain, clock) as gate:
        yield gate


def judged(gate: Gate) -> int:
    return cast(ScriptedJudge, gate.judge).judged


# ---- Bad input ----


@pytest.mark.parametrize("name", ["root", "nullifier", "y"])
@pytest.mark.parametrize("value", [R, R + 1, 2**256])
def test_fields_that_are_not_reduced_never_reach_the_gate(chain: Chain, name: str, value: int) -> None:
    body = dict(envelope(chain.membership(ALICE), "hello", epoch=NOW).to_json())
    body["rateProof"] = {**cast(dict[str, str], body["rateProof"]), name: str(value)}
    with pytest.raises((InvalidFieldElement, InvalidMessage)):
        Envelope.from_json(body)


async def test_a_message_without_a_proof_is_refused(gate: Gate) -> None:
    with pytest.raises(InvalidProof, match=r"^The message has no proof\.$"):
        await gate.gate.check(Envelope(message("hello")), CLIENT)


async def test_a_proof_must_hold_for_the_signal_that_is_logged(gate: Gate, chain: Chain) -> None:
    sent = envelope(chain.membership(ALICE), "hello", epoch=NOW)
    assert sent.proof is not None
    assert await gate.gate.check(sent, CLIENT)
    assert cast(ScriptedJudge, gate.judge).public == [sent.proof.signal(sent.message, IDENTIFIER).public]


@pytest.mark.parametrize(
    ("offset", "late", "taken"),
    [
        (-TOLERANCE - 1, False, False),
        (-TOLERANCE, False, True),
        (0, False, True),
        (EPOCH_SECONDS + TOLERANCE - 1, False, True),
        (EPOCH_SECONDS + TOLERANCE, False, False),
        (-2 * TOLERANCE, True, True),
        (-2 * TOLERANCE - 1, True, False),
        (EPOCH_SECONDS + TOLERANCE, True, True),
        (EPOCH_SECONDS + ROOT_SECONDS - 1, True, True),
        (EPOCH_SECONDS + ROOT_SECONDS, True, False),
    ],
)
async def test_the_epochs_that_are_taken(
    gate: Gate, chain: Chain, clock: Clock, offset: int, late: bool, taken: bool
) -> None:
    clock.now = START + offset
    sent = envelope(chain.membership(ALICE), "hello", epoch=NOW)
    if taken:
        assert await gate.take(sent, PEER if late else CLIENT, late=late) is Verdict.NEW
    else:
        with pytest.raises(EpochOutOfRange):
            await gate.take(sent, PEER if late else CLIENT, late=late)


@pytest.mark.parametrize("epoch", [0, NOW - 2, NOW + 2, 2**53 - 1])
async def test_other_epochs_cost_no_look_at_the_books(gate: Gate, chain: Chain, epoch: int) -> None:
    gate.level = False  # this would be noticed first
    sentence = rf"^The proof is for epoch {epoch}; epoch {NOW} is now\.$"
    with pytest.raises(EpochOutOfRange, match=sentence) as refused:
        await gate.gate.check(changed(envelope(chain.membership(ALICE), "x", epoch=NOW), epoch=epoch), CLIENT)
    assert refused.value.details == {"given": epoch, "current": NOW}
    assert judged(gate) == 0


async def test_a_node_that_is_behind_takes_nothing(gate: Gate, chain: Chain) -> None:
    gate.level = False
    sentence = r"^The node has not caught up with its members; try again shortly\.$"
    with pytest.raises(NodeNotReady, match=sentence) as refused:
        await gate.take(envelope(chain.membership(ALICE), "hello", epoch=NOW))
    assert refused.value.details == {"retryAfter": 5}


async def test_roots_count_for_a_while_after_they_were_replaced(
    gate: Gate, chain: Chain, clock: Clock
) -> None:
    old = chain.membership(ALICE)
    chain.register(clock.now, OTHERS[0])
    await gate.follow(chain)
    clock.now += ROOT_SECONDS
    epoch = clock.now // EPOCH_SECONDS
    assert await gate.take(envelope(old, "hello", epoch=epoch)) is Verdict.NEW
    clock.now += 1
    again = envelope(old, "hello again", message_id=1, epoch=epoch)
    with pytest.raises(RootUnknown) as refused:
        await gate.take(again)
    assert refused.value.details == {"root": str(old.root)}
    assert judged(gate) == 1
    # Where it was published it counted, so it does, too, when it comes a moment later.
    clock.now += TOLERANCE - 1
    assert await gate.take(again, PEER, late=True) is Verdict.NEW
    clock.now += 1
    with pytest.raises(RootUnknown):
        await gate.take(changed(again, nullifier=1), PEER, late=True)


async def test_a_copied_nullifier_needs_no_proof_to_be_refused(gate: Gate, chain: Chain) -> None:
    alice, mallory = chain.membership(ALICE), chain.membership(MALLORY)
    sent = envelope(alice, "hello", epoch=NOW)
    assert sent.proof is not None
    await gate.take(sent)
    forged = envelope(mallory, "mine", epoch=NOW)
    for bad in (
        changed(forged, nullifier=sent.proof.nullifier),
        changed(sent, y=(sent.proof.y + 1) % R),
        replace(sent, message=message("another")),
    ):
        with pytest.raises(InvalidProof, match=r"^The signal is not of the member whose nullifier it has\.$"):
            await gate.take(bad)
    assert judged(gate) == 1
    assert await gate.exposed() == set()
    for _ in range(CLIENTS.failures - 3):
        with pytest.raises(InvalidProof):
            await gate.take(bad)
    with pytest.raises(RateLimited):
        await gate.take(envelope(alice, "again", message_id=1, epoch=NOW))
    assert await gate.take(envelope(alice, "again", message_id=1, epoch=NOW), "10.0.0.1") is Verdict.NEW


async def test_invalid_proofs_are_charged_to_their_source_alone(gate: Gate, chain: Chain) -> None:
    alice = chain.membership(ALICE)
    bad = [envelope(alice, f"bad {n}", epoch=NOW, proof=BAD) for n in range(60)]
    ends = await asyncio.gather(*(gate.take(each) for each in bad), return_exceptions=True)
    assert sum(isinstance(end, InvalidProof) for end in ends) == CLIENTS.failures
    assert sum(isinstance(end, RateLimited) for end in ends) == 60 - CLIENTS.failures
    assert judged(gate) == CLIENTS.failures
    assert await gate.take(envelope(alice, "good", epoch=NOW), "10.0.0.1") is Verdict.NEW


# ---- Duplicates and conflicts ----


async def test_duplicates_are_told_by_nullifier_and_x_and_not_by_proof(gate: Gate, chain: Chain) -> None:
    sent = envelope(chain.membership(ALICE), "hello", epoch=NOW)
    assert await gate.take(sent) is Verdict.NEW
    assert await gate.take(sent) is Verdict.DUPLICATE
    assert not await gate.gate.check(sent, CLIENT), "nobody has looked at its proof"
    assert await gate.take(changed(sent, proof=BAD)) is Verdict.DUPLICATE
    chain.register(START - 100, OTHERS[0])
    await gate.follow(chain)
    anew = envelope(chain.membership(ALICE), "hello", epoch=NOW)
    assert anew.proof is not None
    assert sent.proof is not None
    assert anew.proof.root != sent.proof.root
    assert await gate.take(anew) is Verdict.DUPLICATE
    assert judged(gate) == 1


async def test_an_old_root_does_not_hide_a_conflict(gate: Gate, chain: Chain, clock: Clock) -> None:
    """Whoever sends two messages under a root that is about to expire is found where they meet."""
    mallory = chain.membership(MALLORY)
    chain.register(clock.now, OTHERS[0])
    await gate.follow(chain)
    clock.now += ROOT_SECONDS
    epoch = clock.now // EPOCH_SECONDS
    assert await gate.take(envelope(mallory, "here", epoch=epoch)) is Verdict.NEW
    clock.now += TOLERANCE + 1
    second = envelope(mallory, "there", epoch=epoch)
    assert not await gate.gate.check(second, PEER, late=True), "other nodes would not take it"
    with capture_logs() as logs:
        assert await gate.record(second) is Verdict.CONFLICT
    assert logs == [{"log_level": "warning", "event": "member_exposed", "epoch": epoch}]
    assert await gate.exposed() == {MALLORY}


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 1, 0), (1, 0, 0, 1, 1)])
async def test_conflicts_in_either_order_and_again(gate: Gate, chain: Chain, order: tuple[int, ...]) -> None:
    pair = [envelope(chain.membership(MALLORY), text, epoch=NOW) for text in ("a", "b")]
    first, second, *again = order
    assert await gate.take(pair[first], PEER, late=True) is Verdict.NEW
    assert await gate.take(pair[second], PEER, late=True) is Verdict.CONFLICT
    for place in again:
        if place == first:
            assert await gate.take(pair[place], PEER, late=True) is Verdict.DUPLICATE
        else:
            with pytest.raises(MemberExposed):
                await gate.take(pair[place], PEER, late=True)
    assert await gate.exposed() == {MALLORY}


async def test_only_the_first_conflict_is_evidence(gate: Gate, chain: Chain) -> None:
    """Whoever is known can make any number of them, and so can everybody else once the secret is on chain."""
    first, second, third = (envelope(chain.membership(MALLORY), text, epoch=NOW) for text in "abc")
    await gate.take(first)
    for each in (second, third):  # both were checked before either was recorded
        assert await gate.gate.check(each, CLIENT)
    assert [await gate.record(each) for each in (second, third)] == [Verdict.CONFLICT, Verdict.EXPOSED]


async def test_a_conflict_exposes_without_a_proof_and_is_not_passed_on_then(gate: Gate, chain: Chain) -> None:
    first, second = (envelope(chain.membership(MALLORY), text, epoch=NOW) for text in "ab")
    await gate.take(first)
    assert second.proof is not None
    false = replace(second, proof=replace(second.proof, proof=bytes(128)))
    assert not await gate.gate.check(false, CLIENT)
    assert await gate.record(false) is Verdict.CONFLICT
    assert await gate.exposed() == {MALLORY}


async def test_two_at_once_are_one_new_and_one_conflict(gate: Gate, chain: Chain) -> None:
    pair = [envelope(chain.membership(MALLORY), text, epoch=NOW) for text in ("a", "b")]
    for each in pair:
        await gate.gate.check(each, CLIENT)
    verdicts = [await gate.record(each) for each in pair]
    assert verdicts == [Verdict.NEW, Verdict.CONFLICT]
    assert await gate.exposed() == {MALLORY}


async def test_a_write_that_fails_leaves_no_trace(gate: Gate, chain: Chain) -> None:
    sent = envelope(chain.membership(ALICE), "hello", epoch=NOW)

    def fail(connection: object) -> None:
        gate.gate.record(connection, sent)  # type: ignore[arg-type]
        raise NodeError

    with pytest.raises(NodeError):
        await gate.db.write(fail)
    assert await gate.take(sent) is Verdict.NEW


async def test_who_was_slashed_on_chain_is_refused_while_its_roots_count(
    gate: Gate, chain: Chain, clock: Clock
) -> None:
    mallory = chain.membership(MALLORY)
    chain.slash(clock.now, MALLORY)
    await gate.follow(chain)
    with pytest.raises(MemberExposed):
        await gate.take(envelope(mallory, "hello", epoch=NOW))
    assert judged(gate) == 0
    assert (
        await gate.take(envelope(chain.membership(ALICE, besides=[MALLORY]), "hi", epoch=NOW)) is Verdict.NEW
    )
    chain.undo(1)
    chain.mine(clock.now)
    await gate.follow(chain)  # a reorg takes it back
    assert await gate.take(envelope(mallory, "hello", epoch=NOW)) is Verdict.NEW


async def test_the_log_and_exposures_survive_a_restart(chain: Chain, clock: Clock, tmp_path: Path) -> None:
    mallory, alice = chain.membership(MALLORY), chain.membership(ALICE)
    async with gate_on(chain, clock, tmp_path) as gate:
        await gate.take(envelope(mallory, "a", epoch=NOW))
        await gate.take(envelope(alice, "hello", epoch=NOW))
    async with gate_on(chain, clock, tmp_path) as gate:
        assert await gate.take(envelope(alice, "hello", epoch=NOW)) is Verdict.DUPLICATE
        assert await gate.take(envelope(mallory, "b", epoch=NOW)) is Verdict.CONFLICT
    async with gate_on(chain, clock, tmp_path) as gate:
        with pytest.raises(MemberExposed):
            await gate.take(envelope(mallory, "c", message_id=1, epoch=NOW))


async def test_the_log_is_pruned_when_an_epoch_can_come_no_more(
    gate: Gate, chain: Chain, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nullifiers, "_PRUNED_AT_ONCE", 1)
    alice, ends = chain.membership(ALICE), START + EPOCH_SECONDS
    sent = [envelope(alice, text, message_id=n, epoch=NOW) for n, text in enumerate("ab")]
    for each in sent:
        await gate.take(each)
    clock.now = ends + ROOT_SECONDS - 1
    assert await gate.take(sent[0], PEER, late=True) is Verdict.DUPLICATE
    # Clocks that are set back by as much find it still.
    assert await gate.gate.prune(ends + 2 * ROOT_SECONDS - 1) == 0
    assert await gate.gate.prune(ends + 2 * ROOT_SECONDS) == 2
    assert await gate.db.read(nullifiers.count) == 0


async def test_what_a_wrong_clock_logged_is_pruned_too(gate: Gate, chain: Chain, clock: Clock) -> None:
    clock.now += 10**6
    epoch = clock.now // EPOCH_SECONDS
    await gate.take(envelope(chain.membership(ALICE), "hello", epoch=epoch))
    assert await gate.gate.prune(epoch * EPOCH_SECONDS - DAY) == 0
    assert await gate.gate.prune(epoch * EPOCH_SECONDS - DAY - 1) == 1
