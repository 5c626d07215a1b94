"""N1 and N5: operators stake, thaw and leave; a stranger can neither touch nor delay it. See README.md."""

from dataclasses import dataclass
from typing import Any

from brownie import accounts, chain
from brownie.test import strategy

from anvil import next_block_at
from channel_ledger import DOLLAR, MAX_UINT
from errors import reverts
from operators import Operators

START = 10_000 * DOLLAR
MIN_STAKE = 50 * DOLLAR
UNBONDING = 600


@dataclass
class Modelled:
    """A node's stake as it should be."""

    stake: int = 0
    thawing: int = 0
    thawed_at: int = 0
    withdrawn: int = 0


class RegistryMachine:
    """Two operators, and a stranger who registered without stake."""

    who = strategy("uint8", max_value=2)
    amount = strategy("uint96", max_value=100 * DOLLAR)
    seconds = strategy("uint16", min_value=1, max_value=2 * UNBONDING)

    def __init__(cls: Any, registry: Any, token: Any) -> None:  # noqa: N805 (Brownie calls it with the class)
        cls.registry, cls.token = registry, token
        cls.people, cls.haven = accounts[1:4], accounts[9]
        operators = Operators(registry, token)
        for person in cls.people:
            operators.register(person)
            token.approve(registry, MAX_UINT, {"from": person})
        for operator in cls.people[:2]:
            token.mint(operator, START, {"from": operator})

    def setup(self) -> None:
        self.nodes = [Modelled() for _ in self.people]
        self.donated = 0

    def rule_stake(self, who: int, amount: int) -> None:
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

    def rule_thaw(self, who: int, amount: int) -> None:
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

    def rule_cancel_thaw(self, who: int) -> None:
        node, sender = self.nodes[who], {"from": self.people[who]}
        if node.thawing == 0:
            with reverts("NothingThawing", self.people[who]):
                self.registry.cancelThaw(sender)
        else:
            self.registry.cancelThaw(sender)
            node.stake, node.thawing, node.thawed_at = node.stake + node.thawing, 0, 0

    def rule_withdraw(self, who: int, seconds: int) -> None:
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

    def rule_update(self, who: int) -> None:
        self.registry.update(1, self.haven, "https://node.example", b"\x01" * 32, {"from": self.people[who]})

    def rule_donate(self, amount: int) -> None:
        self.token.mint(self.registry, amount, {"from": self.haven})
        self.donated += amount

    def invariant_total(self) -> None:  # N1
        total = sum(node.stake + node.thawing for node in self.nodes)
        assert self.registry.total() == total
        assert self.token.balanceOf(self.registry) == total + self.donated
        assert self.token.balanceOf(self.haven) == sum(node.withdrawn for node in self.nodes)

    def invariant_nodes(self) -> None:  # N5: nobody but the operator moves any of it
        for person, node in zip(self.people, self.nodes, strict=True):
            state = self.registry.node(person)
            assert state[5:8] == (node.stake, node.thawing, node.thawed_at)
            assert node.thawed_at <= chain[-1].timestamp + UNBONDING

    def invariant_listed(self) -> None:
        listed = [node[0] for node in self.registry.nodes(0, 0, 10)[0]]
        assert listed == [p for p, n in zip(self.people, self.nodes, strict=True) if n.stake >= MIN_STAKE]

    def teardown(self) -> None:
        """Everybody leaves, one unbonding time from now."""  # N5
        for person, node in zip(self.people, self.nodes, strict=True):
            if node.stake:
                self.registry.thaw(node.stake, {"from": person})
        next_block_at(chain[-1].timestamp + UNBONDING)
        for person, node in zip(self.people, self.nodes, strict=True):
            if node.stake + node.thawing:
                self.registry.withdraw(self.haven, {"from": person})
        assert self.registry.total() == 0
        assert self.token.balanceOf(self.registry) == self.donated


def test_registry(state_machine: Any, NodeRegistry: Any, DevDollar: Any) -> None:
    token = DevDollar.deploy({"from": accounts[9]})
    registry = NodeRegistry.deploy(token, MIN_STAKE, UNBONDING, {"from": accounts[9]})
    state_machine(RegistryMachine, registry, token, settings={"max_examples": 15, "stateful_step_count": 20})
