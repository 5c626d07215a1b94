"""Members among nodes whose lives are cut short: some keep their rate and crash, others spam and are slashed,
while nodes are killed and blocks undone at any moment from joining to the slash. By seed."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random

import httpx
from eth_typing import ChecksumAddress
from tests.e2e.documents import ROOT
from tests.fire.anvil import reorg
from tests.fire.member_accounts import check_chain, check_trees, history
from tests.fire.member_nodes import EPOCH_SECONDS, TOPIC, Mortal
from tests.fire.people import STEP_SECONDS, Person, listening, until_it_works
from tests.services.node.money_node import until
from tests.services.node.world import Deployed, World

from waypost.chain.blocks import Event
from waypost.chain.membership import Membership, Registered, SlashCommitted, Slashed
from waypost.cli.demo.members import REFUSALS, Spammer
from waypost.client import Client
from waypost.client.prover import Prover
from waypost.errors import WaypostError
from waypost.protocol.messages import Message

RATE, SPAM_RATE = 3, 1
DEEPEST = 6
MOMENTS = ("joining", "joined", "half", "found", "committed", "revealed", "slashed")
"""Of a spammer's life, at which nodes are killed; `half`: one node has all that it may send, and the one too
many is not sent yet."""
PAUSES = (0, 0.02, 0.1, 0.3, 1)
"""Seconds from such a moment to the first death."""
FOUND = (None, "rate_exceeded", "member_exposed")
"""What a node answers to the message too many, whatever it has heard from others by then."""
FRESH_SECONDS = 45
"""How long a message is tried again: nodes refuse what is too old."""


@dataclass
class Tally:
    """What a campaign was, in counts. `undone`: reorgs that took back who joined or was slashed, and so the
    roots of proofs: nodes may refuse messages that were on their way (`doubtful`), or did (`refused`)."""

    kills: int = 0
    kills_at_start: int = 0
    reorgs: int = 0
    undone: int = 0
    crashes: int = 0
    members: int = 0
    slashed: int = 0
    acknowledged: int = 0
    doubtful: int = 0
    refused: int = 0


@dataclass
class MemberCampaign:
    """`fresh` people are no members yet, `honest` ones keep their rate, `spammers` are commitments; `heard`
    is what came, by node."""

    world: World
    nodes: list[Mortal]
    chance: Random
    fresh: Iterator[Person]
    heard: dict[ChecksumAddress, list[str]]
    tally: Tally = field(default_factory=Tally)
    honest: list[Person] = field(default_factory=list)
    spammers: set[int] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    _moments: set[str] = field(default_factory=set)
    _in_doubt: bool = False
    _texts: "itertools.count[int]" = field(default_factory=itertools.count)

    @classmethod
    @contextlib.asynccontextmanager
    async def begin(
        cls, there: Deployed, folder: Path, seed: int, rounds: int, nodes: int = 2
    ) -> AsyncIterator["MemberCampaign"]:
        """Running nodes, and people with money, above what any reorg undoes."""
        async with contextlib.AsyncExitStack() as stack:
            world = await stack.enter_async_context(World.enter(there))
            http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False))
            prover = Prover(ROOT / "build" / "keys", there.manifest.chain_id)
            stack.push_async_callback(prover.close)
            mortals = [await Mortal.create(there, world, folder / f"{n}", http) for n in range(nodes)]
            people = [await Person.create(world, folder / f"home-{n}", prover) for n in range(2 + 2 * rounds)]
            for node in mortals:
                stack.push_async_callback(node.kill)
                await node.start()
            await asyncio.gather(prover.start(), *(node.is_level() for node in mortals))
            heard = await stack.enter_async_context(listening(people.pop(), mortals))
            first = people.pop()
            # The first ever takes more gas than others have, were a reorg to swap them.
            await first.join(mortals[0], RATE)
            await world.mine(DEEPEST)
            yield cls(world, mortals, Random(seed), iter(people), heard, honest=[first])

    @property
    def membership(self) -> Membership:
        """The contract."""
        return Membership(self.world.connection, self.nodes[0].rln.contract)

    async def run(self, rounds: int, strikes: int) -> Tally:
        """So many spammers, one after the other, each with so many strikes in its life; then everything is
        held to what it should be."""
        for _ in range(rounds):
            self._moments = set(self.chance.sample(MOMENTS, strikes))
            async with asyncio.timeout(4 * STEP_SECONDS):
                await self._round()
        await self._account()
        return self.tally

    # ---- Lives ----

    async def _round(self) -> None:
        """A spammer's life, and somebody honest who joins with it."""
        first, second = self.chance.sample(self.nodes, 2)
        spammer, newcomer = next(self.fresh), next(self.fresh)
        async with asyncio.TaskGroup() as tasks:
            joining = tasks.create_task(spammer.join(first, SPAM_RATE))
            tasks.create_task(newcomer.join(second, RATE))
            tasks.create_task(self._at("joining"))
        self.honest.append(newcomer)
        self.spammers.add(joining.result().id_commitment)
        await self._at("joined")
        commits = await self._count(SlashCommitted)
        async with spammer.client() as client:
            spam = await until_it_works(partial(self._spam, client, first, second))
            await self._at("found")
            await self._wait(partial(self._has_more, SlashCommitted, commits))
            await self._at("committed")
            await self.world.mine(2)
            await self._at("revealed")
            await self._wait(self._all_are_slashed)
            await self._at("slashed")
            await self._talk()
            await self._wait(self._all_are_slashed)
            await self._all_live()
            await self._expect_refusals(spam)

    async def _spam(self, client: Client, first: Mortal, second: Mortal) -> Spammer:
        """All of its rate at one node, and one more at another. Raises while a reorg is in the way."""
        here, there = [await client.nodes.get(node.operator) for node in (first, second)]
        await client.memberships.refresh(client.memberships.current())  # by now it may have another leaf
        spammer = await Spammer.ready(client, here)
        answers = [await spammer.send(here, number) for number in range(SPAM_RATE)]
        await self._at("half")
        answers.append(await spammer.send(there, 0))
        if any(answer not in FOUND for answer in answers):
            raise WaypostError(f"the spam was refused for another reason: {answers}")
        return spammer

    async def _expect_refusals(self, spammer: Spammer) -> None:
        """Also in an epoch in which it has sent nothing."""
        later = replace(spammer, epoch=int(time.time()) // EPOCH_SECONDS)
        for node in self.nodes:
            answer = await later.send(await spammer.client.nodes.get(node.operator), 0)
            assert answer in REFUSALS, f"a slashed member was answered {answer}"

    async def _talk(self) -> None:
        """Some honest members say something, or again what was not acknowledged."""
        speakers = self.chance.sample(self.honest, min(2, len(self.honest)))
        await asyncio.gather(*map(self._say, speakers))

    async def _say(self, person: Person) -> None:
        if person.message is None or person.message.timestamp_ns < time.time_ns() - FRESH_SECONDS * 10**9:
            person.message = self._compose()
        if self.chance.random() < 0.3:
            await person.crash(person.message)
            self.tally.crashes += 1
        doubt = self._in_doubt
        with contextlib.suppress(WaypostError):  # its node is dead, its epoch spent, its leaf undone
            await person.say(person.message, [self.chance.choice(self.nodes)])
            self._acknowledge(person.message, doubt or self._in_doubt)
            person.message = None

    def _compose(self) -> Message:
        return Message(TOPIC, str(next(self._texts)).encode(), time.time_ns())

    def _acknowledge(self, message: Message, doubt: bool = False) -> None:
        text = message.payload.decode()
        self.acknowledged.add(text)
        if doubt:
            self.doubtful.add(text)

    # ---- Deaths ----

    async def _at(self, moment: str) -> None:
        """Strikes if this is one of the round's moments."""
        if moment in self._moments:
            self._moments.remove(moment)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._talk())
                tasks.create_task(self._strike())

    async def _strike(self) -> None:
        """Kills some nodes, undoes blocks most of the time, and lets the nodes live again, some after another
        death while they start."""
        chance = self.chance  # asked before anything happens: people ask it, too, at times of their own
        pause, victims = chance.choice(PAUSES), chance.sample(self.nodes, chance.randint(1, len(self.nodes)))
        depth = chance.randint(1, DEEPEST) if chance.random() < 0.7 else 0
        again = chance.uniform(0, 2.5) if chance.random() < 0.4 else None
        await asyncio.sleep(pause)
        for node in victims:
            await node.kill()
        self.tally.kills += len(victims)
        if depth:
            await self._reorg(depth)
        if again is not None:
            await victims[0].start()
            await asyncio.sleep(again)
            await victims[0].kill()
            self.tally.kills += 1
            self.tally.kills_at_start += 1
        await self._all_live()

    async def _reorg(self, depth: int) -> None:
        head = await self.world.connection.head()
        undone = await history(self.world, self.membership, head.number - depth + 1)
        if any(isinstance(event, Registered | Slashed) for event in undone):
            self.tally.undone += 1
            self._in_doubt = True
            self.doubtful |= {text for text in self.acknowledged if not self._is_everywhere(text)}
        await reorg(self.world.url, depth)
        await self.world.mine()
        self.tally.reorgs += 1

    async def _all_live(self) -> None:
        for node in self.nodes:
            await node.start()
        await asyncio.gather(*(node.is_level() for node in self.nodes))
        self._in_doubt = False

    # ---- In the end ----

    async def _account(self) -> None:
        await self._all_live()
        for person in self.honest:
            message = self._compose()
            await until_it_works(partial(person.say, message, self.nodes))
            self._acknowledge(message)
        sure = self.acknowledged - self.doubtful
        await until(lambda: all(map(self._is_everywhere, sure)), STEP_SECONDS)
        for node in self.nodes:
            await until(partial(self._has_given_all, node))
        payees = [node.operator for node in self.nodes]
        assert await check_chain(self.world, self.membership, payees) == self.spammers
        await check_trees(self.world, self.membership, self.nodes)
        for node in self.nodes:
            await node.kill()
            assert node.exposed() <= self.spammers, "nobody honest"
        self.tally.members, self.tally.slashed = len(self.honest), len(self.spammers)
        self.tally.acknowledged, self.tally.doubtful = len(self.acknowledged), len(self.doubtful)
        self.tally.refused = sum(not self._is_everywhere(text) for text in self.doubtful)

    async def _has_given_all(self, node: Mortal) -> bool:
        """Whether who listened all the time heard what who comes last is given."""
        replay, heard = await node.replay(), Counter(self.heard[node.operator])
        assert set(replay.values()) == {1}, "each message once"
        return replay == heard

    def _is_everywhere(self, text: str) -> bool:
        return all(text in heard for heard in self.heard.values())

    # ---- The chain ----

    async def _wait(self, true: Callable[[], Awaitable[bool]]) -> None:
        """While blocks come."""
        give_up = time.monotonic() + STEP_SECONDS
        while not await true():
            assert time.monotonic() < give_up, "it did not happen in time"
            await asyncio.sleep(0.5)
            await self.world.mine()

    async def _count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in await history(self.world, self.membership))

    async def _has_more(self, kind: type[Event], than: int) -> bool:
        return await self._count(kind) > than

    async def _all_are_slashed(self) -> bool:
        events = await history(self.world, self.membership)
        return {event.id_commitment for event in events if isinstance(event, Slashed)} == self.spammers
