"""The one queue of transactions that the node's gas account sends, for openings and claims alike.
Each is signed and on disk before it is sent: a crash at any point forgets none and uses no nonce twice."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from eth_typing import ChecksumAddress

from waypost.chain.blocks import BlockRef, Event, TransactionReceipt
from waypost.chain.connection import Call
from waypost.chain.fees import MAX_TIP, Fees, Offer
from waypost.chain.transactions import Sender, SignedTransaction
from waypost.errors import ChainError, InsufficientFunds, TransactionReverted
from waypost.node import blocks, transactions
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Faults, Loop, Signal
from waypost.node.transactions import Attempt, Draft, State, Transaction

PATIENCE = 60
URGENT_PATIENCE = 12
"""Seconds that an attempt may wait before its fees are raised."""
MAKE_WAY = 600
"""Seconds after which a transaction that gas became too dear for is cancelled, if others wait behind it."""
RESEND = 10
"""Seconds after which an attempt that is not mined is sent again, in case it was dropped."""
DOUBTS = 3
"""Rounds in a row in which a nonce must look used by others before we believe it: endpoints lag."""
MAX_RAISE = 20
"""Fees are never raised above this multiple of what the chain asks: then something else is wrong."""
EMPTY_GAS = 21_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """`balance` in wei, None while the endpoint cannot be asked; `faults` are codes of what is wrong now."""

    account: ChecksumAddress
    balance: int | None
    waiting: int
    faults: tuple[str, ...]


class Outbox:
    """All transactions of the sender's account. `clock` gives Unix seconds; `signal` rings when blocks
    were applied."""

    def __init__(
        self, sender: Sender, db: Database, clock: Callable[[], int], signal: Signal, *, poll_seconds: float
    ) -> None:
        self._sender = sender
        self._db = db
        self._clock = clock
        self._signal = signal
        self._lock = asyncio.Lock()
        self._sent_at: dict[bytes, int] = {}
        self._doubts: dict[int, int] = {}
        self._undone = False
        self._adopted = False
        self._needed = 0
        self._funds = Faults("gas_account")
        self._delivery = Faults("broadcast")
        self._loop = Loop("outbox", self.follow, poll_seconds, signal)

    async def run(self) -> None:
        """Follows what was posted until it is mined, also from before a crash."""
        await self._loop.run()

    async def post(self, draft: Draft, record: Callable[[sqlite3.Connection, int], None]) -> Transaction:
        """Signs, stores and sends a transaction; `record` stores what it is for in the same write, given
        its id. Once stored, sending it is the outbox's business, whatever becomes of the caller.

        Raises InsufficientFunds, RpcUnreachable or RpcFailed, and has then stored and sent nothing.
        """
        async with self._lock:
            await self._adopt()
            fees = _reasonable(await self._sender.fees(), urgent=draft.urgent)
            waiting = await self._db.read(transactions.sent)
            reserved = sum(transaction.gas * transaction.newest.max_fee for transaction in waiting)
            offer = await self._affordable(fees, draft, reserved)
            nonce = await self._next_nonce()
            attempt = self._sign(draft.call, nonce, draft.gas, offer)

            def store(connection: sqlite3.Connection) -> Transaction:
                transaction = transactions.add(connection, draft, nonce, attempt)
                if draft.urgent:  # it cannot be mined before those that wait in front of it
                    transactions.hurry(connection, nonce)
                record(connection, transaction)
                return transactions.find(connection, transaction)

            transaction = await self._db.write(store)
            log.info("transaction_signed", purpose=draft.purpose, nonce=nonce, hash="0x" + attempt.hash.hex())
            await self._send(transaction)
            return transaction

    async def gas_price(self) -> int:
        """What a transaction would pay now, in wei per gas."""
        fees = _reasonable(await self._sender.fees(), urgent=False)
        return fees.base + fees.tip

    async def rehearse(self, call: Call) -> tuple[bytes, int]:
        """What the call would return, and the gas it would need, if the gas account sent it now.

        Raises TransactionReverted.
        """
        answer = await self._sender.simulate(call)
        return answer, await self._sender.connection.estimate(call, self._sender.address)

    async def follow(self) -> None:
        """One round over all that is not mined: looks for receipts, sends again, raises fees.

        Raises a ChainError.
        """
        async with self._lock:
            await self._adopt()
            waiting = await self._db.read(transactions.sent)
            unmined = [transaction for transaction in waiting if not await self._conclude(transaction)]
            self._forget_all_but(unmined)
            if unmined:
                await self._push(unmined)

    async def hurry(self, transaction: Transaction) -> None:
        """Makes it urgent, and everything whose nonce comes before; fees follow at the next round."""
        await self._db.write(lambda connection: transactions.hurry(connection, transaction.nonce))
        self._signal.ring()

    async def status(self) -> OutboxStatus:
        """The state of the gas account."""
        waiting = await self._db.read(transactions.sent)
        try:
            balance = await self._balance()
        except ChainError:
            balance = None
        if balance is not None and balance >= self._needed:
            self._funds.passed()  # somebody has filled it up
        faults = (self._loop.faults.code, self._funds.code, self._delivery.code)
        return OutboxStatus(
            self._sender.address, balance, len(waiting), tuple(dict.fromkeys(code for code in faults if code))
        )

    # ---- Following the chain ----

    def apply(self, connection: sqlite3.Connection, events: Iterable[Event], block: BlockRef) -> None:
        """Concludes the transactions whose events these are: in the write that enters the events in the
        books, so that a claim is out of flight exactly when it counts as claimed."""
        for transaction_hash, number in {(event.transaction_hash, event.block_number) for event in events}:
            if transactions.conclude(connection, transaction_hash, State.MINED, number):
                log.info("transaction_mined", hash="0x" + transaction_hash.hex(), block=number)

    def rollback(self, connection: sqlite3.Connection, to: BlockRef) -> None:
        """What was mined above `to` waits again, and is sent again."""
        transactions.reopen(connection, to.number)
        self._undone = True  # this is the writer's thread: `follow` does the rest

    # ---- Steps ----

    async def _adopt(self) -> None:
        """The first thing that a process does: the operator may have given the node another gas account."""
        if self._adopted:
            return
        account = self._sender.address
        if await self._db.write(lambda connection: transactions.adopt(connection, account)):
            log.warning("gas_account_changed", account=account)
        self._adopted = True

    async def _conclude(self, transaction: Transaction) -> bool:
        """Whether it is mined. Noted only once its block was applied, unless an event said so before."""
        for attempt in reversed(transaction.attempts):
            receipt = await self._sender.connection.receipt(attempt.hash)
            if receipt is not None and receipt.hash == attempt.hash:
                state = await self._db.write(_noting(attempt, receipt))
                if state is State.REVERTED:
                    log.warning(
                        "transaction_reverted", purpose=transaction.purpose, hash="0x" + receipt.hash.hex()
                    )
                return True
        return False

    async def _push(self, waiting: list[Transaction]) -> None:
        fees = await self._sender.fees()
        mined = await self._sender.connection.nonce(self._sender.address)
        gap = await self._has_gap(waiting[0], mined)
        for transaction in waiting:
            if transaction.nonce < mined or gap:
                await self._doubt(transaction)
                continue
            self._doubts.pop(transaction.id, None)
            in_the_way = transaction is not waiting[-1] and self._is_hopeless(transaction, fees)
            if self._is_stuck(transaction, fees) and (
                raised := await self._raise_fees(transaction, fees, cancel=in_the_way)
            ):
                await self._send(raised)
            elif self._clock() - self._sent_at.get(transaction.newest.hash, -RESEND) >= RESEND:
                await self._send(transaction)

    async def _has_gap(self, first: Transaction, mined: int) -> bool:
        """Whether nonces before ours are missing, so that ours could never be mined."""
        if first.nonce <= mined or self._clock() - first.newest.signed_at < PATIENCE:
            return False
        return await self._sender.connection.nonce(self._sender.address, pending=True) <= mined

    async def _doubt(self, transaction: Transaction) -> None:
        doubts = self._doubts[transaction.id] = self._doubts.get(transaction.id, 0) + 1
        if doubts >= DOUBTS:
            await self._db.write(lambda connection: transactions.give_up(connection, transaction.id))
            log.warning("nonce_lost", purpose=transaction.purpose, nonce=transaction.nonce)

    def _is_stuck(self, transaction: Transaction, fees: Fees) -> bool:
        waited = self._clock() - transaction.newest.signed_at
        if not transaction.urgent:
            return waited >= PATIENCE
        return waited >= URGENT_PATIENCE or transaction.newest.max_fee < fees.base + transaction.newest.tip

    def _is_hopeless(self, transaction: Transaction, fees: Fees) -> bool:
        """Whether it has long been too cheap to be mined, and may not be dearer."""
        newest, ceiling = transaction.newest, transaction.ceiling
        waited = self._clock() - newest.signed_at
        cheap = ceiling is not None and newest.max_fee < fees.base and _next(newest).max_fee > ceiling
        return cheap and waited >= MAKE_WAY

    async def _raise_fees(
        self, transaction: Transaction, fees: Fees, *, cancel: bool = False
    ) -> Transaction | None:
        """The transaction with a dearer attempt, stored but not sent; None if that is not worth it. An empty
        one takes its place if it does not work any more, or if it is to `cancel`."""
        newest = transaction.newest
        empty = newest.empty or cancel or not await self._still_works(transaction.call)
        call = Call(self._sender.address, b"") if empty else transaction.call
        gas = EMPTY_GAS if empty else transaction.gas
        fees = _reasonable(fees, urgent=transaction.urgent)
        most = min(MAX_RAISE * fees.limit, await self._balance() // gas)
        if transaction.ceiling is not None and not empty:
            most = min(most, transaction.ceiling)
        least = _next(newest)
        if least.max_fee > most:
            return None
        max_fee = max(least.max_fee, min(most, fees.limit))
        offer = Offer(max_fee, min(max_fee, max(least.tip, fees.tip)))
        attempt = self._sign(call, transaction.nonce, gas, offer, empty=empty)

        def store(connection: sqlite3.Connection) -> Transaction:
            transactions.add_attempt(connection, transaction.id, attempt)
            return transactions.find(connection, transaction.id)

        log.info("fees_raised", purpose=transaction.purpose, nonce=transaction.nonce, empty=empty)
        return await self._db.write(store)

    async def _still_works(self, call: Call) -> bool:
        try:
            await self._sender.simulate(call)
        except TransactionReverted:
            return False
        return True

    async def _send(self, transaction: Transaction) -> None:
        """A failure is not the caller's: the next rounds try again."""
        attempt = transaction.newest
        try:
            await self._sender.broadcast(SignedTransaction(attempt.hash, attempt.raw, transaction.nonce))
        except ChainError as error:
            self._delivery.failed(error)
        else:
            self._delivery.passed()
            self._sent_at[attempt.hash] = self._clock()

    async def _next_nonce(self) -> int:
        # What the endpoint says is not enough: it may lag, and has never seen what we could not send.
        ours = await self._db.read(transactions.next_nonce)
        return max(ours, await self._sender.connection.nonce(self._sender.address, pending=True))

    async def _balance(self) -> int:
        return await self._sender.connection.balance(self._sender.address)

    async def _affordable(self, fees: Fees, draft: Draft, reserved: int) -> Offer:
        """The usual offer, lowered to the draft's ceiling and to what the account holds beyond `reserved`
        wei. Raises InsufficientFunds."""
        balance = await self._balance()
        usual = fees.limit if draft.ceiling is None else min(draft.ceiling, fees.limit)
        max_fee = min(usual, max(0, balance - reserved) // draft.gas)
        if max_fee < min(usual, fees.base + fees.tip):
            needed = self._needed = reserved + draft.gas * min(usual, fees.base + fees.tip)
            error = InsufficientFunds(
                f"The gas account {self._sender.address} holds {balance} wei; {needed} are needed.",
                account=self._sender.address,
                balance=str(balance),
                needed=str(needed),
            )
            self._funds.failed(error)
            raise error
        self._funds.passed()
        return Offer(max_fee, min(fees.tip, max_fee))

    def _sign(self, call: Call, nonce: int, gas: int, offer: Offer, *, empty: bool = False) -> Attempt:
        signed = self._sender.sign_exactly(call, nonce=nonce, gas=gas, max_fee=offer.max_fee, tip=offer.tip)
        return Attempt(signed.hash, signed.raw, offer.max_fee, offer.tip, empty, self._clock())

    def _forget_all_but(self, waiting: list[Transaction]) -> None:
        hashes = {attempt.hash for transaction in waiting for attempt in transaction.attempts}
        if self._undone:  # what a reorg brings back is sent at once, however recently it was sent before
            self._undone, hashes = False, set()
        self._sent_at = {known: at for known, at in self._sent_at.items() if known in hashes}
        ids = {transaction.id for transaction in waiting}
        self._doubts = {known: rounds for known, rounds in self._doubts.items() if known in ids}


def _next(attempt: Attempt) -> Offer:
    """The least that replaces an attempt."""
    return Offer(attempt.max_fee, attempt.tip).raised(None, Fees(0, 0))


def _reasonable(fees: Fees, *, urgent: bool) -> Fees:
    """What to go by: twice the tip when it is urgent, within limits."""
    return Fees(fees.base, min(MAX_TIP, 2 * fees.tip if urgent else fees.tip))


def _noting(attempt: Attempt, receipt: TransactionReceipt) -> Callable[[sqlite3.Connection], State | None]:
    """Concludes an attempt by its receipt; None while the books do not contain its block."""

    def note(connection: sqlite3.Connection) -> State | None:
        head, applied = blocks.head(connection), blocks.at(connection, receipt.block_number)
        if head is None or receipt.block_number > head.number:
            return None
        if applied is not None and applied.hash != receipt.block_hash:
            return None
        state = State.CANCELLED if attempt.empty else State.MINED if receipt.succeeded else State.REVERTED
        transactions.conclude(connection, attempt.hash, state, receipt.block_number)
        return state

    return note
