"""What a node lets pass, and whom it finds: real proofs, and any interleaving over several nodes."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.services.node.books import Clock
from tests.services.node.limiting import (
    ALICE,
    EPOCH_SECONDS,
    MALLORY,
    NOW,
    OTHERS,
    PEER,
    RATE,
    ROOT_SECONDS,
    START,
    Gate,
    changed,
    envelope,
    gate_on,
    message,
    proved,
    two_members,
)

from waypost.errors import EpochOutOfRange, InvalidProof, MemberExposed, RootUnknown
from waypost.node.proof_process import VerifierProcess
from waypost.node.rate_gate import Verdict
from waypost.protocol.poseidon import R
from waypost.protocol.relay import Envelope
from waypost.zk import keys

# ---- With real proofs ----


async def test_proofs_of_members_pass_and_no_others(tmp_path: Path) -> None:
    chain, clock = two_members(), Clock(START + 300)
    alice = chain.membership(ALICE)
    async with gate_on(chain, clock, tmp_path, judge=VerifierProcess(keys.development_key())) as gate:
        sent = proved(alice, "hello", epoch=NOW)
        assert sent.proof is not None
        for bad in (
            replace(sent, message=message("something else")),
            changed(sent, nullifier=1),
            changed(sent, y=(sent.proof.y + 1) % R),
            changed(sent, y=0),
            changed(sent, proof=bytes(128)),
            changed(sent, proof=b"\xff" * 128),
            changed(sent, proof=sent.proof.proof[:64] + bytes(64)),
        ):
            with pytest.raises(InvalidProof):
                await gate.take(bad)
        stranger = replace(alice, siblings=tuple(range(20)))
        with pytest.raises(RootUnknown):
            await gate.take(proved(stranger, "hello", epoch=NOW))
        assert await gate.take(sent, "192.0.2.77") is Verdict.NEW
        # Groth16 lets anybody make another proof of the same signal; this one is made anew.
        again = proved(alice, "hello", epoch=NOW)
        assert again.proof is not None
        assert again.proof.proof != sent.proof.proof
        assert await gate.take(again, "192.0.2.77") is Verdict.DUPLICATE


async def test_a_spammers_secret_is_found_from_two_real_proofs(tmp_path: Path) -> None:
    chain, clock = two_members(), Clock(START + 300)
    mallory = chain.membership(MALLORY)
    async with gate_on(chain, clock, tmp_path, judge=VerifierProcess(keys.development_key())) as gate:
        assert await gate.take(proved(mallory, "a", epoch=NOW)) is Verdict.NEW
        assert await gate.take(proved(mallory, "b", epoch=NOW)) is Verdict.CONFLICT
        assert await gate.exposed() == {MALLORY}
        with pytest.raises(MemberExposed):
            await gate.take(proved(mallory, "c", message_id=1, epoch=NOW))
        assert await gate.take(proved(chain.membership(ALICE), "d", epoch=NOW)) is Verdict.NEW


# ---- Any interleaving ----

NODES = 3


class Honest:
    """A client that keeps its counter: an epoch never comes back, and no number is used twice in one."""

    def __init__(self, skew: int) -> None:
        self.skew, self.epoch, self.used = skew, 0, 0
        self.sent: list[tuple[str, int, int]] = []
        """Text, number and epoch of what was sent."""

    def send(self, now: int) -> tuple[str, int, int] | None:
        epoch = max(self.epoch, (now + self.skew) // EPOCH_SECONDS)
        if epoch != self.epoch:
            self.epoch, self.used = epoch, 0
        if self.used == RATE:
            return None
        self.used += 1  # on disk before anything is sent
        self.sent.append((f"text {len(self.sent)}", self.used - 1, epoch))
        return self.sent[-1]


@settings(max_examples=40, deadline=None)
@given(chance=st.randoms(use_true_random=False), skew=st.integers(-30, 30))
def test_honest_members_are_never_exposed(chance: Random, skew: int) -> None:
    """Over several nodes whose clocks differ, near the ends of epochs, through reorgs and new roots, with
    repeats, new proofs of what was sent, and nodes that pass things on late."""
    asyncio.run(_honest(chance, skew))


async def _honest(chance: Random, skew: int) -> None:
    chain = two_members()
    honest, now = Honest(skew), START + chance.choice((0, 300, EPOCH_SECONDS - 10))
    clocks = [Clock(now) for _ in range(NODES)]
    skews = [chance.randint(-30, 30) for _ in range(NODES)]
    outsiders = iter(OTHERS)
    passed: list[Envelope] = []
    async with contextlib.AsyncExitStack() as stack:
        gates = [await stack.enter_async_context(gate_on(chain, clock)) for clock in clocks]
        for _ in range(12):
            now += chance.choice((0, 1, 20, 200))
            for clock, off in zip(clocks, skews, strict=True):
                clock.now = now + off
            step, gate = chance.randrange(6), chance.choice(gates)
            if step <= 1 and (fresh := honest.send(now)):
                text, number, epoch = fresh
                sent = envelope(chain.membership(ALICE), text, message_id=number, epoch=epoch)
                passed.append(sent)
                assert await gate.take(sent) in (Verdict.NEW, Verdict.DUPLICATE)
            elif step == 2 and honest.sent:  # the answer was lost: asked again, with a new proof
                text, number, epoch = chance.choice(honest.sent)
                anew = envelope(chain.membership(ALICE), text, message_id=number, epoch=epoch)
                with contextlib.suppress(EpochOutOfRange):
                    assert await gate.take(anew) in (Verdict.NEW, Verdict.DUPLICATE)
            elif step == 3 and passed:
                with contextlib.suppress(EpochOutOfRange, RootUnknown):
                    late = await gate.take(chance.choice(passed), PEER, late=True)
                    assert late in (Verdict.NEW, Verdict.DUPLICATE)
            elif step == 4:
                chain.register(now, next(outsiders))
                for each in gates:
                    await each.follow(chain)
            elif step == 5 and len(chain.blocks) > 2:
                chain.undo(1)
                chain.register(now, next(outsiders))
                for each in gates:
                    await each.follow(chain)
        for each in gates:
            assert await each.exposed() == set()


@settings(max_examples=40, deadline=None)
@given(chance=st.randoms(use_true_random=False), doubled=st.integers(0, RATE - 1))
def test_one_message_too_many_exposes_its_sender_wherever_both_shares_meet(
    chance: Random, doubled: int
) -> None:
    asyncio.run(_spam(chance, doubled))


async def _spam(chance: Random, doubled: int) -> None:
    chain = two_members()
    member, clock = chain.membership(MALLORY), Clock(START + 590)
    sent = [envelope(member, f"text {n}", message_id=n, epoch=NOW) for n in range(RATE)]
    sent.append(envelope(member, "one too many", message_id=doubled, epoch=NOW))
    pair = sent[doubled], sent[-1]
    async with contextlib.AsyncExitStack() as stack:
        gates = [await stack.enter_async_context(gate_on(chain, clock)) for _ in range(NODES)]
        places = [chance.choice(gates) for _ in sent]
        stored: dict[Gate, list[Envelope]] = {gate: [] for gate in gates}
        order = list(zip(sent, places, strict=True))
        chance.shuffle(order)
        for each, gate in order:
            with contextlib.suppress(MemberExposed):
                await gate.take(each)
                stored[gate].append(each)
        clock.now += chance.choice((0, ROOT_SECONDS - 1))
        links = [(a, b) for a in gates for b in gates if a is not b] * 2
        chance.shuffle(links)
        for giver, taker in links:  # evidence and messages, in order of acceptance
            for each in list(stored[giver]):
                with contextlib.suppress(MemberExposed):
                    await taker.take(each, PEER, late=True)
                    stored[taker].append(each)
        for gate in gates:
            both = all(any(each is kept for kept in stored[gate]) for each in pair)
            assert await gate.exposed() == ({MALLORY} if both else set())
        assert {MALLORY} in [await gate.exposed() for gate in gates], "somewhere both have met"
        honest = envelope(chain.membership(ALICE), "hello", epoch=clock.now // EPOCH_SECONDS)
        assert await gates[0].take(honest) is Verdict.NEW
