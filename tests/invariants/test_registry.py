"""N1 to N5, S2, S3 and S5: operators stake, provision, thaw and leave; slashers lock, unlock and slash as
they like, and need not unlock anything. See README.md."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import pytest
from brownie import accounts, chain

from anvil import next_block_at
from channel_ledger import DOLLAR, MAX_UINT, fresh_key
from errors import reverts
from operators import BURNED, FOREVER, NOBODY, Operators

T = TypeVar("T")

START = 10_000 * DOLLAR
MIN_STAKE = 50 * DOLLAR
UNBONDING = 600
DONATED = 7  # by somebody who sent tokens to the contract itself
ACCEPTED, REVERT = 0, 1

OPERATORS = (0, 0, 0, 1, 1, 1, 2)
SLASHERS = (0, 1)
PROVISIONS = (0, 1, 2)  # of the two slashers, and of nobody
PEOPLE = range(5)
NUMBERS = range(256)  # to pick from what there is
SHARES = (1, 2, 4, 7, 10, 10, 11, 0)  # tenths of what is possible; 11: one unit too many
WAITS = (1, UNBONDING // 2, UNBONDING, 2 * UNBONDING)

STEPS = (
    *[("thaw", OPERATORS, PROVISIONS, SHARES)] * 4,
    *[("withdraw", NUMBERS, WAITS)] * 4,
    *[("slash", OPERATORS, SLASHERS, SHARES, PEOPLE)] * 3,
    *[("lock", OPERATORS, SLASHERS, SHARES)] * 2,
    *[("provision", OPERATORS, PROVISIONS, SHARES)] * 2,
    *[("withdraw_credit", NUMBERS)] * 2,
    ("unlock", OPERATORS, SLASHERS, SHARES),
    ("stake", OPERATORS, SHARES),
    ("cancel_thaw", NUMBERS),
    ("refuse", PEOPLE),
    ("rotate_key", OPERATORS),
)


def draw(chance: Random) -> tuple:
    """One step, each as likely."""
    name, *choices = chance.choice(STEPS)
    return name, *(chance.choice(options) for options in choices)


def of(most: int, share: int) -> int:
    """So many tenths of `most`, which may be nothing; more than that for eleven."""
    return most + 1 if share == 11 else most * share // 10


def pick(number: int, everything: Sequence[T], preferred: Sequence[T]) -> T:
    """One of the preferred three times out of four, if there are any."""
    choice = preferred if preferred and number % 4 else everything
    return choice[number // 4 % len(choice)]


@dataclass
class Provision:
    """An operator's stake for one slasher as it should be; `thaws` are the times of its thaws."""

    amount: int = 0
    thawing: int = 0
    thawed_at: int = 0
    locked: int = 0

    @property
    def reach(self) -> int:
        """What the slasher can take, locked or not."""
        return self.amount + self.thawing

    def take_thawing(self, amount: int) -> None:
        self.thawing -= amount
        if self.thawing == 0:
            self.thawed_at = 0

    def state(self) -> tuple[int, int, int, int]:
        return self.amount, self.thawing, self.thawed_at, self.locked


@dataclass
class Node:
    """An operator as it should be: its provisions for both slashers and for nobody, and its node keys."""

    provisions: list[Provision] = field(default_factory=lambda: [Provision() for _ in range(3)])
    keys: list[tuple[str, int]] = field(default_factory=list)

    @property
    def stake(self) -> int:
        return sum(provision.amount for provision in self.provisions)

    @property
    def thawing(self) -> int:
        return sum(provision.thawing for provision in self.provisions)


class Machine:
    """Persons 0 and 1 are operators, 2 is one without tokens, 3 and 4 slash. Anybody can be a victim."""

    def __init__(self, registry: Any, token: Any, census: Any) -> None:
        self.registry, self.token, self.census = registry, token, census
        self.people, self.haven = accounts[1:6], accounts[9]
        self.whose = [*self.people[3:], NOBODY]
        self.nodes = [Node() for _ in range(3)]
        self.wealth = [START, START, 0, 0, 0]  # credits included
        self.credits, self.burned, self.withdrawn = [0] * 5, 0, 0
        self.refused = [False] * 5
        self.operators = Operators(registry, token)
        for person, node in zip(self.people, self.nodes, strict=False):
            key = fresh_key()
            tx = self.operators.register(person, key)
            node.keys.append((key.address, tx.timestamp))
            token.approve(registry, MAX_UINT, {"from": person})
        for operator in self.people[:2]:
            token.mint(operator, START, {"from": operator})
        token.mint(registry, DONATED, {"from": self.haven})
        self.burned_before = token.balanceOf(BURNED)
        for who in range(2):
            self.stake(who, 1)
            self.provision(who, 0, 4)
            self.provision(who, 1, 4)
        self.thaw(0, 0, 7)
        self.refuse(2)

    def pick_thawing(self, number: int) -> tuple[int, int]:
        """An operator and a provision in which something thaws, mostly."""
        everything = [(who, whose) for who in range(3) for whose in range(3)]
        return pick(
            number, everything, [(i, j) for i, j in everything if self.nodes[i].provisions[j].thawing]
        )

    # Operators

    def stake(self, who: int, share: int) -> None:
        tokens = self.wealth[who] - self.credits[who]
        amount, sender = of(tokens, share), {"from": self.people[who]}
        if amount == 0:
            with reverts("ZeroAmount"):
                self.registry.stake(amount, sender)
        elif amount > tokens:
            with reverts("ERC20InsufficientBalance", self.people[who], tokens, amount):
                self.registry.stake(amount, sender)
        else:
            self.registry.stake(amount, sender)
            self.nodes[who].provisions[2].amount += amount
            self.wealth[who] -= amount

    def provision(self, who: int, whose: int, share: int) -> None:
        free, entry = self.nodes[who].provisions[2], self.nodes[who].provisions[whose]
        amount = of(free.amount, share)
        arguments = self.whose[whose], amount, {"from": self.people[who]}
        if self.whose[whose] == NOBODY:
            error: tuple = ("InvalidSlasher", NOBODY)
        elif amount == 0:
            error = ("ZeroAmount",)
        elif amount > free.amount:  # N2
            error = ("AmountOutOfRange", amount, free.amount)
        else:
            self.registry.provision(*arguments)
            free.amount -= amount
            entry.amount += amount
            return
        with reverts(*error):
            self.registry.provision(*arguments)

    def thaw(self, who: int, whose: int, share: int) -> None:
        entry = self.nodes[who].provisions[whose]
        amount = of(entry.amount, share)
        arguments = self.whose[whose], amount, {"from": self.people[who]}
        if amount == 0:
            with reverts("ZeroAmount"):
                self.registry.thaw(*arguments)
        elif amount > entry.amount:
            with reverts("AmountOutOfRange", amount, entry.amount):
                self.registry.thaw(*arguments)
        else:
            entry.thawed_at = self.registry.thaw(*arguments).timestamp + UNBONDING
            entry.amount -= amount
            entry.thawing += amount

    def cancel_thaw(self, number: int) -> None:
        who, whose = self.pick_thawing(number)
        entry = self.nodes[who].provisions[whose]
        arguments = self.whose[whose], {"from": self.people[who]}
        if entry.thawing == 0:
            with reverts("NothingThawing", self.people[who], self.whose[whose]):
                self.registry.cancelThaw(*arguments)
        else:
            self.registry.cancelThaw(*arguments)
            entry.amount, entry.thawing, entry.thawed_at = entry.reach, 0, 0

    def withdraw(self, number: int, seconds: int) -> None:
        who, whose = self.pick_thawing(number)
        entry = self.nodes[who].provisions[whose]
        now = chain[-1].timestamp + seconds
        next_block_at(now)
        arguments = self.whose[whose], self.haven, {"from": self.people[who]}
        held = max(0, entry.locked - entry.amount) if now < entry.thawed_at + UNBONDING else 0
        if entry.thawing == 0:
            error: tuple = ("NothingThawing", self.people[who], self.whose[whose])
        elif now < entry.thawed_at:  # S5
            error = ("TooEarly", now, entry.thawed_at)
        elif held == entry.thawing:  # N4
            error = ("StakeLocked", held, entry.thawed_at + UNBONDING)
        else:
            self.registry.withdraw(*arguments)
            self.withdrawn += entry.thawing - held
            entry.take_thawing(entry.thawing - held)
            entry.locked = min(entry.locked, entry.reach)
            return
        with reverts(*error):
            self.registry.withdraw(*arguments)

    def rotate_key(self, who: int) -> None:
        key, person = fresh_key(), self.people[who]
        proof = self.operators.prove(person, key).packed
        tx = self.registry.rotateKey(key.address, proof, {"from": person})
        self.nodes[who].keys.append((key.address, tx.timestamp))

    # Slashers

    def lock(self, who: int, whose: int, share: int) -> None:
        entry = self.nodes[who].provisions[whose]
        now = chain[-1].timestamp + 1
        next_block_at(now)
        room = max(0, (entry.reach if now < entry.thawed_at else entry.amount) - entry.locked)
        amount = of(room, share)
        arguments = self.people[who], amount, {"from": self.whose[whose]}
        if amount == 0:
            with reverts("ZeroAmount"):
                self.registry.lock(*arguments)
        elif amount > room:
            with reverts("AmountOutOfRange", amount, room):
                self.registry.lock(*arguments)
        else:
            self.registry.lock(*arguments)
            entry.locked += amount

    def unlock(self, who: int, whose: int, share: int) -> None:
        entry = self.nodes[who].provisions[whose]
        amount = of(entry.locked, share)
        if amount:
            self.registry.unlock(self.people[who], amount, {"from": self.whose[whose]})
            entry.locked -= min(amount, entry.locked)

    def slash(self, who: int, whose: int, share: int, victim: int) -> None:
        entry = self.nodes[who].provisions[whose]
        free = entry.reach - entry.locked
        amount = of(free // 2, share)
        arguments = self.people[who], amount, self.people[victim], {"from": self.whose[whose]}
        if amount == 0:
            with reverts("ZeroAmount"):
                self.registry.slash(*arguments)
        elif 2 * amount > free:  # N3
            with reverts("AmountOutOfRange", 2 * amount, free):
                self.registry.slash(*arguments)
        else:
            self.registry.slash(*arguments)
            from_thawing = min(2 * amount, entry.thawing)
            entry.take_thawing(from_thawing)
            entry.amount -= 2 * amount - from_thawing
            self.burned += amount  # S2
            self.wealth[victim] += amount
            self.credits[victim] += amount if self.refused[victim] else 0

    # Tokens and credits

    def refuse(self, person: int) -> None:
        self.refused[person] = not self.refused[person]
        refusal = REVERT if self.refused[person] else ACCEPTED
        self.token.refuse(self.people[person], refusal, {"from": self.haven})

    def withdraw_credit(self, number: int) -> None:  # S3
        person = pick(number, range(5), [person for person in range(5) if self.credits[person]])
        owner, credit = self.people[person], self.credits[person]
        arguments = self.token, self.haven, {"from": owner}
        if credit == 0:
            with reverts("NothingToWithdraw", owner, self.token):
                self.registry.withdrawCredit(*arguments)
        else:
            self.registry.withdrawCredit(*arguments)
            self.wealth[person] -= credit
            self.withdrawn += credit
            self.credits[person] = 0

    # Invariants

    def check(self) -> None:
        self.check_money()
        for person, node in zip(self.people, self.nodes, strict=False):
            self.check_node(person, node)

    def check_money(self) -> None:  # N1, S2, S3
        total = sum(node.stake + node.thawing for node in self.nodes)
        assert self.registry.total() == total
        everybody = [*self.people, self.haven, BURNED]
        held, tokens, credits = self.census.take(self.registry, self.token, everybody)
        assert held == total + sum(self.credits) + DONATED
        assert list(credits) == [*self.credits, 0, 0]
        wealth = [mine - credit for mine, credit in zip(self.wealth, self.credits, strict=True)]
        assert list(tokens) == [*wealth, self.withdrawn, self.burned_before + self.burned]

    def check_node(self, person: Any, node: Node) -> None:  # N2, N4, N5
        """No other call has touched any of it."""
        slashers, provisions = self.registry.provisions(person)
        found = {slasher: tuple(provision) for slasher, provision in zip(slashers, provisions, strict=True)}
        for whose, provision in zip(self.whose, node.provisions, strict=True):
            assert found.get(whose, (0, 0, 0, 0)) == provision.state()
            assert provision.locked <= provision.reach
            assert provision.thawed_at <= chain[-1].timestamp + UNBONDING

    def check_end(self) -> None:
        listed = [node[0] for node in self.registry.nodes(0, 0, 10)[0]]
        enough = (p for p, n in zip(self.people, self.nodes, strict=False) if n.stake >= MIN_STAKE)
        assert listed == list(enough)
        for person, node in zip(self.people, self.nodes, strict=False):
            assert self.registry.node(person)[5:7] == (node.stake, node.thawing)
            ends = [begun for _, begun in node.keys[1:]] + [FOREVER]
            for (key, begun), end in zip(node.keys, ends, strict=True):
                assert self.registry.keyPeriod(key) == (person, begun, end)

    def leave(self) -> None:  # N5
        """Everybody leaves, two unbonding times from now, though no slasher unlocks anything."""
        for person, node in zip(self.people, self.nodes, strict=False):
            for whose, provision in zip(self.whose, node.provisions, strict=True):
                if provision.amount:
                    self.registry.thaw(whose, provision.amount, {"from": person})
        next_block_at(chain[-1].timestamp + 2 * UNBONDING)
        for person, node in zip(self.people, self.nodes, strict=False):
            for whose, provision in zip(self.whose, node.provisions, strict=True):
                if provision.reach:
                    self.registry.withdraw(whose, self.haven, {"from": person})
        assert self.registry.total() == 0
        assert self.token.balanceOf(self.registry) == sum(self.credits) + DONATED


@pytest.fixture(scope="module")
def contracts(NodeRegistry: Any, RefusingToken: Any, Census: Any) -> tuple[Any, ...]:
    deployer = {"from": accounts[9]}
    token = RefusingToken.deploy(deployer)
    return NodeRegistry.deploy(token, MIN_STAKE, UNBONDING, deployer), token, Census.deploy(deployer)


def test_registry(contracts: tuple[Any, ...], seed: int, fn_isolation: Any) -> None:
    machine, chance = Machine(*contracts), Random(seed)
    for _ in range(20):
        name, *arguments = draw(chance)
        print(name, *arguments)  # shown if it fails
        getattr(machine, name)(*arguments)
        machine.check()
    machine.check_end()
    machine.leave()
