"""The arithmetic of fees in Python is that of the contract, at any time of a member's life."""

import pytest
from tests.services.chain.endpoint import ask
from tests.services.chain.money import PAYEE
from tests.services.chain.test_membership import PARAMETERS, RATE, STAKE, registered
from tests.services.chain.test_membership import membership as membership
from tests.services.chain.test_membership import payer as payer

from waypost.chain.embedded import EmbeddedChain
from waypost.chain.fee_streams import Tariff, home_share
from waypost.chain.membership import MemberRecord, Membership
from waypost.chain.transactions import Sender

PERIODS = 2


@pytest.fixture
async def tariff(membership: Membership) -> Tariff:
    return await Tariff.of(membership)


async def test_the_tariff_is_what_the_contract_was_made_with(membership: Membership, tariff: Tariff) -> None:
    assert tariff == Tariff(stake_per_rate=10, fee_per_rate=5, period=PARAMETERS[1])
    assert await membership.cost(RATE, 3) == (tariff.stake(RATE), tariff.fee(RATE, 3))
    assert tariff.stake(RATE) == STAKE
    assert [home_share(fee) for fee in (0, 1, 2, 4, 5, 9)] == [0, 0, 1, 3, 4, 7]


@pytest.mark.parametrize("end", ["stays", "exits at once", "exits later", "expires", "is extended"])
async def test_the_stream_is_the_contracts(
    chain: EmbeddedChain, membership: Membership, payer: Sender, tariff: Tariff, end: str
) -> None:
    receipt = await payer.send(membership.register(7, RATE, PAYEE, PERIODS))
    record = registered(membership, receipt)
    if end == "exits at once":
        await payer.send(membership.exit(record))
    elif end == "is extended":
        await payer.send(membership.extend(record, 1))
    collected, kept = 0, list[int]()
    for step in (1, 40, 59, 1, 60, 39, 1, 1, 150):
        await ask(chain.url, "evm_increaseTime", step)
        await ask(chain.url, "evm_mine")
        if end == "exits later" and step == 60:
            await payer.send(membership.exit(record))
        if end == "expires" and step == 150:
            await payer.send(membership.expire(record))
        head = await membership.connection.head()
        state = await membership.member(7, head.hash)
        assert state is not None
        assert tariff.paid_until(record, state) == await membership.paid_until(record)
        assert tariff.collected(record, state) == collected
        kept.append(tariff.kept(record, state, head.timestamp))
        # What is asked now is answered as of a moment that is not before the head, and hardly after it.
        moments = range(head.timestamp, head.timestamp + 20)
        assert await membership.collectable(record) in [
            tariff.collectable(record, state, now) for now in moments
        ]
        if step in (59, 39):
            receipt = await payer.send(membership.collect(PAYEE, [record]))
            collected += await _exactly(membership, tariff, record, receipt.block_number)
    state = await membership.member(7)
    assert state is not None
    paid, burned = tariff.collectable(record, state, 2**39)
    begun = {"exits at once": 1, "is extended": 3}.get(end, PERIODS)
    assert collected + paid == home_share(tariff.fee(RATE, begun))
    assert burned + paid <= tariff.fee(RATE, begun)
    # What it was sure of at any time, it got; also when the member left right then.
    assert kept == sorted(kept)
    assert kept[0] == home_share(tariff.fee(RATE, 1))
    assert kept[-1] == collected + paid


async def _exactly(membership: Membership, tariff: Tariff, record: MemberRecord, number: int) -> int:
    """What a collection in this block paid, by what the block before it said."""
    block = await membership.connection.block(number)
    assert block is not None
    before = await membership.member(record.id_commitment, block.parent_hash)
    after = await membership.member(record.id_commitment, block.hash)
    assert before is not None
    assert after is not None
    paid, _ = tariff.collectable(record, before, block.timestamp)
    assert tariff.collected(record, after) - tariff.collected(record, before) == paid
    return paid
