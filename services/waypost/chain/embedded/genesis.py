"""What an embedded chain starts with: funded accounts and the contracts that real chains have."""

import os
from typing import Any

from eth.constants import BLANK_ROOT_HASH, POST_MERGE_DIFFICULTY, POST_MERGE_NONCE
from eth.typing import AccountDetails
from eth.vm.forks.cancun.constants import BEACON_ROOTS_ADDRESS, BEACON_ROOTS_CONTRACT_CODE
from eth.vm.forks.prague.constants import HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CONTRACT_CODE
from eth_typing import Address

from waypost.chain import proxy
from waypost.chain.development import FUNDED_KEYS
from waypost.protocol.signatures import address_bytes, address_of

BLOCK_GAS_LIMIT = 60_000_000
BASE_FEE = 1_000_000_000
BALANCE = 10_000 * 10**18


def state() -> dict[Address, AccountDetails]:
    """Accounts by address: funded ones, the proxy, and the system contracts of EIP-2935 and EIP-4788."""
    funded = {Address(address_bytes(address_of(key))): _account(balance=BALANCE) for key in FUNDED_KEYS}
    return funded | {
        Address(address_bytes(proxy.ADDRESS)): _account(code=proxy.CODE),
        HISTORY_STORAGE_ADDRESS: _account(code=HISTORY_STORAGE_CONTRACT_CODE),
        BEACON_ROOTS_ADDRESS: _account(code=BEACON_ROOTS_CONTRACT_CODE),
    }


def header(timestamp: int) -> dict[str, Any]:
    """The fields of block 0; `timestamp` in Unix seconds."""
    return {
        "coinbase": bytes(20),
        "difficulty": POST_MERGE_DIFFICULTY,
        "extra_data": b"waypost",
        "gas_limit": BLOCK_GAS_LIMIT,
        "base_fee_per_gas": BASE_FEE,
        "mix_hash": os.urandom(32),  # no two chains are alike, so none is taken for another that is gone
        "nonce": POST_MERGE_NONCE,
        "receipt_root": BLANK_ROOT_HASH,
        "timestamp": timestamp,
        "transaction_root": BLANK_ROOT_HASH,
    }


def _account(balance: int = 0, code: bytes = b"") -> AccountDetails:
    return {"balance": balance, "nonce": 1 if code else 0, "code": code, "storage": {}}
