"""Executes transactions and calls on py-evm (Prague rules) and keeps the canonical blocks.
Decides nothing about when to mine: that is the miner's. Used from one thread."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import rlp  # type: ignore[import-untyped]
from eth import EVM_RECURSION_LIMIT
from eth.abc import ComputationAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import Chain
from eth.db.atomic import AtomicDB
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address, BlockNumber
from eth_utils.exceptions import ValidationError

from waypost.chain.development import CHAIN_ID
from waypost.chain.embedded import genesis

# A library under py-evm raises Python's recursion limit so far that nested JSON would overflow the stack.
# This is what py-evm itself needs.
sys.setrecursionlimit(EVM_RECURSION_LIMIT)

# py-evm's RLP classes make their fields at run time: their types cannot say what they hold.
Header = Any
Transaction = Any
Receipt = Any

NOBODY = Address(bytes(20))
STIPEND = 2_300
# How close an estimate comes to the least gas that works, as in other clients.
TOLERANCE = 0.015


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A sealed block. `created[i]` is the contract that transaction i created."""

    header: Header
    hash: bytes
    size: int
    transactions: tuple[Transaction, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    created: tuple[Address | None, ...] = ()

    @property
    def number(self) -> int:
        """Its height."""
        return int(self.header.block_number)

    def gas_used(self, index: int) -> int:
        """The gas of one transaction; receipts hold running totals."""
        before = self.receipts[index - 1].gas_used if index else 0
        return int(self.receipts[index].gas_used - before)


@dataclass(frozen=True, slots=True)
class Message:
    """What `eth_call` executes. `to` None creates a contract, `gas` None is a block's."""

    sender: Address = NOBODY
    to: Address | None = None
    data: bytes = b""
    value: int = 0
    gas: int | None = None


class Machine:
    """The chain itself: `blocks` are the canonical ones, by number."""

    def __init__(self, timestamp: int) -> None:
        """`timestamp`: block 0's, in Unix seconds."""
        self._chain = _PragueChain.from_genesis(AtomicDB(), genesis.header(timestamp), genesis.state())
        self._by_hash: dict[bytes, Block] = {}
        self._found: dict[bytes, tuple[Block, int]] = {}
        self.blocks: list[Block] = []
        header = self._chain.get_canonical_head()
        self._append(Block(header, header.hash, len(rlp.encode(header))))

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    # ---- Blocks ----

    def block(self, block_hash: bytes) -> Block | None:
        """A canonical block by hash."""
        block = self._by_hash.get(block_hash)
        return block if block is not None and self._is_canonical(block) else None

    def transaction(self, transaction_hash: bytes) -> tuple[Block, int] | None:
        """The block and index of a mined transaction."""
        found = self._found.get(transaction_hash)
        return found if found is not None and self._is_canonical(found[0]) else None

    def revert_to(self, number: int) -> None:
        """Makes an earlier block the head."""
        del self.blocks[number + 1 :]

    def next_header(self, timestamp: int, parent: Block | None = None) -> Header:
        """The header of the block after `parent` (the head), still empty."""
        above = (parent or self.head).header
        return PragueVM.create_header_from_parent(
            above,
            timestamp=timestamp,
            gas_limit=above.gas_limit,
            coinbase=above.coinbase,
            extra_data=above.extra_data,
            mix_hash=os.urandom(32),
        )

    def mine(self, transactions: Sequence[Transaction], timestamp: int) -> Block:
        """Seals a block of those of the transactions that are valid in this order and fit."""
        header = self.next_header(timestamp)
        vm = cast(PragueVM, self._chain.get_vm(header))
        vm.block_preprocessing(vm.get_block())
        included, receipts, created = [], [], []
        for transaction in transactions:
            try:
                receipt, computation = vm.apply_transaction(header, transaction)
            except ValidationError:
                continue
            header = vm.add_receipt_to_header(header, receipt)
            included.append(transaction)
            receipts.append(receipt)
            created.append(computation.msg.storage_address if computation.msg.is_create else None)
        return self._seal(vm, header, included, receipts, created)

    def _seal(
        self,
        vm: PragueVM,
        header: Header,
        transactions: Sequence[Transaction],
        receipts: Sequence[Receipt],
        created: Sequence[Address | None],
    ) -> Block:
        filled = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, transactions, receipts)
        # py-evm's own sealing insists on growing timestamps; ours may repeat within a second.
        sealed = vm.finalize_block(vm.block_postprocessing(filled)).block
        return self._append(
            Block(
                header=sealed.header,
                hash=sealed.hash,
                size=len(rlp.encode(sealed)),
                transactions=tuple(transactions),
                receipts=tuple(receipts),
                created=tuple(created),
            )
        )

    def _append(self, block: Block) -> Block:
        # BLOCKHASH finds ancestors here.
        self._chain.chaindb.db[block.hash] = rlp.encode(block.header)
        self.blocks.append(block)
        self._by_hash[block.hash] = block
        for index, transaction in enumerate(block.transactions):
            self._found[transaction.hash] = block, index
        return block

    def _is_canonical(self, block: Block) -> bool:
        return block.number < len(self.blocks) and self.blocks[block.number] is block

    # ---- State ----

    def state(self, block: Block | None = None) -> StateAPI:
        """Balances, nonces, code and storage after a block (the head)."""
        return self._chain.get_vm((block or self.head).header).state

    def call(self, message: Message, timestamp: int, block: Block | None = None) -> ComputationAPI:
        """Executes a message in the block that would follow, leaving no trace.

        Raises ValidationError if the sender cannot do it at all, as when it lacks the value that it sends.
        """
        # Calls pay no gas, so there is no base fee either, as in other clients.
        header = self.next_header(timestamp, block).copy(base_fee_per_gas=0)
        state = self._chain.get_vm(header).state
        if state.get_balance(message.sender) < message.value:
            raise ValidationError("insufficient funds for transfer")
        transaction = PragueVM.create_unsigned_transaction(
            nonce=state.get_nonce(message.sender),
            gas_price=0,
            gas=header.gas_limit if message.gas is None else min(message.gas, header.gas_limit),
            to=message.to or Address(b""),
            value=message.value,
            data=message.data,
        )
        spoofed = cast(SignedTransactionAPI, SpoofTransaction(transaction, from_=message.sender))
        return state.apply_transaction(spoofed)

    def estimate(self, message: Message, timestamp: int, block: Block | None = None) -> int | ComputationAPI:
        """The gas that a message needs, within TOLERANCE; the failed computation if no gas is enough."""

        def attempt(gas: int) -> ComputationAPI:
            return self.call(replace(message, gas=gas), timestamp, block)

        high = min(message.gas or genesis.BLOCK_GAS_LIMIT, genesis.BLOCK_GAS_LIMIT)
        best = attempt(high)
        if best.is_error:
            return best
        # What was left at the end was not needed, except that a call keeps 1/64 of the gas from its callee.
        used = high - best.get_gas_remaining() + best.data_floor_gas
        if used >= high or not attempt(used).is_error:
            return used
        low, middle = used, (used + STIPEND) * 64 // 63
        while (high - low) / high > TOLERANCE:
            if attempt(min(middle, high)).is_error:
                low = middle
            else:
                high = middle
            middle = (low + high) // 2
        return high


class _PragueChain(Chain):
    chain_id = CHAIN_ID
    vm_configuration = ((BlockNumber(0), PragueVM),)
