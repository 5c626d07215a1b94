"""A node that serves members without ETH, on a real chain: everything but HTTP. And such a member."""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from eth_typing import ChecksumAddress
from tests.services.node.membership import RATE, Registry, RlnNode, deploy_membership
from tests.services.node.money_node import EAGER, MoneyNode, NodeKeys, open_node, until
from tests.services.node.world import Deployed, World, deployed_chain, new_key

from waypost.chain.fee_streams import Tariff
from waypost.chain.membership import MemberRecord, Membership
from waypost.errors import JSON
from waypost.node.collecting import Collector
from waypost.node.exits import ExitResult, Exits
from waypost.node.member_actions import MemberActions
from waypost.node.registration_rules import RegistrationRules
from waypost.node.registrations import ExtensionResult, RegistrationResult, Registrations
from waypost.node.transactions import State
from waypost.protocol.memberships import Exit, Extension, Registration, authorize_membership
from waypost.protocol.poseidon import R
from waypost.protocol.rln import identity_commitment
from waypost.protocol.signatures import address_of

STAKE, FEE = 10, 5
"""For each message in an epoch, as tests deploy the contract."""


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    """A chain of its own, on which time is what clocks say: others' tests move that of theirs."""
    with deployed_chain() as chain:
        yield chain


@pytest.fixture
async def registry(world: World) -> Registry:
    """Without members."""
    return await deploy_membership(world)


@dataclass
class Person:
    """A member-to-be: a payer with tokens and no ETH, and a secret."""

    registry: Registry
    home: ChecksumAddress
    key: bytes = field(default_factory=lambda: new_key("member"))
    secret: int = field(default_factory=lambda: secrets.randbelow(R - 1) + 1)
    deadline: int = field(default_factory=lambda: int(time.time()) + 3600)
    """Unless another is given: the same terms are the same order, in the next second, too."""

    @property
    def address(self) -> ChecksumAddress:
        """Who pays, and owns the stake."""
        return address_of(self.key)

    @property
    def commitment(self) -> int:
        """What is registered."""
        return identity_commitment(self.secret)

    def registration(self, **terms: Any) -> Registration:
        """Of this person with this node."""
        defaults: dict[str, Any] = {
            "payer": self.address,
            "id_commitment": self.commitment,
            "rate": RATE,
            "home_node": self.home,
            "periods": 2,
            "deadline": self.deadline,
        }
        return Registration(**defaults | terms)

    def extension(self, **terms: Any) -> Extension:
        """Of this member."""
        defaults: dict[str, Any] = {
            "payer": self.address,
            "id_commitment": self.commitment,
            "periods": 1,
            "salt": bytes(32),
            "deadline": self.deadline,
        }
        return Extension(**defaults | terms)

    def exit(self, **terms: Any) -> Exit:
        """Of this member."""
        return Exit(**{"id_commitment": self.commitment, "deadline": self.deadline} | terms)

    def pay(
        self,
        purpose: Registration | Extension,
        *,
        amount: int | None = None,
        key: bytes | None = None,
        valid_before: int | None = None,
    ) -> dict[str, JSON]:
        """The authorization, of exactly the price unless another is given."""
        if amount is None:
            registering = isinstance(purpose, Registration)
            rate = purpose.rate if isinstance(purpose, Registration) else RATE
            amount = STAKE * rate * registering + FEE * rate * purpose.periods
        contract, domain = self.registry.contract.address, self.registry.world.token_domain
        before = purpose.deadline if valid_before is None else valid_before
        return authorize_membership(
            purpose, amount, contract, domain, self.key if key is None else key, before
        ).to_json()


class HomeNode:
    """`money` has the gas account and the chain, `rln` the members' book."""

    def __init__(
        self,
        registry: Registry,
        money: MoneyNode,
        tariff: Tariff,
        *,
        token_per_ether: int,
        wait_seconds: float,
    ) -> None:
        self.registry, self.money, self.db = registry, money, money.db
        self.rln = RlnNode(registry, money.connection, money.db, money.clock)
        membership = Membership(money.connection, registry.contract.address)
        rules = RegistrationRules(
            money.keys.payee,
            membership.address,
            membership.domain(),
            registry.world.token_domain,
            tariff,
            paid_in_token=True,
        )
        self.actions = MemberActions(
            membership, money.submissions, money.db, money.signal, wait_seconds=wait_seconds
        )
        self.registrations = Registrations(self.actions, rules)
        self.exits = Exits(self.actions, rules)
        self.collector = Collector(
            membership,
            tariff,
            money.keys.payee,
            money.outbox,
            money.db,
            money.clock,
            money.signal,
            token_per_ether=token_per_ether,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """With its tasks."""
        async with self.money.running(claiming=False), self.rln.following():
            yield

    async def catch_up(self) -> None:
        """Follows the chain to its head in both books, concludes what was mined, and stops."""
        await self.rln.catch_up()
        await self.money.catch_up()
        await self.money.outbox.follow()

    async def idle(self) -> None:
        """Until all that was sent is mined, by the books."""

        async def is_idle() -> bool:
            return (await self.money.outbox.status()).waiting == 0

        await until(is_idle)

    async def states(self) -> list[State]:
        """What became of the transactions."""
        rows = await self.db.read(
            lambda connection: connection.execute("SELECT state FROM transactions ORDER BY id").fetchall()
        )
        return [State(row["state"]) for row in rows]

    async def register(self, person: Person, **terms: Any) -> RegistrationResult:
        """What POST /v1/rln/registrations does."""
        registration = person.registration(**terms)
        return await self.registrations.register(registration, person.pay(registration))

    async def extend(self, person: Person, **terms: Any) -> ExtensionResult:
        """What POST /v1/rln/extensions does."""
        extension = person.extension(**terms)
        return await self.registrations.extend(extension, person.pay(extension))

    async def leave(self, person: Person, **terms: Any) -> ExitResult:
        """What POST /v1/rln/exits does."""
        exit_ = person.exit(**terms)
        return await self.exits.leave(exit_, exit_.sign(self.registry.contract.domain(), person.key))

    async def record(self, person: Person) -> MemberRecord:
        """By the members' book."""
        return await self.rln.members.record(person.commitment)


async def person(registry: Registry, keys: NodeKeys, *, tokens: int = 10_000) -> Person:
    """Somebody with tokens and no ETH."""
    found = Person(registry, keys.payee)
    await registry.world.mint(found.address, tokens)
    return found


@contextlib.asynccontextmanager
async def home_node(
    registry: Registry,
    keys: NodeKeys,
    *,
    token_per_ether: int = 0,
    wait_seconds: float = 20.0,
    **options: Any,
) -> AsyncIterator[HomeNode]:
    """A node on its folder."""
    tariff = await Tariff.of(registry.contract)
    claim = EAGER.model_copy(update={"token_per_ether": token_per_ether})
    async with open_node(registry.world, keys, claim=claim, **options) as money:
        yield HomeNode(registry, money, tariff, token_per_ether=token_per_ether, wait_seconds=wait_seconds)
