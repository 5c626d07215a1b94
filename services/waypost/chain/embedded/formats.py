"""Blocks, transactions, receipts and logs in the shape of Ethereum's JSON-RPC."""

from collections.abc import Iterator
from itertools import compress
from typing import Any

from eth_bloom.bloom import BloomFilter

from waypost.chain.embedded.machine import Block, Header, Transaction
from waypost.chain.embedded.parameters import Filter
from waypost.protocol.signatures import checksum

EMPTY_UNCLES = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
LEGACY, DYNAMIC_FEE, SET_CODE = 0, 2, 4


def quantity(value: int) -> str:
    """A number without leading zeros."""
    return hex(value)


def data(value: bytes) -> str:
    """Bytes."""
    return "0x" + value.hex()


def word(value: int) -> str:
    """32 bytes."""
    return f"0x{value:064x}"


def block(sealed: Block, *, full: bool) -> dict[str, Any]:
    """A block with its transactions, in full or by hash."""
    if full:
        transactions: list[Any] = [transaction(sealed, index) for index in range(len(sealed.transactions))]
    else:
        transactions = [data(entry.hash) for entry in sealed.transactions]
    return header(sealed.header) | {
        "hash": data(sealed.hash),
        "nonce": data(sealed.header.nonce),
        "miner": checksum(sealed.header.coinbase),
        "size": quantity(sealed.size),
        "transactions": transactions,
    }


def pending_block(empty: Header) -> dict[str, Any]:
    """The block that would be mined now: it has no hash yet."""
    unknown = {"hash": None, "nonce": None, "miner": None, "logsBloom": None}
    return header(empty) | unknown | {"size": quantity(0), "transactions": []}


def header(fields: Header) -> dict[str, Any]:
    """What blocks and pending blocks share."""
    return {
        "number": quantity(fields.block_number),
        "parentHash": data(fields.parent_hash),
        "sha3Uncles": EMPTY_UNCLES,
        "logsBloom": f"0x{fields.bloom:0512x}",
        "transactionsRoot": data(fields.transaction_root),
        "stateRoot": data(fields.state_root),
        "receiptsRoot": data(fields.receipt_root),
        "difficulty": quantity(0),
        "totalDifficulty": quantity(0),
        "extraData": data(fields.extra_data),
        "gasLimit": quantity(fields.gas_limit),
        "gasUsed": quantity(fields.gas_used),
        "timestamp": quantity(fields.timestamp),
        "mixHash": data(fields.mix_hash),
        "baseFeePerGas": quantity(fields.base_fee_per_gas),
        "withdrawalsRoot": data(fields.withdrawals_root),
        "withdrawals": [],
        "blobGasUsed": quantity(fields.blob_gas_used),
        "excessBlobGas": quantity(fields.excess_blob_gas),
        "parentBeaconBlockRoot": data(fields.parent_beacon_block_root),
        "requestsHash": data(fields.requests_hash),
        "uncles": [],
    }


def transaction(sealed: Block, index: int) -> dict[str, Any]:
    """A mined transaction."""
    mined = sealed.transactions[index]
    return _transaction(mined, gas_price(mined, sealed.header.base_fee_per_gas)) | {
        "blockHash": data(sealed.hash),
        "blockNumber": quantity(sealed.number),
        "transactionIndex": quantity(index),
    }


def waiting_transaction(waiting: Transaction) -> dict[str, Any]:
    """A transaction that is not mined yet."""
    nowhere = {"blockHash": None, "blockNumber": None, "transactionIndex": None}
    return _transaction(waiting, waiting.max_fee_per_gas) | nowhere


def receipt(sealed: Block, index: int) -> dict[str, Any]:
    """The receipt of a mined transaction."""
    mined, found, created = sealed.transactions[index], sealed.receipts[index], sealed.created[index]
    return {
        "transactionHash": data(mined.hash),
        "transactionIndex": quantity(index),
        "blockHash": data(sealed.hash),
        "blockNumber": quantity(sealed.number),
        "from": checksum(mined.sender),
        "to": checksum(mined.to) if mined.to else None,
        "cumulativeGasUsed": quantity(found.gas_used),
        "gasUsed": quantity(sealed.gas_used(index)),
        "effectiveGasPrice": quantity(gas_price(mined, sealed.header.base_fee_per_gas)),
        "contractAddress": checksum(created) if created else None,
        "logs": list(_logs(sealed, index)),
        "logsBloom": f"0x{found.bloom:0512x}",
        "type": quantity(_type(mined)),
        "status": quantity(1 if found.state_root == b"\x01" else 0),
    }


def logs(sealed: Block, wanted: Filter) -> Iterator[dict[str, Any]]:
    """The logs of a block that pass the filter."""
    if not _may_hold(sealed.header.bloom, wanted):
        return
    for index, found in enumerate(sealed.receipts):
        matching = [_matches(log, wanted) for log in found.logs]
        if any(matching):
            yield from compress(_logs(sealed, index), matching)


def gas_price(mined: Transaction, base_fee: int) -> int:
    """What the sender pays per gas, in wei."""
    return int(min(mined.max_fee_per_gas, base_fee + mined.max_priority_fee_per_gas))


def _logs(sealed: Block, index: int) -> Iterator[dict[str, Any]]:
    first = sum(len(earlier.logs) for earlier in sealed.receipts[:index])
    for offset, log in enumerate(sealed.receipts[index].logs):
        yield {
            "address": checksum(log.address),
            "topics": [word(topic) for topic in log.topics],
            "data": data(log.data),
            "blockNumber": quantity(sealed.number),
            "blockHash": data(sealed.hash),
            "blockTimestamp": quantity(sealed.header.timestamp),
            "transactionHash": data(sealed.transactions[index].hash),
            "transactionIndex": quantity(index),
            "logIndex": quantity(first + offset),
            "removed": False,
        }


def _may_hold(bloom: int, wanted: Filter) -> bool:
    bits = BloomFilter(bloom)
    choices = (wanted.addresses, *wanted.topics)
    return all(not choice or any(value in bits for value in choice) for choice in choices)


def _matches(log: Any, wanted: Filter) -> bool:
    if wanted.addresses and log.address not in wanted.addresses:
        return False
    if len(log.topics) < len(wanted.topics):
        return False
    pairs = zip(wanted.topics, log.topics, strict=False)
    return all(choice is None or topic.to_bytes(32) in choice for choice, topic in pairs)


def _type(mined: Transaction) -> int:
    return getattr(mined, "type_id", None) or LEGACY


def _transaction(signed: Transaction, price: int) -> dict[str, Any]:
    kind = _type(signed)
    fields: dict[str, Any] = {
        "hash": data(signed.hash),
        "nonce": quantity(signed.nonce),
        "from": checksum(signed.sender),
        "to": checksum(signed.to) if signed.to else None,
        "value": quantity(signed.value),
        "gas": quantity(signed.gas),
        "gasPrice": quantity(price),
        "input": data(signed.data),
        "r": quantity(signed.r),
        "s": quantity(signed.s),
        "type": quantity(kind),
    }
    if kind == LEGACY:
        fields["v"] = quantity(signed.v)
        if signed.chain_id is not None:
            fields["chainId"] = quantity(signed.chain_id)
        return fields
    fields |= {
        "chainId": quantity(signed.chain_id),
        "v": quantity(signed.y_parity),
        "yParity": quantity(signed.y_parity),
        "accessList": [
            {"address": checksum(address), "storageKeys": [word(key) for key in keys]}
            for address, keys in signed.access_list
        ],
    }
    if kind >= DYNAMIC_FEE:
        fields["maxFeePerGas"] = quantity(signed.max_fee_per_gas)
        fields["maxPriorityFeePerGas"] = quantity(signed.max_priority_fee_per_gas)
    if kind == SET_CODE:
        fields["authorizationList"] = [_authorization(entry) for entry in signed.authorization_list]
    return fields


def _authorization(entry: Any) -> dict[str, Any]:
    return {
        "chainId": quantity(entry.chain_id),
        "address": checksum(entry.address),
        "nonce": quantity(entry.nonce),
        "yParity": quantity(entry.y_parity),
        "r": quantity(entry.r),
        "s": quantity(entry.s),
    }
