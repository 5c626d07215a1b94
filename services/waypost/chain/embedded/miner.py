"""Decides what is mined and when: what is sent at once, unless told otherwise.
Keeps the clock and the snapshots."""

import time

from eth.abc import StateAPI
from eth.exceptions import UnrecognizedTransactionType
from eth.vm.forks.cancun.constants import BLOB_TX_TYPE
from eth.vm.forks.prague import PragueVM
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from waypost.chain.development import CHAIN_ID
from waypost.chain.embedded import genesis
from waypost.chain.embedded.jsonrpc import REJECTED, RpcError
from waypost.chain.embedded.machine import Block, Machine, Transaction
from waypost.chain.embedded.pool import Pool

MAX_TRANSACTION_SIZE = 128 * 1024
MAX_CLOCK_OFFSET = 2**32  # seconds; contracts keep times in 40 bits
MAX_INIT_CODE = 49_152  # EIP-3860
DELEGATION_PREFIX = b"\xef\x01\x00"  # EIP-7702


class Miner:
    """A machine, its waiting transactions and its clock."""

    def __init__(self) -> None:
        self._clock_offset = 0
        self._snapshots: dict[int, tuple[int, Pool]] = {}
        self._taken = 0
        self.automine = True
        self.pool = Pool()
        self.machine = Machine(int(time.time()))

    def now(self) -> int:
        """The timestamp of a block mined now: the time of day, unless moved; never before the head's."""
        # Growing strictly instead would let a busy chain's clock run ahead of everybody's deadlines.
        newest: int = self.machine.head.header.timestamp
        return max(int(time.time()) + self._clock_offset, newest)

    def increase_time(self, seconds: int) -> int:
        """Moves the clock ahead, for good; the offset in all."""
        self._move_clock(self._clock_offset + seconds)
        return self._clock_offset

    def _move_clock(self, offset: int) -> None:
        if offset > MAX_CLOCK_OFFSET:
            raise RpcError(REJECTED, f"the clock cannot be moved by more than {MAX_CLOCK_OFFSET} seconds")
        self._clock_offset = offset

    def submit(self, raw: bytes) -> bytes:
        """Takes a signed transaction and mines it, if it can be mined now; its hash. Raises RpcError."""
        transaction = _decode(raw)
        if self.machine.transaction(transaction.hash) is not None:
            raise RpcError(REJECTED, "already known")
        _check(transaction, self.machine.state())
        self.pool.add(transaction)
        if self.automine:
            self.mine_waiting()
        return bytes(transaction.hash)

    def mine(self, timestamp: int | None = None) -> Block:
        """Seals one block of what can be mined, or an empty one. A timestamp sets the clock."""
        if timestamp is not None:
            if timestamp < self.machine.head.header.timestamp:
                raise RpcError(REJECTED, "the timestamp lies before the newest block's")
            self._move_clock(timestamp - int(time.time()))
        header = self.machine.next_header(self.now())
        state = self.machine.state()
        ready = self.pool.executable(state.get_nonce, header.base_fee_per_gas)
        block = self.machine.mine(ready, header.timestamp)
        # The first one had all the room there is: if it was left out, it is no longer valid.
        self.pool.discard(block.transactions or ready[:1])
        return block

    def mine_waiting(self) -> None:
        """Seals blocks until nothing is left that can be mined."""
        while self.mine_if_ready():
            pass

    def mine_if_ready(self) -> bool:
        """Seals a block unless it would be empty."""
        base_fee = self.machine.next_header(self.now()).base_fee_per_gas
        if not self.pool.executable(self.machine.state().get_nonce, base_fee):
            return False
        self.mine()
        return True

    def snapshot(self) -> int:
        """Remembers the chain as it is; a number to revert to."""
        self._taken += 1
        self._snapshots[self._taken] = self.machine.head.number, self.pool.copy()
        return self._taken

    def revert(self, identifier: int) -> bool:
        """Goes back to a snapshot, which is used up with all later ones; False if there is none."""
        if identifier not in self._snapshots:
            return False
        number, self.pool = self._snapshots[identifier]
        self.machine.revert_to(number)
        self._snapshots = {key: kept for key, kept in self._snapshots.items() if key < identifier}
        return True


def _decode(raw: bytes) -> Transaction:
    if len(raw) > MAX_TRANSACTION_SIZE:
        raise RpcError(REJECTED, f"oversized data: transaction size {len(raw)}, limit {MAX_TRANSACTION_SIZE}")
    if raw[:1] == bytes([BLOB_TX_TYPE]):
        raise RpcError(REJECTED, "transaction type not supported")
    try:
        transaction = PragueVM.get_transaction_builder().decode(raw)
        transaction.validate()
        transaction.sender  # noqa: B018  (recovered once; fails if the signature is nobody's)
    except UnrecognizedTransactionType:
        raise RpcError(REJECTED, "transaction type not supported") from None
    except (ValidationError, RLPException, ValueError, TypeError, IndexError) as error:
        raise RpcError(REJECTED, f"invalid transaction: {error}") from None
    if transaction.chain_id not in (None, CHAIN_ID):
        sentence = f"invalid chain id for signer: have {transaction.chain_id} want {CHAIN_ID}"
        raise RpcError(REJECTED, sentence)
    return transaction


def _check(transaction: Transaction, state: StateAPI) -> None:
    """The rules that make a transaction invalid rather than failed. Raises RpcError in real nodes' words."""
    sender, nonce = transaction.sender, state.get_nonce(transaction.sender)
    if transaction.nonce < nonce:
        raise RpcError(REJECTED, f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
    if transaction.gas > genesis.BLOCK_GAS_LIMIT:
        raise RpcError(REJECTED, "exceeds block gas limit")
    least = max(transaction.intrinsic_gas, _floor_gas(transaction.data))
    if transaction.gas < least:
        raise RpcError(REJECTED, f"intrinsic gas too low: gas {transaction.gas}, minimum needed {least}")
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
        raise RpcError(REJECTED, "max priority fee per gas higher than max fee per gas")
    if not transaction.to and len(transaction.data) > MAX_INIT_CODE:
        raise RpcError(REJECTED, "max initcode size exceeded")
    code = state.get_code(sender)
    if code and not code.startswith(DELEGATION_PREFIX):  # EIP-3607
        raise RpcError(REJECTED, "sender not an eoa")
    cost = transaction.value + transaction.gas * transaction.max_fee_per_gas
    balance = state.get_balance(sender)
    if balance < cost:
        sentence = f"insufficient funds for gas * price + value: balance {balance}, tx cost {cost}"
        raise RpcError(REJECTED, sentence)


def _floor_gas(data: bytes) -> int:
    zeros = data.count(0)
    return 21_000 + 10 * (zeros + 4 * (len(data) - zeros))  # EIP-7623
