"""The bindings against the contracts themselves: every call, every read, every event."""

from typing import Any

import pytest
from tests.services.chain.endpoint import ask
from tests.services.chain.events import decoded, plain
from tests.services.chain.money import PAYEE, PAYEE_KEY, PAYER, PAYER_KEY, in_an_hour, terms

from waypost.chain import artifacts
from waypost.chain.blocks import Log
from waypost.chain.channels import (
    Channels,
    ChannelState,
    ChannelStatus,
    Claimed,
    Closed,
    CloseStarted,
    Opened,
    ToppedUp,
)
from waypost.chain.connection import Connection
from waypost.chain.credits import Credited, CreditWithdrawn
from waypost.chain.embedded import EmbeddedChain
from waypost.chain.registry import (
    Registry,
)
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.errors import InvalidCall, RpcFailed, TransactionReverted, WrongContract
from waypost.protocol.openings import Close, StartClose, TopUp, authorize

STRANGER: Any = "0x1111111111111111111111111111111111111111"


@pytest.fixture
async def payer(connection: Connection, sender: Sender, token: Token) -> Sender:
    """Has 10,000 base units, and has let Channels move them where it calls itself."""
    await sender.send(token.mint(PAYER, 10_000))
    return Sender(connection, PAYER_KEY)


@pytest.fixture
def payee(connection: Connection) -> Sender:
    return Sender(connection, PAYEE_KEY)


# ---- Opening ----


async def test_open_and_read(payer: Sender, channels: Channels, token: Token) -> None:
    offer = terms(channels, token)
    signer = offer.opening.signer
    assert (await channels.channel(PAYEE, token.address, signer)).status is ChannelStatus.NONE
    await payer.send(token.approve(channels.address, 1_000))
    assert await token.allowance(PAYER, channels.address) == 1_000
    receipt = await payer.send(channels.open(offer.signed))
    state = ChannelState(PAYER, 1_000, 0, 0, 2, ChannelStatus.OPEN)
    assert await channels.channel(PAYEE, token.address, signer) == state
    none = ChannelState("0x" + "0" * 40, 0, 0, 0, 0, ChannelStatus.NONE)  # type: ignore[arg-type]
    assert await channels.channels_of(PAYEE, token.address, [signer, STRANGER]) == [state, none]
    assert await channels.channel(PAYEE, token.address, signer, block=receipt.block_number - 1) == none
    assert await channels.channel(PAYEE, token.address, signer, block=receipt.block_hash) == state
    (opened,) = decoded(channels, receipt)
    assert isinstance(opened, Opened)
    assert plain(opened) == {
        "payee": PAYEE,
        "token": token.address,
        "signer": signer,
        "payer": PAYER,
        "amount": 1_000,
        "close_delay": 2,
    }


async def test_open_many(payer: Sender, channels: Channels, token: Token) -> None:
    offers = [terms(channels, token, amount) for amount in (10, 20, 30)]
    await payer.send(token.approve(channels.address, 60))
    receipt = await payer.send(channels.open_many([offer.signed for offer in offers]))
    amounts = [event.amount for event in decoded(channels, receipt) if isinstance(event, Opened)]
    assert amounts == [10, 20, 30]


async def test_open_for_with_a_permit(
    payer: Sender, sender: Sender, channels: Channels, token: Token
) -> None:
    offer = terms(channels, token)
    permit = await token.permit(PAYER_KEY, channels.address, 1_000, in_an_hour())
    signature = offer.opening.sign(channels.domain(), PAYER_KEY)
    await sender.send(channels.open_for(offer.signed, signature, permit))
    assert await token.balance_of(PAYER) == 9_000


async def test_open_with_authorization_needs_no_ether(
    payer: Sender, sender: Sender, channels: Channels, token: Token
) -> None:
    offer = terms(channels, token)
    domain = await token.domain()
    authorization = authorize(offer.opening, channels.address, domain, PAYER_KEY, in_an_hour())
    assert await token.supports_authorization()
    await sender.send(channels.open_with_authorization(offer.signed, authorization))
    assert await token.balance_of(PAYER) == 9_000


async def test_top_ups(payer: Sender, sender: Sender, channels: Channels, token: Token) -> None:
    offer = terms(channels, token)
    opening = offer.opening
    await payer.send(token.approve(channels.address, 1_007))
    await payer.send(channels.open(offer.signed))
    receipt = await payer.send(channels.top_up(PAYEE, token.address, opening.signer, 7))
    (topped,) = decoded(channels, receipt)
    assert isinstance(topped, ToppedUp)
    assert (topped.from_, topped.amount, topped.deposited) == (PAYER, 7, 1_007)

    signed = TopUp(PAYER, PAYEE, token.address, opening.signer, 11, bytes(32), in_an_hour())
    permit = await token.permit(PAYER_KEY, channels.address, 11, in_an_hour())
    await sender.send(channels.top_up_for(signed, signed.sign(channels.domain(), PAYER_KEY), permit))

    gasless = TopUp(PAYER, PAYEE, token.address, opening.signer, 13, b"\1" * 32, in_an_hour())
    authorization = authorize(gasless, channels.address, await token.domain(), PAYER_KEY, in_an_hour())
    await sender.send(channels.top_up_with_authorization(gasless, authorization))
    state = await channels.channel(PAYEE, token.address, opening.signer)
    assert state.deposited == 1_000 + 7 + 11 + 13


# ---- Claiming and closing ----


async def test_claim_many(payer: Sender, sender: Sender, channels: Channels, token: Token) -> None:
    offers = [terms(channels, token) for _ in range(3)]
    await payer.send(token.approve(channels.address, 3_000))
    await payer.send(channels.open_many([offer.signed for offer in offers]))
    receipts = [offer.receipt(cumulative) for offer, cumulative in zip(offers, (5, 0, 5_000), strict=True)]
    call = channels.claim(PAYEE, token.address, receipts)
    assert int.from_bytes(await sender.simulate(call)) == 1_005
    (claimed,) = decoded(channels, await sender.send(call))
    assert isinstance(claimed, Claimed)
    assert claimed.total == 1_005
    assert claimed.entries == ((offers[0].opening.signer, 5), (offers[2].opening.signer, 1_000))
    assert await token.balance_of(PAYEE) == 1_005
    (again,) = decoded(channels, await sender.send(call))
    assert isinstance(again, Claimed)
    assert (again.total, again.entries) == (0, ())


async def test_a_timed_close(
    chain: EmbeddedChain, payer: Sender, sender: Sender, channels: Channels, token: Token
) -> None:
    offer = terms(channels, token)
    where = PAYEE, token.address, offer.opening.signer
    await payer.send(token.approve(channels.address, 1_000))
    await payer.send(channels.open(offer.signed))
    with pytest.raises(TransactionReverted, match=rf"NotPayer\(caller={sender.address}, payer={PAYER}\)"):
        await sender.send(channels.start_close(*where))
    (started,) = decoded(channels, await payer.send(channels.start_close(*where)))
    assert isinstance(started, CloseStarted)
    state = await channels.channel(*where)
    assert (state.status, state.closes_at) == (ChannelStatus.CLOSING, started.closes_at)
    await sender.send(channels.claim(PAYEE, token.address, [offer.receipt(400)]))
    await ask(chain.url, "evm_increaseTime", 2)
    (closed,) = decoded(channels, await sender.send(channels.finish_close(*where)))
    assert isinstance(closed, Closed)
    assert (closed.claimed, closed.refund) == (400, 600)
    assert await token.balance_of(PAYER) == 9_600


async def test_a_close_started_by_signature(
    payer: Sender, sender: Sender, channels: Channels, token: Token
) -> None:
    offer = terms(channels, token)
    await payer.send(token.approve(channels.address, 1_000))
    await payer.send(channels.open(offer.signed))
    start = StartClose(PAYEE, token.address, offer.opening.signer, in_an_hour())
    signature = start.sign(channels.domain(), PAYER_KEY)
    await sender.send(channels.start_close_for(start, signature))
    state = await channels.channel(PAYEE, token.address, offer.opening.signer)
    assert state.status is ChannelStatus.CLOSING


async def test_a_close_by_consent(
    payer: Sender, payee: Sender, sender: Sender, channels: Channels, token: Token
) -> None:
    offers = [terms(channels, token) for _ in range(2)]
    await payer.send(token.approve(channels.address, 2_000))
    await payer.send(channels.open_many([offer.signed for offer in offers]))
    first, second = (Close(PAYEE, token.address, offer.opening.signer, 300, in_an_hour()) for offer in offers)
    consent = first.sign(channels.domain(), PAYEE_KEY)
    (closed,) = decoded(channels, await sender.send(channels.close(first, consent, offers[0].receipt(350))))
    assert isinstance(closed, Closed)
    assert (closed.claimed, closed.refund) == (300, 700)
    nothing = Close(PAYEE, token.address, offers[1].opening.signer, 0, in_an_hour())
    await payee.send(channels.close(nothing))  # the payee itself, giving all back
    with pytest.raises(TransactionReverted, match=r"ChannelNotOpen\(status=3\)"):
        await payee.send(channels.close(second, receipt=offers[1].receipt(300)))
    assert await token.balance_of(PAYEE) == 300


async def test_credits(sender: Sender, channels: Channels, token: Token) -> None:
    assert await channels.credit(STRANGER, token.address) == 0
    with pytest.raises(TransactionReverted, match="NothingToWithdraw"):
        await sender.send(channels.withdraw_credit(token.address, STRANGER))


async def test_what_the_deployment_accepts(channels: Channels) -> None:
    assert await channels.close_delays() == (2, 3_600)


# ---- What is not what it seems ----


async def test_reading_where_there_is_no_such_contract(connection: Connection, token: Token) -> None:
    with pytest.raises(WrongContract, match=f"Channels.credit at {STRANGER}"):
        await Channels(connection, STRANGER).credit(PAYER, token.address)
    with pytest.raises((WrongContract, TransactionReverted)):
        await Channels(connection, token.address).credit(PAYER, token.address)


async def test_arguments_that_do_not_fit(channels: Channels, token: Token) -> None:
    for amount in (-1, 2**128, "5", None):
        with pytest.raises(InvalidCall, match=r"Channels\.topUp does not take these arguments"):
            channels.top_up(PAYEE, token.address, STRANGER, amount)  # type: ignore[arg-type]


async def test_logs_of_others_are_nothing_and_broken_ones_an_error(
    sender: Sender, channels: Channels, token: Token
) -> None:
    (transfer,) = (await sender.send(token.mint(STRANGER, 1))).logs
    assert channels.decode(transfer) is None
    claim = await sender.send(channels.claim(PAYEE, token.address, []))
    (log,) = claim.logs
    assert isinstance(channels.decode(log), Claimed)
    for broken in (
        Log(log.address, log.topics[:1], log.data, log.block_number, log.block_hash, log.transaction_hash, 0),
        Log(
            log.address, log.topics, log.data[:40], log.block_number, log.block_hash, log.transaction_hash, 0
        ),
    ):
        with pytest.raises(RpcFailed, match="Claimed log is malformed"):
            channels.decode(broken)
    nameless = Log(log.address, (), b"", log.block_number, log.block_hash, log.transaction_hash, 0)
    assert channels.decode(nameless) is None


def test_every_event_of_the_contracts_has_its_dataclass(channels: Channels, registry: Registry) -> None:
    ours = {Opened, ToppedUp, Claimed, CloseStarted, Closed, Credited, CreditWithdrawn}
    assert set(channels.events) == ours
    for contract in (channels, registry):
        inherited = {"EIP712DomainChanged"}
        declared = {e["name"] for e in artifacts.load(contract.artifact).abi if e["type"] == "event"}
        assert declared - inherited == {event.__name__ for event in contract.events}
