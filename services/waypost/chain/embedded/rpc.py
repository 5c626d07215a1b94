"""Ethereum's JSON-RPC methods over the miner.
Error codes and words are those of real nodes: clients match on them."""

from contextlib import suppress
from importlib.metadata import version
from itertools import accumulate
from typing import Any

from eth.abc import ComputationAPI
from eth.exceptions import Revert
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
from eth_abi import decode
from eth_abi.exceptions import DecodingError
from eth_typing import Address
from eth_utils.exceptions import ValidationError

from waypost.chain.development import CHAIN_ID
from waypost.chain.embedded import formats, parameters
from waypost.chain.embedded.jsonrpc import LIMIT_EXCEEDED, REJECTED, REVERTED, Method, Parameter, RpcError
from waypost.chain.embedded.machine import Block, Message
from waypost.chain.embedded.miner import Miner
from waypost.chain.embedded.parameters import BlockChoice, Filter

TIP = 1_000_000_000
"""What `eth_maxPriorityFeePerGas` suggests, in wei."""

MAX_LOGS = 10_000
MAX_HISTORY = 1_024

_ERROR_SELECTOR = bytes.fromhex("08c379a0")  # Error(string)

_BLOCK = Parameter(parameters.block, "latest")
_ADDRESS = Parameter(parameters.address)
_HASH = Parameter(parameters.word)
_INDEX = Parameter(parameters.quantity)
_FULL = Parameter(parameters.flag, False)
_MESSAGE = Parameter(parameters.message)
_OVERRIDES = Parameter(parameters.nothing, None)


class Rpc:
    """`methods` is what the endpoint offers."""

    def __init__(self, miner: Miner) -> None:
        self._miner = miner
        self._machine = miner.machine
        self.methods = {
            "web3_clientVersion": Method(lambda: f"waypost/{version('waypost')}/py-evm", ()),
            "net_version": Method(lambda: str(CHAIN_ID), ()),
            "net_listening": Method(lambda: True, ()),
            "eth_chainId": Method(lambda: formats.quantity(CHAIN_ID), ()),
            "eth_syncing": Method(lambda: False, ()),
            "eth_accounts": Method(list, ()),
            "eth_blockNumber": Method(lambda: formats.quantity(self._machine.head.number), ()),
            "eth_getBlockByNumber": Method(self._block_by_number, (Parameter(parameters.block), _FULL)),
            "eth_getBlockByHash": Method(self._block_by_hash, (_HASH, _FULL)),
            "eth_getBlockTransactionCountByNumber": Method(self._transaction_count, (_BLOCK,)),
            "eth_getBlockTransactionCountByHash": Method(self._transaction_count, (_HASH,)),
            "eth_getBlockReceipts": Method(self._block_receipts, (_BLOCK,)),
            "eth_getTransactionByHash": Method(self._transaction, (_HASH,)),
            "eth_getTransactionByBlockNumberAndIndex": Method(self._transaction_at, (_BLOCK, _INDEX)),
            "eth_getTransactionByBlockHashAndIndex": Method(self._transaction_at, (_HASH, _INDEX)),
            "eth_getTransactionReceipt": Method(self._receipt, (_HASH,)),
            "eth_getTransactionCount": Method(self._nonce, (_ADDRESS, _BLOCK)),
            "eth_getBalance": Method(self._balance, (_ADDRESS, _BLOCK)),
            "eth_getCode": Method(self._code, (_ADDRESS, _BLOCK)),
            "eth_getStorageAt": Method(self._storage, (_ADDRESS, Parameter(parameters.slot), _BLOCK)),
            "eth_call": Method(self._call, (_MESSAGE, _BLOCK, _OVERRIDES, _OVERRIDES)),
            "eth_estimateGas": Method(self._estimate, (_MESSAGE, _BLOCK, _OVERRIDES)),
            "eth_gasPrice": Method(lambda: formats.quantity(self._base_fee() + TIP), ()),
            "eth_maxPriorityFeePerGas": Method(lambda: formats.quantity(TIP), ()),
            "eth_feeHistory": Method(
                self._fee_history,
                (Parameter(parameters.number), _BLOCK, Parameter(parameters.percentiles, ())),
            ),
            "eth_getLogs": Method(self._logs, (Parameter(parameters.log_filter),)),
            "eth_sendRawTransaction": Method(self._send, (Parameter(parameters.data),)),
            "evm_snapshot": Method(lambda: formats.quantity(miner.snapshot()), ()),
            "evm_revert": Method(miner.revert, (Parameter(parameters.number),)),
            "evm_mine": Method(self._mine, (Parameter(parameters.number, None),)),
            "evm_increaseTime": Method(self._increase_time, (Parameter(parameters.number),)),
            "evm_setAutomine": Method(self._set_automine, (Parameter(parameters.flag),)),
        }

    # ---- Blocks and transactions ----

    def _find(self, choice: BlockChoice) -> Block | None:
        if isinstance(choice, bytes):
            return self._machine.block(choice)
        if isinstance(choice, int):
            return self._machine.blocks[choice] if choice <= self._machine.head.number else None
        # Nothing is ever final here; what is mined is as safe as it gets.
        return self._machine.blocks[0] if choice == "earliest" else self._machine.head

    def _require(self, choice: BlockChoice) -> Block:
        found = self._find(choice)
        if found is None:
            raise RpcError(REJECTED, "header not found")
        return found

    def _block_by_number(self, choice: BlockChoice, full: bool) -> Any:
        if choice == "pending":
            return formats.pending_block(self._machine.next_header(self._miner.now()))
        return self._block_by_hash(choice, full)

    def _block_by_hash(self, choice: BlockChoice, full: bool) -> Any:
        found = self._find(choice)
        return None if found is None else formats.block(found, full=full)

    def _transaction_count(self, choice: BlockChoice) -> Any:
        found = self._find(choice)
        return None if found is None else formats.quantity(len(found.transactions))

    def _block_receipts(self, choice: BlockChoice) -> Any:
        found = self._find(choice)
        return found and [formats.receipt(found, index) for index in range(len(found.transactions))]

    def _transaction(self, transaction_hash: bytes) -> Any:
        mined = self._machine.transaction(transaction_hash)
        if mined is not None:
            return formats.transaction(*mined)
        waiting = self._miner.pool.get(transaction_hash)
        return None if waiting is None else formats.waiting_transaction(waiting)

    def _transaction_at(self, choice: BlockChoice, index: int) -> Any:
        found = self._find(choice)
        if found is None or index >= len(found.transactions):
            return None
        return formats.transaction(found, index)

    def _receipt(self, transaction_hash: bytes) -> Any:
        mined = self._machine.transaction(transaction_hash)
        return None if mined is None else formats.receipt(*mined)

    def _logs(self, wanted: Filter) -> Any:
        if wanted.block_hash is not None:
            block = self._machine.block(wanted.block_hash)
            if block is None:
                raise RpcError(REJECTED, "unknown block")
            return list(formats.logs(block, wanted))
        first, last = self._number(wanted.first), self._number(wanted.last)
        if first > last:
            raise RpcError(REJECTED, "invalid block range params")
        found: list[Any] = []
        for block in self._machine.blocks[first : last + 1]:
            found.extend(formats.logs(block, wanted))
            if len(found) > MAX_LOGS:
                raise RpcError(LIMIT_EXCEEDED, f"query returned more than {MAX_LOGS} results")
        return found

    def _number(self, choice: BlockChoice) -> int:
        return choice if isinstance(choice, int) else self._require(choice).number

    # ---- State ----

    def _nonce(self, address: Address, choice: BlockChoice) -> str:
        mined = self._machine.state(self._require(choice)).get_nonce(address)
        return formats.quantity(self._miner.pool.next_nonce(address, mined) if choice == "pending" else mined)

    def _balance(self, address: Address, choice: BlockChoice) -> str:
        return formats.quantity(self._machine.state(self._require(choice)).get_balance(address))

    def _code(self, address: Address, choice: BlockChoice) -> str:
        return formats.data(self._machine.state(self._require(choice)).get_code(address))

    def _storage(self, address: Address, slot: int, choice: BlockChoice) -> str:
        return formats.word(self._machine.state(self._require(choice)).get_storage(address, slot))

    def _call(self, message: Message, choice: BlockChoice, *_: None) -> str:
        block = self._require(choice)
        try:
            computation = self._machine.call(message, self._time_after(block), block)
        except ValidationError as error:
            raise RpcError(REJECTED, str(error)) from None
        if computation.is_error:
            raise _failure(computation)
        return formats.data(computation.output)

    def _estimate(self, message: Message, choice: BlockChoice, _: None) -> str:
        block = self._require(choice)
        try:
            found = self._machine.estimate(message, self._time_after(block), block)
        except ValidationError as error:
            raise RpcError(REJECTED, str(error)) from None
        if not isinstance(found, int):
            raise _failure(found)
        return formats.quantity(found)

    def _time_after(self, block: Block) -> int:
        # Calls on the newest state see the present, so that deadlines pass also while nothing is mined.
        return self._miner.now() if block is self._machine.head else block.header.timestamp

    # ---- Fees ----

    def _base_fee(self) -> int:
        return int(calculate_expected_base_fee_per_gas(self._machine.head.header))

    def _fee_history(self, count: int, choice: BlockChoice, percentiles: list[float]) -> Any:
        newest = self._require(choice)
        count = min(count, MAX_HISTORY, newest.number + 1)
        blocks = self._machine.blocks[newest.number + 1 - count : newest.number + 1]
        headers = [block.header for block in blocks]
        following = calculate_expected_base_fee_per_gas(newest.header)
        fees = [header.base_fee_per_gas for header in headers] + [following]
        history: dict[str, Any] = {
            "oldestBlock": formats.quantity(newest.number + 1 - count),
            "baseFeePerGas": [formats.quantity(fee) for fee in fees],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
            "baseFeePerBlobGas": [formats.quantity(1)] * len(fees),
            "blobGasUsedRatio": [0.0] * count,
        }
        if percentiles:
            history["reward"] = [_rewards(block, percentiles) for block in blocks]
        return history

    # ---- Sending and mining ----

    def _send(self, raw: bytes) -> str:
        return formats.data(self._miner.submit(raw))

    def _mine(self, timestamp: int | None) -> str:
        self._miner.mine(timestamp)
        return "0x0"

    def _increase_time(self, seconds: int) -> int:
        return self._miner.increase_time(seconds)

    def _set_automine(self, on: bool) -> None:
        self._miner.automine = on
        if on:
            self._miner.mine_waiting()


def _failure(computation: ComputationAPI) -> RpcError:
    if not isinstance(computation.error, Revert):
        words = str(computation.error).lower() or type(computation.error).__name__
        return RpcError(REJECTED, words)
    output = computation.output
    reason = ""
    if output[:4] == _ERROR_SELECTOR:
        with suppress(DecodingError):
            reason = f": {decode(['string'], output[4:])[0]}"
    return RpcError(REVERTED, f"execution reverted{reason}", formats.data(output))


def _rewards(block: Block, percentiles: list[float]) -> list[str]:
    """The tips at these percentiles of the block's gas, as `eth_feeHistory` weighs them."""
    base_fee = block.header.base_fee_per_gas
    tips = sorted(
        (formats.gas_price(transaction, base_fee) - base_fee, block.gas_used(index))
        for index, transaction in enumerate(block.transactions)
    )
    if not tips:
        return [formats.quantity(0)] * len(percentiles)
    running = list(accumulate(gas for _, gas in tips))
    found = []
    for percentile in percentiles:
        wanted = block.header.gas_used * percentile / 100
        index = next((i for i, gas in enumerate(running) if gas >= wanted), len(tips) - 1)
        found.append(formats.quantity(tips[index][0]))
    return found
