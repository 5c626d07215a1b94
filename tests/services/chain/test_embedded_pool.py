"""What the embedded chain does with transactions before they are mined: the rules of real nodes."""

from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from tests.services.chain.endpoint import ask
from tests.services.chain.evm import GWEI, INVALID, create, signed
from web3 import AsyncWeb3
from web3.exceptions import Web3RPCError

from waypost.chain.embedded import FUNDED_KEYS, EmbeddedChain


async def test_transactions_that_arrive_early_wait_for_their_turn(
    web3: AsyncWeb3[Any], account: LocalAccount
) -> None:
    late = await web3.eth.send_raw_transaction(signed(account, nonce=1))
    assert await web3.eth.block_number == 0
    assert (await web3.eth.get_transaction(late))["blockHash"] is None
    assert await web3.eth.get_transaction_count(account.address, "pending") == 0
    await web3.eth.send_raw_transaction(signed(account, nonce=0))
    assert (await web3.eth.get_transaction_receipt(late))["transactionIndex"] == 1
    assert await web3.eth.get_transaction_count(account.address) == 2


async def test_the_pools_refusals_are_in_everybodys_words(
    web3: AsyncWeb3[Any], account: LocalAccount
) -> None:
    raw = signed(account)
    await web3.eth.send_raw_transaction(raw)
    poor = Account.create()
    refused = {
        "already known": raw,
        "nonce too low": signed(account, value=1),
        "insufficient funds": signed(poor),
        "intrinsic gas too low": signed(account, nonce=1, gas=20_999),
        "exceeds block gas limit": signed(account, nonce=1, gas=60_000_001),
        "priority fee per gas higher": signed(account, nonce=1, maxPriorityFeePerGas=4 * GWEI),
        "invalid chain id": signed(account, nonce=1, chainId=1),
        "max initcode size": signed(account, nonce=1, to=None, data="0x" + "00" * 49_153, gas=5_000_000),
    }
    for words, transaction in refused.items():
        with pytest.raises(Web3RPCError, match=words):
            await web3.eth.send_raw_transaction(transaction)
    assert await web3.eth.block_number == 1


async def test_the_calldata_floor_is_part_of_the_intrinsic_gas(
    web3: AsyncWeb3[Any], account: LocalAccount
) -> None:
    data = "0x" + "ff" * 1_000  # EIP-7623: 40 gas a byte
    with pytest.raises(Web3RPCError, match="minimum needed 61000"):
        await web3.eth.send_raw_transaction(signed(account, data=data, gas=60_999))
    sent = await web3.eth.send_raw_transaction(signed(account, data=data, gas=61_000))
    assert (await web3.eth.get_transaction_receipt(sent))["gasUsed"] == 61_000


async def test_a_waiting_transaction_is_replaced_by_one_that_pays_a_tenth_more(
    chain: EmbeddedChain, web3: AsyncWeb3[Any], account: LocalAccount
) -> None:
    await ask(chain.url, "evm_setAutomine", False)
    stuck = await web3.eth.send_raw_transaction(signed(account))
    assert await web3.eth.get_transaction_count(account.address, "pending") == 1
    with pytest.raises(Web3RPCError, match="already known"):
        await web3.eth.send_raw_transaction(signed(account))
    for fees in ({"maxFeePerGas": 4 * GWEI}, {"maxPriorityFeePerGas": 2 * GWEI}):
        with pytest.raises(Web3RPCError, match="replacement transaction underpriced"):
            await web3.eth.send_raw_transaction(signed(account, **fees))
    better = await web3.eth.send_raw_transaction(
        signed(account, maxFeePerGas=4 * GWEI, maxPriorityFeePerGas=2 * GWEI)
    )
    await ask(chain.url, "evm_setAutomine", True)
    assert (await web3.eth.get_transaction_receipt(better))["status"] == 1
    with pytest.raises(Web3RPCError, match="not found"):
        await web3.eth.get_transaction(stuck)


async def test_what_offers_too_little_waits_until_the_base_fee_falls(
    web3: AsyncWeb3[Any], chain: EmbeddedChain, account: LocalAccount
) -> None:
    sent = await web3.eth.send_raw_transaction(
        signed(account, maxFeePerGas=800_000_000, maxPriorityFeePerGas=0)
    )
    assert await web3.eth.block_number == 0
    await ask(chain.url, "evm_mine")
    await ask(chain.url, "evm_mine")
    receipt = await web3.eth.get_transaction_receipt(sent)
    assert (receipt["blockNumber"], receipt["effectiveGasPrice"]) == (2, 765_625_000)


async def test_what_can_no_longer_be_paid_is_dropped(chain: EmbeddedChain, web3: AsyncWeb3[Any]) -> None:
    spender: LocalAccount = Account.from_key(FUNDED_KEYS[1])
    everything = 10_000 * 10**18 - 10**18
    await ask(chain.url, "evm_setAutomine", False)
    await web3.eth.send_raw_transaction(signed(spender, value=everything))
    broke = await web3.eth.send_raw_transaction(signed(spender, nonce=1, value=everything))
    await ask(chain.url, "evm_setAutomine", True)
    assert await web3.eth.get_transaction_count(spender.address, "pending") == 1
    with pytest.raises(Web3RPCError, match="not found"):
        await web3.eth.get_transaction(broke)


async def test_full_blocks_carry_over_to_the_next(
    chain: EmbeddedChain, web3: AsyncWeb3[Any], account: LocalAccount
) -> None:
    burning = await create(web3, account, INVALID)
    await ask(chain.url, "evm_setAutomine", False)
    for key in FUNDED_KEYS[1:4]:
        await web3.eth.send_raw_transaction(signed(Account.from_key(key), to=burning, gas=25_000_000))
    await ask(chain.url, "evm_setAutomine", True)
    assert [await web3.eth.get_block_transaction_count(number) for number in (2, 3)] == [2, 1]
    assert (await web3.eth.get_block(2))["gasUsed"] == 50_000_000
