"""N1 and N5: operators stake, thaw and leave; a stranger can neither touch nor delay it. See README.md."""

from dataclasses import dataclass
from typing import Any

import pytest
from brownie import accounts, chain
from brownie.test import given
from hypothesis import settings
from hypothesis import strategies as st

from anvil import next_block_at
from channel_ledger import DOLLAR, MAX_UINT
from errors import reverts
from operators import Operators

START = 10_000 * DOLLAR
MIN_STAKE = 50 * DOLLAR
UNBONDING = 600
DONATED = 7  # by somebody who sent tokens to the contract itself


who = st.integers(0, 2)
amounts = st.integers(0, 100 * DOLLAR)

STEPS = st.one_of(
    st.tuples(st.just("stake"), who, amounts),
    st.tuples(st.just("thaw"), who, amounts),
    st.tuples(st.just("cancel_thaw"), who),
    st.tuples(st.just("withdraw"), who, st.integers(1, 2 * UNBONDING)),
    st.tuples(st.just("update"), who),
)


@dataclass
class Modelled:
    """A node's stake as it should be."""

    stake: int = 0
    thawing: int = 0
    thawed_at: int = 0
    withdrawn: int = 0


class Machine:
    """Two operators, and a stranger who registered without stake."""

    def __init__(self, registry: Any, token: Any) -> None:
        self.registry, self.token = registry, token
        self.people, self.haven = accounts[1:4], accounts[9]
        self.nodes = [Modelled() for _ in self.people]
        operators = Operators(registry, token)
        for person in self.people:
            operators.register(person)
            token.approve(registry, MAX_UINT, {"from": person})
        for operator in self.people[:2]:
            token.mint(operator, START, {"from": operator})
        token.mint(registry, DONATED, {"from": self.haven})

    def stake(self, who: int, amount: int) -> None:
        node, sender = self.nodes[who], {"from": self.people[who]}
        if amount == 0:
            with reverts("ZeroAmount"):
                self.registry.stake(amount, sender)
        elif who == 2:
            with reverts("ERC20InsufficientBalance", self.people[who], 0, amount):
                self.registry.stake(amount, sender)
        else:
            self.registry.stake(amount, sender)
            node.stake += amount

    def thaw(self, who: int, amount: int) -> None:
        node, sender = self.nodes[who], {"from": self.people[who]}
        if amount == 0:
            with reverts("ZeroAmount"):
                self.registry.thaw(amount, sender)
        elif amount > node.stake:
            with reverts("AmountOutOfRange", amount, node.stake):
                self.registry.thaw(amount, sender)
        else:
            node.thawed_at = self.registry.thaw(amount, sender).timestamp + UNBONDING
            node.stake -= amount
            node.thawing += amount

    def cancel_thaw(self, who: int) -> None:
        node, sender = self.nodes[who], {"from": self.people[who]}
        if node.thawing == 0:
            with reverts("NothingThawing", self.people[who]):
                self.registry.cancelThaw(sender)
        else:
            self.registry.cancelThaw(sender)
            node.stake, node.thawing, node.thawed_at = node.stake + node.thawing, 0, 0

    def withdraw(self, who: int, seconds: int) -> None:
        node, sender = self.nodes[who], {"from": self.people[who]}
        now = chain[-1].timestamp + seconds
        next_block_at(now)
        if now < node.thawed_at:
            with reverts("TooEarly", now, node.thawed_at):
                self.registry.withdraw(self.haven, sender)
        elif node.thawing == 0:
            with reverts("NothingThawing", self.people[who]):
                self.registry.withdraw(self.haven, sender)
        else:
            self.registry.withdraw(self.haven, sender)
            node.withdrawn, node.thawing, node.thawed_at = node.withdrawn + node.thawing, 0, 0

    def update(self, who: int) -> None:
        self.registry.update(1, self.haven, "https://node.example", b"\x01" * 32, {"from": self.people[who]})

    def check(self) -> None:
        self.check_total()
        self.check_nodes()
        self.check_listed()

    def check_total(self) -> None:  # N1
        total = sum(node.stake + node.thawing for node in self.nodes)
        assert self.registry.total() == total
        assert self.token.balanceOf(self.registry) == total + DONATED
        assert self.token.balanceOf(self.haven) == sum(node.withdrawn for node in self.nodes)

    def check_nodes(self) -> None:  # N5: nobody but the operator moves any of it
        for person, node in zip(self.people, self.nodes, strict=True):
            state = self.registry.node(person)
            assert state[5:8] == (node.stake, node.thawing, node.thawed_at)
            assert node.thawed_at <= chain[-1].timestamp + UNBONDING

    def check_listed(self) -> None:
        listed = [node[0] for node in self.registry.nodes(0, 0, 10)[0]]
        assert listed == [p for p, n in zip(self.people, self.nodes, strict=True) if n.stake >= MIN_STAKE]

    def leave(self) -> None:  # N5
        """Everybody leaves, one unbonding time from now."""
        for person, node in zip(self.people, self.nodes, strict=True):
            if node.stake:
                self.registry.thaw(node.stake, {"from": person})
        next_block_at(chain[-1].timestamp + UNBONDING)
        for person, node in zip(self.people, self.nodes, strict=True):
            if node.stake + node.thawing:
                self.registry.withdraw(self.haven, {"from": person})
        assert self.registry.total() == 0
        assert self.token.balanceOf(self.registry) == DONATED


@pytest.fixture(scope="module")
def contracts(NodeRegistry: Any, DevDollar: Any) -> tuple[Any, Any]:
    deployer = {"from": accounts[9]}
    token = DevDollar.deploy(deployer)
    return NodeRegistry.deploy(token, MIN_STAKE, UNBONDING, deployer), token


@given(steps=st.lists(STEPS, min_size=20, max_size=20))
@settings(max_examples=10)
def test_registry(contracts: tuple[Any, Any], steps: list[tuple]) -> None:
    machine = Machine(*contracts)
    for name, *arguments in steps:
        getattr(machine, name)(*arguments)
        machine.check()
    machine.leave()
