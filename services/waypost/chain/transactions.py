"""Sends calls as one account: simulated first, EIP-1559 fees, nonces in order, stuck transactions replaced.
A signed transaction is a value, so that whoever must not lose it can persist it before it is sent."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_typing import ChecksumAddress
from hexbytes import HexBytes

from waypost.chain import fees
from waypost.chain.blocks import TransactionReceipt
from waypost.chain.connection import Call, Connection
from waypost.chain.fees import Fees as Fees
from waypost.chain.fees import Offer
from waypost.errors import (
    JSON,
    ChainError,
    InsufficientFunds,
    RpcFailed,
    RpcUnreachable,
    TransactionReplaced,
    TransactionReverted,
    TransactionStuck,
)
from waypost.protocol.signatures import address_of, checksum, keccak

TIMEOUT = 120.0
ATTEMPTS = 4
"""How often `send` offers a transaction: once, then with higher fees."""

MAX_GAS = 2**24  # EIP-7825
POLL_FIRST, POLL_LAST = 0.05, 2.0
NONCE_CONFLICTS = 3
DOUBTS = 3

# What nodes say; the words are all there is (geth, reth, erigon, nethermind, besu, anvil).
_KNOWN = ("already known", "known transaction", "alreadyknown", "already imported", "already exists")
_NONCE_TAKEN = ("nonce too low", "oldnonce", "nonce is too low", "replacement transaction underpriced")
_NO_FUNDS = ("insufficient funds", "insufficient balance", "upfront cost exceeds")


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """What is broadcast; `raw` alone is enough to restore it."""

    hash: bytes
    raw: bytes
    nonce: int

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        """Restores a persisted transaction. Raises ValueError if these are not its bytes."""
        return cls(keccak(raw), raw, _fields(raw)["nonce"])

    def is_by(self, account: ChecksumAddress, chain_id: int) -> bool:
        """Whether the account signed it, for this chain: what a file says must not be signed anew unseen."""
        return bool(_fields(self.raw)["chainId"] == chain_id) and (
            checksum(bytes.fromhex(Account.recover_transaction(self.raw)[2:])) == account
        )


Persist = Callable[[SignedTransaction], Awaitable[None]]


class Sender:
    """One account's transactions. Safe to use from many tasks of one process."""

    def __init__(
        self, connection: Connection, private_key: bytes, *, max_fee_per_gas: int | None = None
    ) -> None:
        """`max_fee_per_gas` in wei; None pays what is asked."""
        self.connection = connection
        self.address: ChecksumAddress = address_of(private_key)
        self._key = private_key
        self._max_fee = max_fee_per_gas
        self._lock = asyncio.Lock()
        # Signed here and not seen mined: the endpoint may not count them.
        self._reserved: set[int] = set()

    async def fees(self) -> Fees:
        """What a transaction should offer now. Raises RpcUnreachable, RpcFailed."""
        return await fees.ask(self.connection)

    async def simulate(self, call: Call) -> bytes:
        """What the call would return if it were sent now. Raises TransactionReverted."""
        return await self.connection.simulate(call, self.address)

    async def sign(self, call: Call, *, gas: int | None = None) -> SignedTransaction:
        """Simulates the call, then signs it with the next nonce, which stays reserved until the
        transaction is mined or `release`d. `gas` None estimates it.

        Raises TransactionReverted, InsufficientFunds, FeeTooHigh, RpcUnreachable, RpcFailed.
        """
        async with self._lock:
            return await self._sign(call, gas)

    def sign_exactly(self, call: Call, *, nonce: int, gas: int, max_fee: int, tip: int) -> SignedTransaction:
        """Signs without asking the endpoint and without reserving the nonce: for whoever keeps the
        account's nonces and fees itself. Fees in wei per gas."""
        fields = {
            "type": 2,
            "chainId": self.connection.chain_id,
            "nonce": nonce,
            "to": call.to,
            "value": call.value,
            "data": call.data,
            "gas": gas,
        }
        return self._seal(fields, Offer(max_fee, tip))

    async def broadcast(self, transaction: SignedTransaction) -> None:
        """Hands it to the endpoint; success also if that has it already, or it is mined.

        Raises RpcUnreachable (it may have arrived: broadcast again), InsufficientFunds, RpcFailed.
        """
        try:
            await self.connection.send_raw(transaction.raw)
        except RpcFailed as error:
            if _says(error, _KNOWN) or await self.connection.knows(transaction.hash):
                return
            if _says(error, _NO_FUNDS):
                sentence = f"{self.address} cannot pay for the transaction."
                raise InsufficientFunds(sentence, account=self.address) from error
            raise

    async def wait(
        self,
        transaction: SignedTransaction | Sequence[SignedTransaction],
        *,
        confirmations: int = 1,
        timeout: float = TIMEOUT,
    ) -> TransactionReceipt:
        """Waits until it, or one of its replacements, is in a block (`confirmations=1`) or deeper.
        An endpoint that forgot it is given it again.

        Raises TransactionReverted, TransactionReplaced, or TransactionStuck after `timeout` seconds.
        """
        offered = [transaction] if isinstance(transaction, SignedTransaction) else list(transaction)
        deadline = time.monotonic() + timeout
        pause, doubts = POLL_FIRST, 0
        while True:
            problem: ChainError | None = None
            try:
                receipt = await self._poll(offered, confirmations, resend=pause == POLL_LAST)
                if receipt is not None:
                    break
                doubts = 0
            except (RpcUnreachable, RpcFailed) as error:
                problem = error  # an endpoint may be away for a while
            except TransactionReplaced:
                doubts += 1  # or be several machines that do not agree yet
                if doubts == DOUBTS:
                    raise
            if time.monotonic() >= deadline:
                raise problem or _stuck(offered, timeout)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, POLL_LAST)
        self._reserved.discard(offered[-1].nonce)
        if not receipt.succeeded:
            raise await self._failure(next(entry for entry in offered if entry.hash == receipt.hash), receipt)
        return receipt

    async def replace(self, transaction: SignedTransaction) -> SignedTransaction:
        """The same transaction with fees that replace it: an eighth more, or what is asked now.

        Raises FeeTooHigh if that is above the limit, RpcUnreachable, RpcFailed.
        """
        fields = _fields(transaction.raw)
        paid = Offer(fields["maxFeePerGas"], fields["maxPriorityFeePerGas"])
        return self._seal(fields, paid.raised(self._max_fee, await self.fees()))

    def release(self, transaction: SignedTransaction) -> None:
        """Gives back the nonce of a transaction that was signed and will never be broadcast."""
        self._reserved.discard(transaction.nonce)

    async def send(
        self,
        call: Call,
        *,
        confirmations: int = 1,
        timeout: float = TIMEOUT,
        gas: int | None = None,
        persist: Persist | None = None,
    ) -> TransactionReceipt:
        """Signs, persists, broadcasts, waits, and replaces what is stuck. `timeout`: seconds until
        each of ATTEMPTS counts as stuck; `persist` is awaited before a transaction is broadcast.

        Raises TransactionReverted, TransactionStuck, TransactionReplaced, InsufficientFunds, FeeTooHigh,
        RpcUnreachable (it may have been sent) or RpcFailed.
        """
        offered = [await self._offer(call, gas, persist)]
        while True:
            try:
                return await self.wait(offered, confirmations=confirmations, timeout=timeout)
            except TransactionStuck:
                if len(offered) >= ATTEMPTS:
                    raise
            replacement = await self.replace(offered[-1])
            if persist is not None:
                await persist(replacement)
            offered.append(replacement)
            with suppress(RpcFailed, RpcUnreachable):  # waiting tells what became of both
                await self.broadcast(replacement)

    async def _offer(self, call: Call, gas: int | None, persist: Persist | None) -> SignedTransaction:
        # One at a time: whoever signs the next nonce knows that this one arrived, or is free again.
        async with self._lock:
            for _ in range(NONCE_CONFLICTS):
                transaction = await self._sign(call, gas)
                try:
                    if persist is not None:
                        await persist(transaction)
                    await self.broadcast(transaction)
                    return transaction
                except RpcFailed as error:
                    self.release(transaction)
                    conflict = error
                    if not _says(error, _NONCE_TAKEN):
                        raise
                except BaseException:
                    self.release(transaction)
                    raise
            raise conflict

    async def _sign(self, call: Call, gas: int | None) -> SignedTransaction:
        connection = self.connection
        needed, asked, mined, waiting, balance = await asyncio.gather(
            self._gas(call, gas),
            self.fees(),
            connection.nonce(self.address),
            connection.nonce(self.address, pending=True),
            connection.balance(self.address),
        )
        offer = Offer.within(self._max_fee, asked)
        cost = call.value + needed * offer.max_fee
        if balance < cost:
            sentence = f"{self.address} has {balance} wei, and {call.name} may cost {cost}."
            raise InsufficientFunds(sentence, account=self.address, balance=str(balance), needed=str(cost))
        self._reserved = {nonce for nonce in self._reserved if nonce >= mined}
        nonce = max([waiting, *(taken + 1 for taken in self._reserved)])
        self._reserved.add(nonce)
        return self.sign_exactly(call, nonce=nonce, gas=needed, max_fee=offer.max_fee, tip=offer.tip)

    async def _gas(self, call: Call, gas: int | None) -> int:
        if gas is not None:
            return gas
        try:
            needed = await self.connection.estimate(call, self.address)
        except RpcFailed as error:
            if _says(error, _NO_FUNDS):
                sentence = f"{self.address} cannot pay for {call.name}."
                raise InsufficientFunds(sentence, account=self.address) from error
            raise
        # What others do in between may make it dearer.
        return max(needed, min(needed * 5 // 4, MAX_GAS))

    def _seal(self, fields: dict[str, Any], offer: Offer) -> SignedTransaction:
        priced = fields | {"maxFeePerGas": offer.max_fee, "maxPriorityFeePerGas": offer.tip}
        signed = Account.sign_transaction(priced, self._key)
        return SignedTransaction(bytes(signed.hash), bytes(signed.raw_transaction), fields["nonce"])

    async def _poll(
        self, offered: list[SignedTransaction], confirmations: int, *, resend: bool
    ) -> TransactionReceipt | None:
        nonce = offered[-1].nonce
        mined = await self.connection.nonce(self.address)
        for transaction in offered:
            receipt = await self.connection.receipt(transaction.hash)
            if receipt is not None:
                head = await self.connection.head()
                deep = head.number - receipt.block_number + 1 >= confirmations
                return receipt if deep else None
        if resend and mined > nonce:  # asked before the receipt, which would be there
            raise _replaced(offered[-1])
        if resend and not await self.connection.knows(offered[-1].hash):
            await self.broadcast(offered[-1])
        return None

    async def _failure(
        self, transaction: SignedTransaction, receipt: TransactionReceipt
    ) -> TransactionReverted:
        fields = _fields(transaction.raw)
        name = f"Transaction 0x{transaction.hash.hex()}"
        call = Call(fields["to"], fields["data"], fields["value"], name)
        try:
            await self.connection.simulate(call, self.address, receipt.block_number - 1)
        except TransactionReverted as error:
            return error
        except ChainError:
            pass  # the endpoint keeps no old state
        out_of_gas = receipt.gas_used == fields["gas"]
        sentence = f"{name} {'ran out of gas' if out_of_gas else 'reverted'}."
        return TransactionReverted(sentence, reason="OutOfGas" if out_of_gas else None)


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    except Exception as error:  # the decoder lets through whatever its parts raise
        raise ValueError("these bytes are no EIP-1559 transaction") from error
    if fields["type"] != 2:
        raise ValueError("this is no EIP-1559 transaction")
    unsigned = {name: value for name, value in fields.items() if name not in ("v", "r", "s")}
    return unsigned | {"to": checksum(bytes(fields["to"])), "data": bytes(fields["data"])}


def _says(error: RpcFailed, words: Sequence[str]) -> bool:
    message = str(error.details.get("message")).lower()
    return any(word in message for word in words)


def _stuck(offered: Sequence[SignedTransaction], timeout: float) -> TransactionStuck:
    hashes: list[JSON] = [f"0x{entry.hash.hex()}" for entry in offered]
    sentence = f"Transaction {hashes[-1]} was not mined within {timeout:g} s."
    return TransactionStuck(sentence, transactions=hashes, nonce=offered[-1].nonce)


def _replaced(transaction: SignedTransaction) -> TransactionReplaced:
    name = f"0x{transaction.hash.hex()}"
    sentence = f"Another transaction of the account took nonce {transaction.nonce}, so {name} is void."
    return TransactionReplaced(sentence, transaction=name, nonce=transaction.nonce)
