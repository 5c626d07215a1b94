"""What the registry still lacks of a node, entry or stake: a plan, so that it can be shown and repeated."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from waypost.chain.connection import Connection, connect
from waypost.chain.registry import RegisteredNode, Registry
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.cli.amounts import Unit
from waypost.errors import InsufficientFunds, InvalidConfig
from waypost.node.descriptor import OFFERED
from waypost.node.settings import NodeConfig
from waypost.protocol.nodes import NodeKey
from waypost.protocol.signatures import address_of

SERVICES = int(OFFERED)


@dataclass(frozen=True, slots=True)
class RegistrationPlan:
    """`steps` are of "register", "update", "approve" and "stake"; amounts in base units."""

    config: NodeConfig
    unit: Unit
    steps: tuple[str, ...]
    stake: int
    missing: int
    balance: int

    @property
    def staked(self) -> str:
        """The stake, for people."""
        return f"a stake of {self.unit.show(self.stake)}"

    def to_json(self) -> dict[str, object]:
        """The result of `waypost node register`."""
        return {
            "operator": self.config.operator,
            "endpoint": self.config.endpoint,
            "payee": self.config.payee,
            "steps": list(self.steps),
            "stake": str(self.stake),
            "missing": str(self.missing),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        place = f"{self.config.endpoint}, paid at {self.config.payee}"
        words = {
            "register": f"register {self.config.operator} at {place}",
            "update": f"change the entry to {place}",
            "approve": f"let the registry take {self.unit.show(self.missing)}",
            "stake": f"stake {self.unit.show(self.missing)}",
        }
        if not self.steps:
            return ["Everything is done already."]
        return ["Transactions:", *(f"  {words[step]}" for step in self.steps)]


class Registration:
    """One node and the registry of its chain."""

    def __init__(self, config: NodeConfig, connection: Connection, unit: Unit) -> None:
        self._config, self._connection, self._unit = config, connection, unit
        self._registry = Registry(connection, config.registry)
        self._token = Token(connection, config.token)

    @classmethod
    @asynccontextmanager
    async def open(cls, config: NodeConfig) -> AsyncIterator["Registration"]:
        """Connect to the node's chain."""
        async with await connect(config.rpc_url, config.chain_id) as connection:
            yield cls(config, connection, await Unit.of(Token(connection, config.token)))

    async def plan(self, stake: str | None) -> RegistrationPlan:
        """What has to be done to have `stake` whole tokens, or the minimum, behind the node."""
        config, found = self._config, await self._registry.node(self._config.operator)
        minimum = await self._registry.min_stake()
        wanted = minimum if stake is None else self._unit.parse(stake, "stake")
        if wanted < minimum:
            raise InvalidConfig(
                f"The stake is {self._unit.show(wanted)}; the registry asks for {self._unit.show(minimum)}.",
                given=str(wanted),
                minimum=str(minimum),
            )
        held = found.stake if found else 0
        missing = max(0, wanted - held)
        steps = self._entry_steps(found)
        if missing:
            allowed = await self._token.allowance(config.operator, config.registry)
            steps += [] if allowed >= missing else ["approve"]
            steps.append("stake")
        balance = await self._token.balance_of(config.operator)
        return RegistrationPlan(config, self._unit, tuple(steps), held, missing, balance)

    def require_tokens(self, plan: RegistrationPlan) -> None:
        """Raises InsufficientFunds when the operator does not have the stake."""
        if plan.balance < plan.missing:
            raise InsufficientFunds(
                f"{plan.config.operator} has {self._unit.show(plan.balance)}; "
                f"{self._unit.show(plan.missing)} more have to be staked. "
                "A test token can be minted: `waypost token mint`.",
                account=plan.config.operator,
                balance=str(plan.balance),
                needed=str(plan.missing),
            )

    async def carry_out(
        self, plan: RegistrationPlan, operator_key: bytes, node_key: bytes, progress: Callable[[str], None]
    ) -> None:
        """Send the plan's transactions, one after the other."""
        config, registry, sender = self._config, self._registry, Sender(self._connection, operator_key)
        proof = NodeKey(config.operator, address_of(node_key)).sign(registry.domain(), node_key)
        calls = {
            "register": registry.register(
                SERVICES, address_of(node_key), config.payee, config.endpoint, proof
            ),
            "update": registry.update(SERVICES, config.payee, config.endpoint),
            "approve": self._token.approve(config.registry, plan.missing),
            "stake": registry.stake(plan.missing),
        }
        for step in plan.steps:
            receipt = await sender.send(calls[step])
            progress(f"{step}: 0x{receipt.hash.hex()}")

    def _entry_steps(self, found: RegisteredNode | None) -> list[str]:
        if found is None:
            return ["register"]
        entry = (found.services, found.payout, found.endpoint)
        wanted = (SERVICES, self._config.payee, self._config.endpoint)
        return [] if entry == wanted else ["update"]
