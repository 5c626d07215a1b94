"""The queue of proofs: fair, bounded, and dear for who sends invalid ones. Counts, no timing."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.services.node.books import Clock
from tests.services.node.limiting import BAD, CLIENT, GOOD, PEER, ScriptedJudge

from waypost.errors import InvalidProof, NodeNotReady, RateLimited
from waypost.node.proof_process import Job
from waypost.node.proofs import BATCH, CLIENTS, MAX_WAITING, PEERS, Proofs
from waypost.zk.proof import Proof

PUBLIC = (0, 0, 0, 0, 0)


def ask(proofs: Proofs, data: bytes, source: str = CLIENT) -> "asyncio.Task[None]":
    return asyncio.ensure_future(proofs.verify(Proof(data), PUBLIC, source))


async def entered(proofs: Proofs, count: int) -> None:
    while len(proofs) < count:  # noqa: ASYNC110  # the tasks of a test meet
        await asyncio.sleep(0)


async def finish(proofs: Proofs, *asked: "asyncio.Task[None]") -> list[BaseException | None]:
    running = asyncio.ensure_future(proofs.run())
    ends = await asyncio.gather(*asked, return_exceptions=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return ends


async def test_what_waits_is_verified_together() -> None:
    judge = ScriptedJudge()
    proofs = Proofs(judge, Clock())
    asked = [ask(proofs, GOOD, f"10.0.0.{n}") for n in range(BATCH + 3)]
    await entered(proofs, len(asked))
    assert await finish(proofs, *asked) == [None] * len(asked)
    assert [len(together) for together, _ in judge.batches] == [BATCH, 3]
    assert judge.closed
    assert (proofs.verified, proofs.invalid) == (BATCH + 3, 0)


async def test_an_invalid_flood_from_one_source_starves_no_other() -> None:
    judge = ScriptedJudge()
    proofs = Proofs(judge, Clock())
    flood = [ask(proofs, BAD, "203.0.113.9") for _ in range(500)]
    await entered(proofs, CLIENTS.waiting)
    honest = [ask(proofs, GOOD, f"10.0.0.{n}") for n in range(20)]
    await entered(proofs, CLIENTS.waiting + 20)
    ends = await finish(proofs, *honest, *flood)
    assert ends[:20] == [None] * 20
    refused = ends[20:]
    assert sum(isinstance(end, InvalidProof) for end in refused) == CLIENTS.failures
    assert sum(isinstance(end, RateLimited) for end in refused) == 500 - CLIENTS.failures
    assert judge.judged == 20 + CLIENTS.failures
    assert judge.batches[0][0].count(GOOD) == 20, "all of them came in the first batch"


async def test_who_failed_is_checked_apart_until_it_has_rested() -> None:
    judge, clock = ScriptedJudge(), Clock()
    proofs = Proofs(judge, clock)
    assert isinstance((await finish(proofs, ask(proofs, BAD)))[0], InvalidProof)
    asked = [ask(proofs, GOOD) for _ in range(3)] + [ask(proofs, GOOD, "10.0.0.1")]
    await entered(proofs, 4)
    assert await finish(proofs, *asked) == [None] * 4
    assert judge.batches[1:] == [([GOOD], [GOOD]), ([], [GOOD]), ([], [GOOD])]
    clock.now += round(1 / CLIENTS.per_second)
    asked = [ask(proofs, GOOD) for _ in range(3)]
    await entered(proofs, 3)
    await finish(proofs, *asked)
    assert judge.batches[-1] == ([GOOD] * 3, [])


async def test_who_has_failed_too_often_is_told_when_to_come_back() -> None:
    judge, clock = ScriptedJudge(), Clock()
    proofs = Proofs(judge, clock)
    for _ in range(CLIENTS.failures):
        await finish(proofs, ask(proofs, BAD))
    with pytest.raises(RateLimited) as refusal:
        proofs.admit(CLIENT)
    wait = refusal.value.details["retryAfter"]
    assert wait == round(1 / CLIENTS.per_second)
    assert isinstance(wait, int)
    for source in ("10.0.0.1", PEER):
        proofs.admit(source)
    clock.now += wait
    assert await finish(proofs, ask(proofs, GOOD)) == [None]


async def test_peers_have_an_allowance_of_their_own() -> None:
    judge = ScriptedJudge()
    proofs = Proofs(judge, Clock())
    for _ in range(PEERS.failures):
        proofs.admit(PEER)
        with pytest.raises(InvalidProof):
            proofs.refuse(PEER, "")
    with pytest.raises(RateLimited):
        proofs.admit(PEER)
    assert not judge.batches


async def test_the_queue_is_bounded_for_each_and_for_all() -> None:
    proofs = Proofs(ScriptedJudge(), Clock())
    sources = MAX_WAITING // CLIENTS.waiting
    flood = [ask(proofs, GOOD, f"s{n}") for n in range(sources) for _ in range(CLIENTS.waiting + 5)]
    await entered(proofs, MAX_WAITING)
    over = [task for task in flood if task.done()]
    assert len(over) == 5 * sources
    assert all(isinstance(task.exception(), RateLimited) for task in over)
    newcomer = ask(proofs, GOOD, "newcomer")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(proofs) == MAX_WAITING
    assert not newcomer.done(), "it took the place of one of those who have many"
    await asyncio.sleep(0)
    assert sum(task.done() for task in flood) == 5 * sources + 1
    await finish(proofs, newcomer, *flood)
    assert len(proofs) == 0


async def test_when_everybody_waits_with_one_a_newcomer_comes_back_later() -> None:
    proofs = Proofs(ScriptedJudge(), Clock())
    asked = [ask(proofs, GOOD, f"s{n}") for n in range(MAX_WAITING)]
    await entered(proofs, MAX_WAITING)
    with pytest.raises(RateLimited):
        await proofs.verify(Proof(GOOD), PUBLIC, "newcomer")
    assert await finish(proofs, *asked) == [None] * MAX_WAITING


async def test_who_went_away_is_not_looked_at() -> None:
    judge = ScriptedJudge()
    proofs = Proofs(judge, Clock())
    gone, stays = ask(proofs, BAD), ask(proofs, GOOD)
    await entered(proofs, 2)
    gone.cancel()
    assert await finish(proofs, stays) == [None]
    assert judge.judged == 1


class Broken(ScriptedJudge):
    async def judge(self, together: Sequence[Job], apart: Sequence[Job]) -> list[bool]:
        self.batches.append(([], []))
        if len(self.batches) == 1:
            raise NodeNotReady("It has ended.", retryAfter=1)
        return [True] * (len(together) + len(apart))


async def test_a_verifier_that_ends_is_no_ones_invalid_proof_but_has_its_price() -> None:
    proofs = Proofs(Broken(), Clock())
    assert [type(end) for end in await finish(proofs, ask(proofs, GOOD))] == [NodeNotReady]
    assert await finish(proofs, ask(proofs, GOOD)) == [None]
    assert (proofs.verified, proofs.invalid) == (1, 0)


class Hanging(ScriptedJudge):
    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def judge(self, together: Sequence[Job], apart: Sequence[Job]) -> list[bool]:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_whoever_waits_when_the_node_stops_is_told() -> None:
    judge = Hanging()
    proofs = Proofs(judge, Clock())
    running = asyncio.ensure_future(proofs.run())
    first = ask(proofs, GOOD)
    await judge.asked.wait()
    second = ask(proofs, GOOD)
    await entered(proofs, 1)
    running.cancel()
    ends = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(end) for end in ends] == [NodeNotReady, NodeNotReady]
    await asyncio.gather(running, return_exceptions=True)
    assert judge.closed
