"""Transactions that wait to be mined: by sender and nonce, with the replacement rules of real nodes."""

from collections.abc import Callable, Iterable

from eth_typing import Address

from waypost.chain.embedded.jsonrpc import REJECTED, RpcError
from waypost.chain.embedded.machine import Transaction

MAX_WAITING = 4_096
# A replacement pays at least a tenth more, both in all and to the proposer.
BUMP_PERCENT = 110


class Pool:
    """Holds at most one transaction per sender and nonce."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[Address, int], Transaction] = {}

    def get(self, transaction_hash: bytes) -> Transaction | None:
        """A waiting transaction by hash."""
        return next((waiting for waiting in self._waiting.values() if waiting.hash == transaction_hash), None)

    def add(self, transaction: Transaction) -> None:
        """Takes a transaction, in place of one with its nonce if it pays enough more. Raises RpcError."""
        place = transaction.sender, transaction.nonce
        present = self._waiting.get(place)
        if present is None:
            if len(self._waiting) >= MAX_WAITING:
                raise RpcError(REJECTED, "txpool is full")
        elif present.hash == transaction.hash:
            raise RpcError(REJECTED, "already known")
        elif not _outbids(transaction, present):
            raise RpcError(REJECTED, "replacement transaction underpriced")
        self._waiting[place] = transaction

    def executable(self, nonce_of: Callable[[Address], int], base_fee: int) -> list[Transaction]:
        """What can be mined now: each sender's unbroken run of nonces that pays the base fee."""
        ready: list[Transaction] = []
        for sender in dict.fromkeys(sender for sender, _ in self._waiting):
            nonce = nonce_of(sender)
            while (found := self._waiting.get((sender, nonce))) and found.max_fee_per_gas >= base_fee:
                ready.append(found)
                nonce += 1
        return ready

    def next_nonce(self, sender: Address, mined: int) -> int:
        """The first nonce that is neither mined nor waiting."""
        while (sender, mined) in self._waiting:
            mined += 1
        return mined

    def discard(self, transactions: Iterable[Transaction]) -> None:
        """Forgets these, and whatever waits for the same nonces."""
        for transaction in transactions:
            self._waiting.pop((transaction.sender, transaction.nonce), None)

    def copy(self) -> "Pool":
        """As it is now."""
        copied = Pool()
        copied._waiting = dict(self._waiting)
        return copied


def _outbids(transaction: Transaction, present: Transaction) -> bool:
    return bool(
        transaction.max_fee_per_gas * 100 >= present.max_fee_per_gas * BUMP_PERCENT
        and transaction.max_priority_fee_per_gas * 100 >= present.max_priority_fee_per_gas * BUMP_PERCENT
    )
