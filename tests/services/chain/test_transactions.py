"""Sending: nonces stay in order, nothing is lost or sent twice, and every refusal is said in our words."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from eth_account import Account
from starlette.responses import Response
from tests.services.chain.endpoint import Endpoint, Fault, ask, post, until

from waypost.chain import transactions
from waypost.chain.channels import Channels
from waypost.chain.connection import Call, Connection, connect
from waypost.chain.embedded import FUNDED_KEYS, EmbeddedChain
from waypost.chain.fees import MAX_TIP
from waypost.chain.token import Token
from waypost.chain.transactions import ATTEMPTS, Sender, SignedTransaction
from waypost.errors import (
    FeeTooHigh,
    InsufficientFunds,
    RpcFailed,
    RpcUnreachable,
    TransactionReplaced,
    TransactionReverted,
    TransactionStuck,
)

GWEI = 10**9
FRIEND: Any = "0x1111111111111111111111111111111111111111"
GIFT = Call(FRIEND, b"", 1, "Gift")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is quick to send again what an endpoint has forgotten."""
    monkeypatch.setattr(transactions, "POLL_FIRST", 0.01)
    monkeypatch.setattr(transactions, "POLL_LAST", 0.01)


@pytest.fixture
async def manual(chain: EmbeddedChain) -> None:
    """Nothing is mined by itself."""
    await ask(chain.url, "evm_setAutomine", False)


@pytest.fixture
async def guarded(chain: EmbeddedChain, endpoint: Endpoint) -> Endpoint:
    """An endpoint whose answers a test can change, in front of the chain."""
    endpoint.behind = chain.url
    return endpoint


async def is_mined(connection: Connection, sender: Sender) -> bool:
    """Whether the account's first transaction is."""
    return await connection.nonce(sender.address) == 1


def fees_of(transaction: SignedTransaction) -> tuple[int, int]:
    fields = transactions._fields(transaction.raw)
    return fields["maxFeePerGas"], fields["maxPriorityFeePerGas"]


async def test_concurrent_sends_keep_their_nonces_apart(sender: Sender, connection: Connection) -> None:
    receipts = await asyncio.gather(*(sender.send(GIFT) for _ in range(20)))
    assert all(receipt.succeeded for receipt in receipts)
    assert len({receipt.hash for receipt in receipts}) == 20
    assert await connection.nonce(sender.address) == 20
    assert await connection.balance(FRIEND) == 20


async def test_concurrent_sends_queue_up_while_nothing_is_mined(
    manual: None, sender: Sender, chain: EmbeddedChain, connection: Connection
) -> None:
    waiting = [asyncio.create_task(sender.send(GIFT)) for _ in range(5)]

    async def all_wait() -> bool:
        return await connection.nonce(sender.address, pending=True) == 5

    await until(all_wait)
    await ask(chain.url, "evm_mine")
    receipts = await asyncio.gather(*waiting)
    assert {receipt.block_number for receipt in receipts} == {1}


async def test_a_call_that_would_revert_is_not_sent(
    sender: Sender, channels: Channels, token: Token, connection: Connection
) -> None:
    before = await connection.nonce(sender.address)
    with pytest.raises(TransactionReverted) as caught:
        await sender.send(channels.finish_close(FRIEND, token.address, FRIEND))
    assert str(caught.value) == "Channels.finishClose reverted: NotClosing(status=0)."
    assert caught.value.details == {"reason": "NotClosing", "arguments": {"status": 0}}
    assert await connection.nonce(sender.address) == before
    assert (await sender.send(GIFT)).succeeded


async def test_a_mined_failure_is_explained(sender: Sender, channels: Channels, token: Token) -> None:
    call = channels.finish_close(FRIEND, token.address, FRIEND)
    with pytest.raises(TransactionReverted, match=r"NotClosing\(status=0\)"):
        await sender.send(call, gas=200_000)
    with pytest.raises(TransactionReverted, match="ran out of gas"):
        await sender.send(token.mint(FRIEND, 1), gas=25_000)


async def test_insufficient_funds(connection: Connection, sender: Sender) -> None:
    poor = Sender(connection, bytes(Account.create().key))
    with pytest.raises(InsufficientFunds) as caught:
        await poor.send(Call(FRIEND, b"", name="Gift"))
    assert caught.value.details["balance"] == "0"
    assert int(str(caught.value.details["needed"])) > 21_000 * GWEI
    with pytest.raises(InsufficientFunds):
        await poor.send(GIFT)  # the estimate already fails
    await sender.send(Call(poor.address, b"", 10**16, "Funding"))
    assert (await poor.send(GIFT)).succeeded


async def test_fees_stay_within_the_limit(connection: Connection) -> None:
    base = await connection.base_fee()
    with pytest.raises(FeeTooHigh):
        await Sender(connection, FUNDED_KEYS[1], max_fee_per_gas=base - 1).send(GIFT)
    capped = Sender(connection, FUNDED_KEYS[1], max_fee_per_gas=base + 5)
    signed = await capped.sign(GIFT)
    assert fees_of(signed) == (base + 5, min(GWEI, base + 5))
    with pytest.raises(FeeTooHigh):
        await capped.replace(signed)
    assert (await Sender(connection, FUNDED_KEYS[2]).send(GIFT)).gas_price <= 2 * base + GWEI


async def test_bad_advice_on_tips_does_not_empty_the_account(guarded: Endpoint) -> None:
    guarded.answers["eth_maxPriorityFeePerGas"] = lambda _: hex(10**16)
    async with await connect(guarded.url) as connection:
        sender = Sender(connection, FUNDED_KEYS[0])
        signed = await sender.sign(GIFT)
        assert fees_of(signed)[1] == MAX_TIP
        offered = fees_of(await sender.replace(signed))
        assert offered[1] == MAX_TIP * 9 // 8 + 1  # no more than what replaces the first


async def test_a_stuck_transaction_is_replaced_until_it_is_mined(
    manual: None, sender: Sender, chain: EmbeddedChain
) -> None:
    persisted: list[SignedTransaction] = []

    async def persist(transaction: SignedTransaction) -> None:
        persisted.append(transaction)

    with pytest.raises(TransactionStuck) as caught:
        await sender.send(GIFT, timeout=0, persist=persist)
    assert len(persisted) == ATTEMPTS
    assert {transaction.nonce for transaction in persisted} == {0}
    offers = [fees_of(transaction) for transaction in persisted]
    for before, after in pairwise(offers):
        assert after[0] > before[0] * 9 // 8
        assert after[1] > before[1] * 9 // 8
    assert caught.value.details["transactions"] == [f"0x{entry.hash.hex()}" for entry in persisted]
    await ask(chain.url, "evm_setAutomine", True)
    receipt = await sender.wait(persisted)
    assert receipt.hash == persisted[-1].hash


async def test_whichever_attempt_is_mined_counts(manual: None, sender: Sender, chain: EmbeddedChain) -> None:
    first = await sender.sign(GIFT)
    await sender.broadcast(first)
    await ask(chain.url, "evm_mine")
    better = await sender.replace(first)
    await sender.broadcast(first)  # mined already: that is success
    with pytest.raises(RpcFailed, match="nonce too low"):
        await sender.broadcast(better)
    assert (await sender.wait([first, better])).hash == first.hash


async def test_a_transaction_is_known_by_its_bytes_alone(
    manual: None, sender: Sender, chain: EmbeddedChain
) -> None:
    signed = await sender.sign(GIFT)
    restored = SignedTransaction.from_raw(signed.raw)
    assert restored == signed
    await sender.broadcast(restored)
    await sender.broadcast(restored)  # already known
    await ask(chain.url, "evm_mine")
    assert (await sender.wait(restored)).hash == signed.hash


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x02\xc0", b"\xff" * 100])
def test_other_bytes_are_no_transaction(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no EIP-1559 transaction"):
        SignedTransaction.from_raw(raw)


async def test_a_released_nonce_is_used_again(sender: Sender) -> None:
    dropped = await sender.sign(GIFT)
    following = await sender.sign(GIFT)
    assert (dropped.nonce, following.nonce) == (0, 1)
    sender.release(following)
    sender.release(dropped)
    assert (await sender.sign(GIFT)).nonce == 0


async def test_what_cannot_be_persisted_is_not_sent(sender: Sender, connection: Connection) -> None:
    async def persist(_: SignedTransaction) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await sender.send(GIFT, persist=persist)
    assert await connection.nonce(sender.address, pending=True) == 0
    assert (await sender.send(GIFT)).succeeded
    assert await connection.nonce(sender.address) == 1


async def test_an_answer_that_is_lost_is_no_second_transaction(
    chain: EmbeddedChain, guarded: Endpoint
) -> None:
    lost: Iterator[bool] = iter([True, False, False])

    async with await connect(guarded.url) as connection:
        sender = Sender(connection, FUNDED_KEYS[0])

        delivered: list[str] = []

        async def deliver(raw: str) -> None:
            delivered.append(await ask(chain.url, "eth_sendRawTransaction", raw))

        def answer(params: list[Any]) -> Any:
            if next(lost):
                pending.append(asyncio.ensure_future(deliver(params[0])))
                return Response("gone", 502)
            raise Fault(-32000, "already known")

        pending: list[asyncio.Future[None]] = []
        guarded.answers["eth_sendRawTransaction"] = answer
        receipt = await sender.send(GIFT)
        assert receipt.succeeded
        assert delivered == ["0x" + receipt.hash.hex()]
        assert await connection.nonce(sender.address) == 1


async def test_an_endpoint_that_forgets_is_told_again(
    impatient: None, chain: EmbeddedChain, guarded: Endpoint
) -> None:
    swallowed: list[str] = []

    def swallow(params: list[Any]) -> Any:
        swallowed.append(params[0])
        del guarded.answers["eth_sendRawTransaction"]
        return "0x" + SignedTransaction.from_raw(bytes.fromhex(params[0][2:])).hash.hex()

    guarded.answers["eth_sendRawTransaction"] = swallow
    async with await connect(guarded.url) as connection:
        receipt = await Sender(connection, FUNDED_KEYS[0]).send(GIFT)
    assert receipt.succeeded
    assert len(swallowed) == 1


async def test_a_stale_nonce_is_read_again(sender: Sender, guarded: Endpoint) -> None:
    await sender.send(GIFT)
    stale = iter(["0x0", "0x0"])  # what is mined and what waits, as a replica that lags has them
    real = guarded.answers

    def count(_: list[Any]) -> Any:
        answer = next(stale, None)
        if answer is None:
            del real["eth_getTransactionCount"]
            return "0x1"
        return answer

    real["eth_getTransactionCount"] = count
    async with await connect(guarded.url) as connection:
        other = Sender(connection, FUNDED_KEYS[0])
        assert (await other.send(Call(FRIEND, b"", 2, "Gift"))).succeeded
        assert await connection.nonce(other.address) == 2


async def test_a_nonce_that_another_program_took_is_said(
    impatient: None, sender: Sender, connection: Connection
) -> None:
    signed = await sender.sign(GIFT)
    await Sender(connection, FUNDED_KEYS[0]).send(Call(FRIEND, b"", 2, "Gift"))
    with pytest.raises(TransactionReplaced) as caught:
        await sender.wait(signed)
    assert caught.value.details["nonce"] == 0


async def test_waiting_survives_an_endpoint_that_goes_away_for_a_while(
    impatient: None, guarded: Endpoint, chain: EmbeddedChain
) -> None:
    faults = iter([Response("", 502)] * 6)

    def stumble(_: list[Any]) -> Any:
        answer = next(faults, None)
        if answer is None:
            del guarded.answers["eth_getTransactionReceipt"]
            return None
        return answer

    guarded.answers["eth_getTransactionReceipt"] = stumble
    async with await connect(guarded.url) as connection:
        assert (await Sender(connection, FUNDED_KEYS[0]).send(GIFT)).succeeded


async def test_an_endpoint_that_is_away_is_said_and_costs_no_nonce(guarded: Endpoint) -> None:
    async with await connect(guarded.url) as connection:
        sender = Sender(connection, FUNDED_KEYS[0])
        guarded.answers["eth_sendRawTransaction"] = lambda _: Response("", 503)
        with pytest.raises(RpcUnreachable):
            await sender.send(GIFT)
        del guarded.answers["eth_sendRawTransaction"]
        assert (await sender.send(GIFT)).succeeded
        assert await connection.nonce(sender.address) == 1


async def test_confirmations_are_waited_for(
    sender: Sender, chain: EmbeddedChain, connection: Connection
) -> None:
    sending = asyncio.create_task(sender.send(GIFT, confirmations=3))
    await until(lambda: is_mined(connection, sender))
    block = await ask(chain.url, "eth_getBlockByNumber", "0x1", False)
    mined = SignedTransaction(bytes.fromhex(block["transactions"][0][2:]), b"", 0)
    with pytest.raises(TransactionStuck):
        await sender.wait(mined, confirmations=2, timeout=0)
    for _ in range(2):
        await ask(chain.url, "evm_mine")
    receipt = await sending
    assert (receipt.block_number, (await connection.head()).number) == (1, 3)


async def test_a_transaction_that_a_reorg_removed_is_mined_again(
    impatient: None, sender: Sender, chain: EmbeddedChain, connection: Connection
) -> None:
    snapshot = await ask(chain.url, "evm_snapshot")
    sending = asyncio.create_task(sender.send(GIFT, confirmations=2))
    await until(lambda: is_mined(connection, sender))
    await post(chain.url, [
        {"jsonrpc": "2.0", "id": 1, "method": "evm_revert", "params": [snapshot]},
        {"jsonrpc": "2.0", "id": 2, "method": "evm_mine", "params": []},
    ])  # fmt: skip
    await until(lambda: is_mined(connection, sender))
    await ask(chain.url, "evm_mine")
    receipt = await sending
    assert receipt.block_number == 2


async def test_exact_signing_asks_nobody(sender: Sender, connection: Connection) -> None:
    signed = sender.sign_exactly(GIFT, nonce=0, gas=21_000, max_fee=3 * GWEI, tip=GWEI)
    assert fees_of(signed) == (3 * GWEI, GWEI)
    assert (await sender.sign(GIFT)).nonce == 0
    await sender.broadcast(signed)
    assert (await sender.wait(signed)).gas_used == 21_000


def test_a_key_never_shows(sender: Sender) -> None:
    assert FUNDED_KEYS[0].hex() not in repr(sender) + str(vars(sender).keys())
