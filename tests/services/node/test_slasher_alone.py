"""Slashing without a chain: what is drafted, when, at which price, and what is said of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from tests.services.node.books import PAYEE, PAYER, Clock
from tests.services.node.limiting import (
    ALICE,
    MALLORY,
    OTHERS,
    RATE,
    START,
    gate_on,
    two_members,
)
from tests.services.node.slashing import (
    ENDED,
    MARKET,
    REWARD,
    STAKE_PER_RATE,
    TOKEN_PER_ETHER,
    Alone,
    Chainless,
    Rehearsing,
)

from waypost.chain.membership import REVEAL_BLOCKS, Expired, MemberState
from waypost.errors import TransactionReverted
from waypost.node import slasher
from waypost.node.claim_plan import Market
from waypost.node.exposures import Slashes
from waypost.node.slasher import COMMIT_GAS, LAST_BLOCKS, SLASH_GAS
from waypost.node.transactions import Draft, State
from waypost.protocol.memberships import slash_hash
from waypost.protocol.rln import identity_commitment


@pytest.fixture
async def alone(clock: Clock) -> AsyncIterator[Alone]:
    chain = two_members()
    chain.register(START - 4_000, OTHERS[0], rate=9)
    async with gate_on(chain, clock) as gate:
        yield Alone(chain, gate, Rehearsing(gate.db, clock), clock)


# ---- Commit ----


@pytest.mark.parametrize(("estimate", "gas"), [(40_000, COMMIT_GAS), (100_001, 120_001)])
async def test_a_commit_is_drafted_for_what_the_slash_is_worth(alone: Alone, estimate: int, gas: int) -> None:
    await alone.find(MALLORY)
    alone.desk.estimate = estimate
    with capture_logs() as logs:
        await alone.slasher().step()
    (exposure,) = await alone.waiting()
    assert exposure.salt is not None
    assert len(exposure.salt) == 32
    call = alone.contract.commit_slash(slash_hash(MALLORY, PAYEE, exposure.salt))
    ceiling = MARKET.ceiling(REWARD, COMMIT_GAS + SLASH_GAS)
    assert alone.desk.drafts == [Draft("commit_slash", call, gas, ceiling)]
    assert logs == [{"log_level": "info", "event": "slash_committed", "index": 1}]


async def test_each_commit_has_a_salt_of_its_own(alone: Alone) -> None:
    await alone.find(MALLORY, ALICE)
    await alone.slasher().step()
    salts = {exposure.salt for exposure in await alone.waiting()}
    assert len(salts) == 2


async def test_nothing_is_sent_while_a_commit_waits(alone: Alone) -> None:
    await alone.find(MALLORY)
    slasher = alone.slasher()
    await asyncio.gather(slasher.step(), slasher.step())
    alone.at(REVEAL_BLOCKS.stop)
    await slasher.step()
    assert alone.purposes == ["commit_slash"]


@pytest.mark.parametrize("state", [ENDED, None])
async def test_nothing_is_committed_for_whom_the_chain_has_no_more(
    alone: Alone, state: MemberState | None
) -> None:
    await alone.find(MALLORY)
    alone.contract.states[identity_commitment(MALLORY)] = state
    await alone.slasher().step()
    assert alone.desk.drafts == []


# ---- Reveal ----


@pytest.mark.parametrize(("estimate", "gas"), [(100_000, SLASH_GAS), (200_001, 240_001)])
async def test_a_reveal_is_drafted_for_what_it_is_worth(alone: Alone, estimate: int, gas: int) -> None:
    slasher = await alone.commit()
    alone.desk.estimate = estimate
    with capture_logs() as logs:
        await slasher.step()
    (exposure,) = await alone.waiting()
    assert exposure.salt is not None
    call = alone.contract.slash(MALLORY, PAYEE, exposure.salt, exposure.record)
    assert alone.desk.drafts[1:] == [Draft("slash", call, gas, MARKET.ceiling(REWARD, SLASH_GAS))]
    assert exposure.slash is not None
    assert logs == [{"log_level": "info", "event": "slash_revealed", "index": 1}]


@pytest.mark.parametrize("state", [State.SENT, State.MINED])
async def test_nothing_is_sent_while_a_reveal_waits(alone: Alone, state: State) -> None:
    slasher = await alone.commit()
    await slasher.step()
    await alone.conclude(state)
    alone.at(REVEAL_BLOCKS.stop)
    alone.clock.now += 10_000
    await slasher.step()
    assert alone.purposes == ["commit_slash", "slash"]


@pytest.mark.parametrize(
    ("blocks", "then"),
    [
        (REVEAL_BLOCKS.start - 1, []),
        (REVEAL_BLOCKS.start, ["slash"]),
        (REVEAL_BLOCKS.stop - LAST_BLOCKS - 1, ["slash"]),
        (REVEAL_BLOCKS.stop - LAST_BLOCKS, ["commit_slash"]),
    ],
)
async def test_a_reveal_has_its_time(alone: Alone, blocks: int, then: list[str]) -> None:
    slasher = await alone.commit()
    alone.at(blocks)
    await slasher.step()
    assert alone.purposes == ["commit_slash", *then]


async def test_a_commit_that_the_chain_does_not_have_is_waited_for(alone: Alone) -> None:
    slasher = await alone.commit()
    alone.contract.commits.clear()
    await slasher.step()
    assert alone.purposes == ["commit_slash"]


async def test_a_reveal_that_somebody_else_made_is_no_fault(alone: Alone) -> None:
    slasher = await alone.commit()
    alone.desk.refuses = "slash"
    with pytest.raises(TransactionReverted):
        await slasher.step()
    alone.contract.states[identity_commitment(MALLORY)] = ENDED
    with capture_logs() as logs:
        await slasher.step()
    assert logs == [{"log_level": "info", "event": "slash_lost", "index": 1}]
    assert alone.purposes == ["commit_slash"]


# ---- What fails ----


@pytest.mark.parametrize("state", [State.REVERTED, State.CANCELLED, State.LOST])
async def test_a_commit_that_failed_is_made_again_after_a_rest(alone: Alone, state: State) -> None:
    await alone.find(MALLORY)
    slasher = alone.slasher()
    for pause in (10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600):
        await slasher.step()
        await alone.conclude(state)
        before = len(alone.desk.drafts)
        alone.clock.now += pause - 1
        await slasher.step()
        assert len(alone.desk.drafts) == before
        alone.clock.now += 1
    await slasher.step()
    assert alone.purposes == ["commit_slash"] * 13


async def test_a_reveal_that_failed_is_made_again_after_a_rest(alone: Alone) -> None:
    slasher = await alone.commit()
    alone.clock.now += 1_000
    await slasher.step()
    await alone.conclude(State.LOST)
    alone.clock.now += 19
    await slasher.step()
    assert alone.purposes == ["commit_slash", "slash"]
    alone.clock.now += 1
    await slasher.step()
    assert alone.purposes == ["commit_slash", "slash", "slash"]


async def test_what_the_contract_refuses_for_one_holds_up_no_other(
    alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slasher, "MAX_IN_FLIGHT", 1)
    one = await alone.commit(OTHERS[0])
    await alone.find(MALLORY, ALICE)
    alone.desk.refuses = "slash"
    with pytest.raises(TransactionReverted):
        await one.step()
    assert [each.commit is not None for each in await alone.waiting()] == [True, True, False]


# ---- How many ----


async def test_so_many_fly_at_once_and_who_rests_is_not_one(
    alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slasher, "MAX_IN_FLIGHT", 1)
    await alone.find(OTHERS[0], MALLORY)
    alone.contract.states[identity_commitment(OTHERS[0])] = ENDED
    one = alone.slasher()
    await one.step()  # the first has ended
    assert [each.commit is not None for each in await alone.waiting()] == [False, True]
    alone.contract.states.clear()
    await alone.find(ALICE)
    monkeypatch.setattr(slasher, "MAX_IN_FLIGHT", 2)
    await one.step()  # two fly, and there is no room for others
    await one.step()
    assert [each.commit is not None for each in await alone.waiting()] == [True, True, False]


@pytest.mark.parametrize("stage", ["committed", "maturing", "expired", "revealing", "revealed"])
async def test_at_every_stage_it_flies(alone: Alone, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    monkeypatch.setattr(slasher, "MAX_IN_FLIGHT", 1)
    one = await alone.commit(OTHERS[0])
    if stage == "committed":
        await alone.conclude(State.SENT)
    elif stage == "maturing":
        alone.at(REVEAL_BLOCKS.start - 1)
    elif stage == "expired":
        alone.at(REVEAL_BLOCKS.stop)
    elif stage == "revealed":
        await one.step()
    await alone.find(MALLORY)
    await one.step()
    assert (await alone.waiting())[1].commit is None


@pytest.mark.parametrize("why", ["resting", "lost"])
async def test_what_waits_for_nothing_does_not_fly(
    alone: Alone, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(slasher, "MAX_IN_FLIGHT", 1)
    one = await alone.commit(OTHERS[0])
    if why == "resting":
        await alone.conclude(State.LOST)
    else:
        alone.desk.refuses = "slash"
        alone.contract.states[identity_commitment(OTHERS[0])] = ENDED
    await alone.find(MALLORY)
    await one.step()
    assert (await alone.waiting())[1].commit is not None


@pytest.mark.parametrize("blocks", [REVEAL_BLOCKS.start, REVEAL_BLOCKS.stop])
async def test_what_is_not_worth_its_gas_does_not_fly(
    alone: Alone, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    monkeypatch.setattr(slasher, "MAX_IN_FLIGHT", 1)
    one = await alone.commit(OTHERS[0])
    alone.at(blocks)
    await alone.find(MALLORY)
    alone.desk.price = 10**30
    with capture_logs() as logs:
        await one.step()
    assert [(log["event"], log["index"]) for log in logs] == [
        ("slash_not_worth_its_gas", 2),
        ("slash_not_worth_its_gas", 1),
    ]


# ---- What it is worth ----


async def test_a_slash_is_made_while_it_pays_its_gas(alone: Alone) -> None:
    ceiling = MARKET.ceiling(REWARD, COMMIT_GAS + SLASH_GAS)
    assert ceiling is not None
    await alone.find(MALLORY)
    alone.desk.price = ceiling + 1
    slasher = alone.slasher()
    cost = Market(alone.desk.price, TOKEN_PER_ETHER).cost(COMMIT_GAS + SLASH_GAS)
    said = {
        "log_level": "warning",
        "event": "slash_not_worth_its_gas",
        "index": 1,
        "reward": REWARD,
        "cost": cost,
    }
    with capture_logs() as logs:
        for _ in range(3):
            await slasher.step()
    assert logs == [said]
    alone.desk.price = ceiling
    await slasher.step()
    assert alone.purposes == ["commit_slash"]
    alone.desk.price = ceiling + 1
    await alone.conclude(State.LOST)
    alone.clock.now += 10
    with capture_logs() as logs:
        await slasher.step()
    assert logs == [said], "it was worth its gas in between"
    assert alone.contract.costs == [(1, 1)]


async def test_what_comes_back_is_spoken_of_again(alone: Alone) -> None:
    await alone.find(MALLORY)
    alone.desk.price = 10**30
    slasher = alone.slasher()
    with capture_logs() as logs:
        await slasher.step()
        alone.chain.slash(START, MALLORY)
        await alone.gate.follow(alone.chain)
        await slasher.step()
        alone.chain.undo(1)
        await alone.gate.follow(alone.chain)
        await slasher.step()
    assert [log["event"] for log in logs] == ["slash_not_worth_its_gas"] * 2


async def test_of_whoever_expired_a_tenth_is_paid_already(alone: Alone) -> None:
    alone.chain.tell(START, Expired, MALLORY, caller=PAYER, reward=1, withdrawable_at=0)
    await alone.gate.follow(alone.chain)
    await alone.find(MALLORY)
    await alone.slasher().step()
    left = REWARD - RATE * STAKE_PER_RATE // 10
    assert [draft.ceiling for draft in alone.desk.drafts] == [MARKET.ceiling(left, COMMIT_GAS + SLASH_GAS)]


@pytest.mark.parametrize("options", [{"below_cost": True}, {"token_per_ether": 0}])
async def test_gas_may_count_as_free(alone: Alone, options: dict[str, int]) -> None:
    await alone.find(MALLORY)
    alone.desk.price = 10**30
    await alone.slasher(**options).step()  # type: ignore[arg-type]
    assert [draft.ceiling for draft in alone.desk.drafts] == [None]


async def test_what_came_of_it_is_told_for_its_receiver(alone: Alone) -> None:
    await alone.find(MALLORY)
    alone.chain.slash(START, MALLORY, receiver=PAYEE, reward=70)
    await alone.gate.follow(alone.chain)
    assert await alone.slasher().slashes() == Slashes(1, 0, 1, 0, 70)


# ---- By itself ----


async def test_it_goes_on_when_the_chain_answers_again(alone: Alone) -> None:
    await alone.commit()
    assert isinstance(alone.contract.connection, Chainless)
    alone.contract.connection.number = None
    slasher = alone.slasher()
    with capture_logs() as logs:
        running = asyncio.ensure_future(slasher.run())
        for fault in ("rpc_unreachable", None):
            while slasher.fault != fault:
                assert not running.done()
                assert slasher.fault in (None, "rpc_unreachable")
                await asyncio.sleep(0.001)
            alone.at(REVEAL_BLOCKS.start)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert {log.get("task", "slasher") for log in logs} == {"slasher"}
    assert alone.purposes == ["commit_slash", "slash"]
