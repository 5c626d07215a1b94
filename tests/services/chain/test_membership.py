"""The membership binding against the contract itself: every call, every read, every event."""

from typing import Any

import pytest
from tests.services.chain.endpoint import ask
from tests.services.chain.events import decoded, plain
from tests.services.chain.money import PAYEE, PAYER, PAYER_KEY, in_an_hour

from waypost.chain import artifacts, proxy
from waypost.chain.blocks import TransactionReceipt
from waypost.chain.connection import Connection
from waypost.chain.embedded import EmbeddedChain
from waypost.chain.membership import (
    REVEAL_BLOCKS,
    Collected,
    Exited,
    Expired,
    Extended,
    MemberRecord,
    Membership,
    MemberState,
    Registered,
    SlashCommitted,
    Slashed,
    Withdrawn,
)
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.errors import AmountOutOfRange, InvalidMembership, TransactionReverted
from waypost.protocol.memberships import (
    Exit,
    Extension,
    Registration,
    authorize_membership,
    slash_hash,
)

SECRET = 1
COMMITMENT = 0x29176100EAA962BDC1FE6C654D6A3C130E96A4D1168B33848B897DC502820133
OTHERS = range(2, 100)
FINDER: Any = "0x2222222222222222222222222222222222222222"
PARAMETERS = (20, 100, 50, 10, 5)
RATE, PERIODS = 8, 3
STAKE, FEE = 80, 120


@pytest.fixture
async def payer(connection: Connection, sender: Sender, token: Token) -> Sender:
    await sender.send(token.mint(PAYER, 10_000))
    return Sender(connection, PAYER_KEY)


@pytest.fixture
async def membership(connection: Connection, payer: Sender, sender: Sender, token: Token) -> Membership:
    """Deployed as every contract is; the payer lets it move its tokens."""
    init_code = artifacts.load("RlnMembership").init_code((token.address, *PARAMETERS))
    await sender.send(proxy.create(init_code, bytes(32), "RlnMembership"))
    contract = Membership(connection, proxy.address_of(init_code, bytes(32)))
    await payer.send(token.approve(contract.address, 10_000))
    return contract


def registered(membership: Membership, receipt: TransactionReceipt) -> MemberRecord:
    """The record in a registration's event."""
    (event,) = decoded(membership, receipt)
    assert isinstance(event, Registered)
    return MemberRecord.of(event)


@pytest.fixture
async def record(membership: Membership, payer: Sender) -> MemberRecord:
    receipt = await payer.send(membership.register(COMMITMENT, RATE, PAYEE, PERIODS))
    return registered(membership, receipt)


async def test_register_and_read(membership: Membership, token: Token, record: MemberRecord) -> None:
    assert (record.id_commitment, record.owner, record.home_node) == (COMMITMENT, PAYER, PAYEE)
    assert (record.index, record.rate, record.periods) == (0, RATE, PERIODS)
    assert await membership.cost(RATE, PERIODS) == (STAKE, FEE)
    state = await membership.member(COMMITMENT)
    assert state == MemberState(record.hash(), 0, 0, 0, expired=False)
    assert not state.ended
    assert await membership.member(2) is None
    assert await membership.total() == await token.balance_of(membership.address) == STAKE + FEE
    assert await membership.leaves() == 1
    assert await membership.paid_until(record) == record.start + 300
    assert await membership.token() == token.address
    made = await membership.depth(), await membership.period(), await membership.window()
    assert made == PARAMETERS[:3]


async def test_register_for_somebody_without_ether(
    membership: Membership, payer: Sender, sender: Sender, token: Token
) -> None:
    first, second = (Registration(PAYER, n, RATE, PAYEE, PERIODS, in_an_hour()) for n in OTHERS[:2])
    permit = await token.permit(PAYER_KEY, membership.address, 10_000, in_an_hour())
    signature = first.sign(membership.domain(), PAYER_KEY)
    call = membership.register_for(first, signature, permit)
    assert registered(membership, await sender.send(call)).index == 0
    domain = await token.domain()
    authorization = authorize_membership(
        second, STAKE + FEE, membership.address, domain, PAYER_KEY, in_an_hour()
    )
    call = membership.register_with_authorization(second, authorization)
    record = registered(membership, await sender.send(call))
    assert (record.owner, record.index) == (PAYER, 1)
    assert await membership.total() == 2 * (STAKE + FEE)


async def test_extend(
    membership: Membership, payer: Sender, sender: Sender, token: Token, record: MemberRecord
) -> None:
    (extended,) = decoded(membership, await payer.send(membership.extend(record, 2)))
    assert isinstance(extended, Extended)
    assert plain(extended) == {
        "id_commitment": COMMITMENT,
        "payer": PAYER,
        "periods": 2,
        "paid_until": record.start + 500,
    }
    first, second = (Extension(PAYER, COMMITMENT, 1, bytes([n]) * 32, in_an_hour()) for n in (1, 2))
    await sender.send(membership.extend_for(first, record, first.sign(membership.domain(), PAYER_KEY)))
    domain = await token.domain()
    authorization = authorize_membership(second, 40, membership.address, domain, PAYER_KEY, in_an_hour())
    await sender.send(membership.extend_with_authorization(second, record, authorization))
    assert await membership.paid_until(record) == record.start + 700


async def test_collect_and_leave(
    chain: EmbeddedChain, membership: Membership, payer: Sender, sender: Sender, token: Token
) -> None:
    receipt = await payer.send(membership.register(COMMITMENT, RATE, PAYEE, PERIODS))
    record = registered(membership, receipt)
    await ask(chain.url, "evm_increaseTime", 130)  # in the second period
    (collected,) = decoded(membership, await sender.send(membership.collect(PAYEE, [record])))
    assert isinstance(collected, Collected)
    assert collected.home_node == PAYEE
    assert collected.id_commitments == (COMMITMENT,)
    assert collected.paid == await token.balance_of(PAYEE) > 0
    with pytest.raises(TransactionReverted, match="NotOwner"):
        await sender.send(membership.exit(record))
    exit_ = Exit(COMMITMENT, in_an_hour())
    call = membership.exit_for(exit_, record, exit_.sign(membership.domain(), PAYER_KEY))
    (exited,) = decoded(membership, await sender.send(call))
    assert isinstance(exited, Exited)
    assert exited.index == record.index
    assert exited.withdrawable_at == await membership.withdrawable_at(record)
    await ask(chain.url, "evm_increaseTime", 150)
    paid, burned = await membership.collectable(record)
    withdrawn, settled = decoded(membership, await sender.send(membership.withdraw(record)))
    assert isinstance(withdrawn, Withdrawn)
    assert isinstance(settled, Collected)
    assert (settled.paid, settled.burned) == (paid, burned)
    assert (withdrawn.owner, withdrawn.index, withdrawn.amount) == (PAYER, 0, STAKE + FEE // 3)
    state = await membership.member(COMMITMENT)
    assert state is not None
    assert state.ended
    assert await membership.total() == 0


async def test_expire(
    chain: EmbeddedChain, membership: Membership, payer: Sender, sender: Sender, record: MemberRecord
) -> None:
    with pytest.raises(TransactionReverted, match="TooEarly"):
        await sender.send(membership.expire(record))
    await ask(chain.url, "evm_increaseTime", 300)
    (expired,) = decoded(membership, await sender.send(membership.expire(record)))
    assert isinstance(expired, Expired)
    assert (expired.caller, expired.index, expired.reward) == (sender.address, 0, STAKE // 10)
    state = await membership.member(COMMITMENT)
    assert state is not None
    assert state.expired
    assert expired.withdrawable_at == state.left_at + 50
    (exited,) = decoded(membership, await payer.send(membership.exit(await another(membership, payer))))
    assert isinstance(exited, Exited)


async def another(membership: Membership, payer: Sender) -> MemberRecord:
    """One more member of the payer's."""
    return registered(membership, await payer.send(membership.register(7, RATE, PAYEE, PERIODS)))


async def test_slash(
    chain: EmbeddedChain, membership: Membership, sender: Sender, token: Token, record: MemberRecord
) -> None:
    salt = b"\x07" * 32
    slash = slash_hash(SECRET, FINDER, salt)
    receipt = await sender.send(membership.commit_slash(slash))
    (committed,) = decoded(membership, receipt)
    assert isinstance(committed, SlashCommitted)
    assert committed.slash_hash == slash
    assert await membership.committed_at(slash) == receipt.block_number
    with pytest.raises(TransactionReverted, match="RevealOutOfRange"):
        await sender.send(membership.slash(SECRET, FINDER, salt, record))
    while (await membership.connection.head()).number + 1 < receipt.block_number + REVEAL_BLOCKS[0]:
        await ask(chain.url, "evm_mine")
    events = decoded(membership, await sender.send(membership.slash(SECRET, FINDER, salt, record)))
    slashed = events[0]
    assert isinstance(slashed, Slashed)
    assert (slashed.id_commitment, slashed.secret, slashed.index) == (COMMITMENT, SECRET, 0)
    assert slashed.reward == await token.balance_of(FINDER) == STAKE // 5
    assert slashed.burned >= STAKE * 4 // 5
    state = await membership.member(COMMITMENT)
    assert state is not None
    assert state.ended
    with pytest.raises(TransactionReverted, match="NothingToWithdraw"):
        await sender.send(membership.sweep())


def test_a_slash_binds_a_field_element_an_address_and_a_salt() -> None:
    assert slash_hash(SECRET, FINDER, bytes(32)) != slash_hash(SECRET, PAYER, bytes(32))
    with pytest.raises(AmountOutOfRange):
        slash_hash(-1, FINDER, bytes(32))
    with pytest.raises(InvalidMembership):
        slash_hash(SECRET, FINDER, bytes(31))


def test_every_event_of_the_contract_has_its_dataclass(membership: Membership) -> None:
    declared = {e["name"] for e in artifacts.load("RlnMembership").abi if e["type"] == "event"}
    assert declared - {"EIP712DomainChanged"} == {event.__name__ for event in membership.events}
