"""Blocks, logs and decoded events as plain values. Hashes are 32 bytes, times Unix seconds."""

from dataclasses import dataclass

from eth_typing import ChecksumAddress


@dataclass(frozen=True, slots=True)
class BlockRef:
    """Names one block and its parent: enough to follow a chain and to notice a reorg."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int


@dataclass(frozen=True, slots=True)
class Log:
    """A log as the RPC endpoint gives it, not yet decoded."""

    address: ChecksumAddress
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Where a decoded event comes from; (block_hash, log_index) is unique, also across reorgs."""

    contract: ChecksumAddress
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class TransactionReceipt:
    """A mined transaction. `gas_price` is what was paid per gas, in wei."""

    hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    gas_price: int
    contract: ChecksumAddress | None
    logs: tuple[Log, ...]

    @property
    def fee(self) -> int:
        """What the sender paid for gas, in wei."""
        return self.gas_used * self.gas_price
