"""A member's fees pay for the gas that its home node spends on it, whenever it leaves; who paid can leave."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.services.node.books import IDENTITY, address
from tests.services.node.home_node import FEE, home_node, person
from tests.services.node.home_node import deployed as deployed
from tests.services.node.membership import RATE, Registry, deploy_membership
from tests.services.node.money_node import NodeKeys, until
from tests.services.node.world import ETHER, World

from waypost.chain.connection import Call
from waypost.chain.fee_streams import Tariff, home_share
from waypost.chain.membership import MemberRecord, MemberState
from waypost.chain.transactions import Sender
from waypost.errors import MembershipRefused
from waypost.node import transactions
from waypost.node.backends.sqlite import Database
from waypost.node.claim_plan import WEI
from waypost.node.exits import ExitState
from waypost.node.loops import Signal
from waypost.node.member_actions import EXIT_GAS, WITHDRAWAL_GAS, Action, MemberActions
from waypost.node.outbox import MAX_RAISE
from waypost.node.registration_rules import EXIT, EXTENSION, REGISTRATION, WITHDRAWAL
from waypost.node.submissions import Kind, Record, Submissions
from waypost.node.transactions import Attempt, Draft, State, Transaction

TARIFF = Tariff(stake_per_rate=1, fee_per_rate=1, period=100)
PERIOD = 1_000
GAS = {REGISTRATION: 110_000, EXTENSION: 77_000, EXIT: EXIT_GAS, WITHDRAWAL: WITHDRAWAL_GAS}
TOKEN_PER_ETHER = 10**12
ids = itertools.count(1)


class DearOutbox:
    """Mines everything at once, and uses up its gas: at twice the price asked for, or, where `worst`, at the
    highest to which the real one might raise it."""

    def __init__(self, db: Database) -> None:
        self.db, self.price, self.worst, self.spent, self.gas = db, 1, True, 0, 0

    async def rehearse(self, call: Call) -> tuple[bytes, int]:
        return b"", self.gas

    async def gas_price(self) -> int:
        return self.price

    async def post(self, draft: Draft, record: Record) -> Transaction:
        assert draft.ceiling is not None
        assert draft.ceiling >= self.price
        paid = min(draft.ceiling, MAX_RAISE * self.price if self.worst else 2 * self.price)
        nonce = next(ids)
        attempt = Attempt(nonce.to_bytes(32), b"", paid, 0, False, 0)

        def store(connection: Any) -> Transaction:
            found = transactions.add(connection, draft, nonce, attempt)
            record(connection, found)
            transactions.conclude(connection, attempt.hash, State.MINED, nonce)
            return transactions.find(connection, found)

        self.spent += draft.gas * paid
        return await self.db.write(store)


class Home:
    """A node's account of one member, which pays `rate` in each period."""

    def __init__(self, db: Database, rate: int, periods: int) -> None:
        self.outbox, self.commitment = DearOutbox(db), next(ids)
        submissions = Submissions(
            cast(Any, self.outbox),
            db,
            lambda: 0,
            cap_per_hour=10**9,
            token_per_ether=TOKEN_PER_ETHER,
        )
        contract: Any = type("Contract", (), {"address": address("contract")})
        self.actions = MemberActions(contract, submissions, db, Signal())
        who = address("member")
        self.record = MemberRecord(self.commitment, who, who, 0, rate, 1_000, periods)

    async def send(self, kind: Kind, now: int, added: int = 0, left_at: int = 0) -> bool:
        """Whether the node sends it."""
        state = MemberState(b"", added, 0, left_at, False)
        kept = TARIFF.kept(self.record, state, now)
        later = {WITHDRAWAL: 0, EXIT: WITHDRAWAL_GAS}.get(kind, EXIT_GAS + WITHDRAWAL_GAS)
        action = Action(kind, self.commitment, self.record.owner, b"", later)
        self.outbox.gas = GAS[kind]
        try:
            await self.actions.send(action, Call(address("contract"), b""), kept=kept)
        except MembershipRefused:
            return False
        return True

    @property
    def cost(self) -> int:
        """Base units that were spent, rounded up."""
        return -(-self.outbox.spent * TOKEN_PER_ETHER // WEI)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    found = Database(tmp_path_factory.mktemp("actions"), IDENTITY)
    yield found
    asyncio.run(found.close())


prices = st.integers(10**8, 10**12)
"""Wei; a base unit is a million of them."""


@settings(max_examples=150, deadline=None)
@given(
    rate=st.integers(1, 10**9),
    periods=st.integers(1, 5),
    times=st.lists(st.integers(1_000, 2_000), min_size=4, max_size=4).map(sorted),
    asked=st.lists(prices, min_size=4, max_size=4),
    worst=st.booleans(),
)
def test_the_node_spends_no_more_on_a_member_than_it_keeps(
    db: Database, rate: int, periods: int, times: list[int], asked: list[int], worst: bool
) -> None:
    home, added, left_at = Home(db, rate, periods), 0, 0
    home.outbox.worst = worst
    for kind, now, price in zip((REGISTRATION, EXTENSION, EXIT, WITHDRAWAL), times, asked, strict=True):
        home.outbox.price = price
        sent = asyncio.run(home.send(kind, now, added, left_at))
        added += sent and kind is EXTENSION
        left_at = now if kind is EXIT else left_at
        # The contract's promise: whoever leaves now has paid for the period that has begun.
        elapsed = (left_at or now) - home.record.start
        begun = min(max(1, -(-elapsed // TARIFF.period)), periods + added)
        assert home.cost <= home_share(rate * begun)


@settings(max_examples=100, deadline=None)
@given(rate=st.integers(1, 10**9), periods=st.integers(1, 5), price=prices, worst=st.booleans())
def test_who_is_registered_can_leave_at_the_same_price_of_gas(
    db: Database, rate: int, periods: int, price: int, worst: bool
) -> None:
    home = Home(db, rate, periods)
    home.outbox.price, home.outbox.worst = price, worst
    if not asyncio.run(home.send(REGISTRATION, 1_000)):
        # 2.4 times all that it may want: the price may double, and the limit is not the estimate.
        needed = (GAS[REGISTRATION] + EXIT_GAS + WITHDRAWAL_GAS) * price * TOKEN_PER_ETHER / WEI
        assert home_share(rate) < 2.4 * needed + 3
        return
    left_at = 1_000 + periods * TARIFF.period
    assert asyncio.run(home.send(EXIT, left_at))
    assert asyncio.run(home.send(WITHDRAWAL, left_at + 50, left_at=left_at))


# ---- On a chain ----


@pytest.fixture
async def registry(world: World) -> Registry:
    return await deploy_membership(world, period=PERIOD)


async def test_who_registers_and_leaves_at_once_has_paid_for_it(world: World, keys: NodeKeys) -> None:
    registry = await deploy_membership(world, period=4, window=1)
    thief = await person(registry, keys, tokens=10**7)
    exit_ = thief.exit()
    signature = exit_.sign(registry.contract.domain(), thief.key)
    fee = FEE * 10_000
    per_ether = await _worth(registry, keys, gas=800_000, amount=home_share(fee))
    async with home_node(registry, keys, token_per_ether=per_ether) as node, node.running():
        await node.register(thief, rate=10_000, periods=100)
        await node.idle()

        async def has_left() -> bool:
            await world.mine()
            return (await node.exits.leave(exit_, signature)).state is ExitState.WITHDRAWN

        await until(has_left)
        await node.idle()
        limits = await node.db.read(
            lambda connection: dict(connection.execute("SELECT purpose, gas FROM transactions").fetchall())
        )
    # What was set aside for leaving was enough.
    assert EXIT_GAS * 9 // 10 < limits["exit"] * 5 // 6 <= EXIT_GAS
    assert WITHDRAWAL_GAS * 9 // 10 < limits["withdrawal"] * 5 // 6 <= WITHDRAWAL_GAS
    assert await world.connection.balance(thief.address) == 0
    assert await world.connection.nonce(keys.gas_account) == 3
    spent = 10 * ETHER - await world.connection.balance(keys.gas_account)
    earned = await world.token.balance_of(keys.payee)
    assert 0 < spent * per_ether <= earned * WEI
    assert earned < 100 * home_share(fee)  # which it paid, and has got back


async def test_the_first_period_pays_for_a_registration(registry: Registry, keys: NodeKeys) -> None:
    anna, carl = [await person(registry, keys, tokens=10**6) for _ in range(2)]
    per_ether = await _worth(registry, keys, gas=800_000, amount=home_share(FEE * 100))
    async with home_node(registry, keys, token_per_ether=per_ether) as node, node.running():
        for rate, periods in ((50, 1), (50, 100)):
            with pytest.raises(MembershipRefused, match=f"sure of {home_share(FEE * 50)} so far") as refusal:
                await node.register(anna, rate=rate, periods=periods)
            assert int(str(refusal.value.details["cost"])) > int(str(refusal.value.details["price"])) > 0
        for who, rate in ((anna, 105), (carl, 400)):
            await node.register(who, rate=rate)
        await node.idle()
        more = anna.extension(periods=9)
        with pytest.raises(MembershipRefused, match="another period"):
            await node.registrations.extend(more, anna.pay(more, amount=9 * FEE * 105))
        more = carl.extension()
        assert (await node.registrations.extend(more, carl.pay(more, amount=FEE * 400))).extended


async def test_whose_fees_are_small_leaves_when_more_of_them_has_streamed(
    registry: Registry, keys: NodeKeys
) -> None:
    record = await registry.register(5, rate=100, home=keys.payee, periods=9)
    anna = replace(await person(registry, keys), secret=5, key=registry.payer._key)
    # Three periods pay for 2.4 times an exit and what the withdrawal after it may need.
    per_ether = await _worth(registry, keys, gas=480_000, amount=3 * home_share(FEE * 100))
    async with home_node(registry, keys, token_per_ether=per_ether) as node:
        await node.catch_up()
        with pytest.raises(MembershipRefused, match=r"exit needs .* another period"):
            await node.leave(anna)
        assert await registry.world.connection.nonce(keys.gas_account) == 0
        await registry.world.rpc("evm_increaseTime", 2 * PERIOD + 200)
        await registry.world.mine()
        async with node.running():
            assert (await node.leave(anna)).state is ExitState.EXITED
        assert record.owner == registry.payer.address


async def test_who_makes_anothers_extension_fail_uses_up_nothing(registry: Registry, keys: NodeKeys) -> None:
    world, anna = registry.world, await person(registry, keys)
    thief = replace(await person(registry, keys, tokens=FEE * RATE), secret=anna.secret)
    await world.fund(thief.address, ETHER // 10)
    async with home_node(registry, keys, wait_seconds=0) as node:

        async def spent() -> int:
            return await node.db.read(lambda connection: node.actions._spent(connection, anna.commitment))

        await node.register(anna)
        await node.catch_up()
        before = await spent()
        assert before > 0
        async with world.mining_by_hand():
            owner, transfer = Sender(world.connection, thief.key), world.token.transfer(keys.payee, 1)
            await owner.broadcast(await owner.sign(transfer, gas=100_000))
            await node.extend(thief)
            assert await spent() == before
            await world.mine()
        await node.catch_up()
        assert await node.states() == [State.MINED, State.REVERTED]
        assert await spent() == before
        await node.extend(anna)
        assert await spent() > before


async def _worth(registry: Registry, keys: NodeKeys, *, gas: int, amount: int) -> int:
    """Base units per ether with which so much gas is worth the amount."""
    async with home_node(registry, keys) as node:
        return amount * WEI // (gas * await node.money.outbox.gas_price())
