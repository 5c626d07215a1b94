"""The embedded chain as a stock web3.py client sees it."""

import asyncio
import time
from typing import Any

import pytest
from eth._utils.address import generate_contract_address
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.constants import HISTORY_STORAGE_ADDRESS
from eth_account import Account
from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes
from tests.services.chain.endpoint import ask, refusal
from tests.services.chain.evm import (
    FRIEND,
    GWEI,
    LOG_CALLDATA,
    RETURN_NUMBER,
    RETURN_TIMESTAMP,
    REVERT_TWO_WORDS,
    SPIN,
    create,
    signed,
)
from web3 import AsyncWeb3
from web3.exceptions import ContractLogicError, Web3RPCError
from web3.types import TxParams, Wei

from waypost.chain import proxy
from waypost.chain.embedded import CHAIN_ID, FUNDED_KEYS, EmbeddedChain
from waypost.chain.embedded.machine import Machine, Message
from waypost.errors import PortInUse
from waypost.protocol.signatures import checksum


async def test_says_what_it_is(web3: AsyncWeb3[Any]) -> None:
    assert await web3.eth.chain_id == 31337
    assert await web3.net.version == "31337"
    assert (await web3.client_version).startswith("waypost/")
    assert list(await web3.eth.accounts) == []
    assert await web3.eth.syncing is False
    assert await web3.eth.block_number == 0


async def test_funds_the_ten_well_known_accounts(web3: AsyncWeb3[Any]) -> None:
    addresses = [Account.from_key(key).address for key in FUNDED_KEYS]
    assert addresses[0] == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert addresses[9] == "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
    for address in addresses:
        assert await web3.eth.get_balance(address) == 10_000 * 10**18


async def test_mines_what_it_is_sent(web3: AsyncWeb3[Any], account: LocalAccount) -> None:
    raw = signed(account, value=7)
    sent = await web3.eth.send_raw_transaction(raw)
    receipt = await web3.eth.get_transaction_receipt(sent)
    assert (receipt["status"], receipt["gasUsed"], receipt["blockNumber"]) == (1, 21_000, 1)
    assert receipt["effectiveGasPrice"] == GWEI + 875_000_000
    assert await web3.eth.get_balance(FRIEND) == 7
    assert await web3.eth.get_balance(FRIEND, 0) == 0
    block: Any = await web3.eth.get_block("latest", full_transactions=True)
    assert block["hash"] == receipt["blockHash"]
    assert block["transactions"][0]["hash"] == sent
    assert block["parentHash"] == (await web3.eth.get_block(0))["hash"]
    found = await web3.eth.get_transaction(sent)
    assert (found["from"], found["to"], found["value"], found["nonce"]) == (account.address, FRIEND, 7, 0)
    by_index = await web3.eth.get_transaction_by_block(1, 0)
    assert by_index == found
    assert await web3.eth.get_block_transaction_count(1) == 1


async def test_takes_transactions_of_every_type_but_blobs(
    web3: AsyncWeb3[Any], account: LocalAccount
) -> None:
    legacy = signed(account, gasPrice=3 * GWEI)
    listed = signed(
        account,
        nonce=1,
        type=1,
        gasPrice=3 * GWEI,
        accessList=[{"address": FRIEND, "storageKeys": ["0x" + "00" * 32]}],
    )
    delegate = account.sign_authorization({"chainId": CHAIN_ID, "address": FRIEND, "nonce": 4})
    delegating = signed(account, nonce=3, type=4, authorizationList=[delegate])
    types = []
    for raw in (legacy, listed, signed(account, nonce=2), delegating):
        sent = await web3.eth.send_raw_transaction(raw)
        assert (await web3.eth.get_transaction_receipt(sent))["status"] == 1
        types.append((await web3.eth.get_transaction(sent))["type"])
    assert types == [0, 1, 2, 4]
    assert await web3.eth.get_code(account.address) == HexBytes("0xef0100" + FRIEND[2:])


async def test_a_failed_transaction_is_mined_and_pays(web3: AsyncWeb3[Any], account: LocalAccount) -> None:
    contract = await create(web3, account, REVERT_TWO_WORDS)
    sent = await web3.eth.send_raw_transaction(signed(account, nonce=1, to=contract))
    receipt = await web3.eth.get_transaction_receipt(sent)
    assert receipt["status"] == 0
    assert 21_000 < receipt["gasUsed"] < 22_000


async def test_calls_answer_and_revert_like_elsewhere(web3: AsyncWeb3[Any], account: LocalAccount) -> None:
    number = await create(web3, account, RETURN_NUMBER)
    assert int.from_bytes(await web3.eth.call({"to": number})) == 2
    reverting = await create(web3, account, REVERT_TWO_WORDS)
    with pytest.raises(ContractLogicError) as caught:
        await web3.eth.call({"to": reverting})
    assert caught.value.data == "0x" + f"{1:064x}{2:064x}"
    with pytest.raises(ContractLogicError):
        await web3.eth.estimate_gas({"to": reverting})
    spinning = await create(web3, account, SPIN)
    with pytest.raises(Web3RPCError, match="out of gas"):
        await web3.eth.call({"to": spinning, "gas": 50_000})
    poor = Account.create().address
    with pytest.raises(Web3RPCError, match="insufficient funds"):
        await web3.eth.call({"from": poor, "to": FRIEND, "value": Wei(1)})


async def test_a_revert_reason_is_in_the_message(chain: EmbeddedChain, web3: AsyncWeb3[Any]) -> None:
    # revert Error("no"): the init code of a call without receiver is what runs.
    reason = "08c379a0" + f"{32:064x}" + f"{2:064x}" + "6e6f" + "00" * 30
    pushes = "".join(
        f"7f{reason[i : i + 64].ljust(64, '0')}60{i // 2:02x}52" for i in range(0, len(reason), 64)
    )
    error = await refusal(chain.url, "eth_call", {"data": f"0x{pushes}60645ffd"}, "latest")
    assert error == {"code": 3, "message": "execution reverted: no", "data": "0x" + reason}


async def test_estimates_are_enough_and_not_much_more(web3: AsyncWeb3[Any], account: LocalAccount) -> None:
    assert await web3.eth.estimate_gas({"from": account.address, "to": FRIEND, "value": Wei(1)}) == 21_000
    logging = await create(web3, account, LOG_CALLDATA)
    call: TxParams = {"from": account.address, "to": logging, "data": HexBytes("0x" + "ab" * 96)}
    estimate = await web3.eth.estimate_gas(call)
    sent = await web3.eth.send_raw_transaction(
        signed(account, nonce=1, to=logging, data="0x" + "ab" * 96, gas=estimate)
    )
    receipt = await web3.eth.get_transaction_receipt(sent)
    assert receipt["status"] == 1
    assert receipt["gasUsed"] <= estimate <= receipt["gasUsed"] * 1.02


async def test_logs_are_found_by_address_topic_range_and_block(
    web3: AsyncWeb3[Any], account: LocalAccount
) -> None:
    one, two = [await create(web3, account, LOG_CALLDATA) for _ in range(2)]
    a, b = "0x" + "aa" * 32, "0x" + "bb" * 32
    for nonce, (contract, topic) in enumerate(((one, a), (one, b), (two, a)), start=2):
        await web3.eth.send_raw_transaction(signed(account, nonce=nonce, to=contract, data=topic))

    async def numbers(**where: Any) -> list[int]:
        return [entry["blockNumber"] for entry in await web3.eth.get_logs(where)]  # type: ignore[arg-type]

    assert await numbers(fromBlock=0) == [3, 4, 5]
    assert await numbers(fromBlock=0, address=one) == [3, 4]
    assert await numbers(fromBlock=0, address=[one, two], topics=[a]) == [3, 5]
    assert await numbers(fromBlock=0, topics=[[a, b]]) == [3, 4, 5]
    assert await numbers(fromBlock=0, topics=[None]) == [3, 4, 5]
    assert await numbers(fromBlock=0, topics=[a, a]) == []
    assert await numbers(fromBlock=4, toBlock=4) == [4]
    assert await numbers() == [5]
    block = await web3.eth.get_block(4)
    (entry,) = await web3.eth.get_logs({"blockHash": block["hash"]})
    assert entry["topics"] == [HexBytes(b)]
    assert entry["data"] == HexBytes(b)
    assert (entry["address"], entry["logIndex"], entry["removed"]) == (one, 0, False)
    with pytest.raises(Web3RPCError, match="invalid block range"):
        await numbers(fromBlock=4, toBlock=3)
    with pytest.raises(Web3RPCError, match="unknown block"):
        await web3.eth.get_logs({"blockHash": HexBytes("0x" + "12" * 32)})


async def test_fee_history_for_wallets(web3: AsyncWeb3[Any], account: LocalAccount) -> None:
    for nonce, tip in enumerate((1, 2, 3)):
        await web3.eth.send_raw_transaction(
            signed(account, nonce=nonce, maxPriorityFeePerGas=tip * GWEI // 10)
        )
    history = await web3.eth.fee_history(2, "latest", [0, 100])
    assert history["oldestBlock"] == 2
    assert len(history["baseFeePerGas"]) == 3
    assert history["reward"] == [[GWEI // 5] * 2, [3 * GWEI // 10] * 2]
    assert history["gasUsedRatio"] == [21_000 / 60_000_000] * 2
    assert history["baseFeePerGas"][1] == (await web3.eth.get_block(3))["baseFeePerGas"]
    assert await web3.eth.gas_price == history["baseFeePerGas"][2] + await web3.eth.max_priority_fee


async def test_storage_and_unknown_things(web3: AsyncWeb3[Any]) -> None:
    assert await web3.eth.get_storage_at(FRIEND, 0) == HexBytes(bytes(32))
    assert await web3.eth.get_code(FRIEND) == b""
    for number in (5, "0x" + "00" * 32):
        with pytest.raises(Web3RPCError, match="not found"):
            await web3.eth.get_block(number)  # type: ignore[arg-type]
    with pytest.raises(Web3RPCError, match="not found"):
        await web3.eth.get_transaction(HexBytes(bytes(32)))
    with pytest.raises(Web3RPCError, match="not found"):
        await web3.eth.get_balance(FRIEND, 5)


# ---- Time, snapshots, system contracts ----


async def test_time_is_everybodys_time_and_never_runs_ahead(
    web3: AsyncWeb3[Any], account: LocalAccount
) -> None:
    stamps = []
    for nonce in range(20):
        await web3.eth.send_raw_transaction(signed(account, nonce=nonce))
        block = await web3.eth.get_block("latest")
        assert block["timestamp"] <= time.time()
        stamps.append(block["timestamp"])
    assert stamps == sorted(stamps)


async def test_calls_see_the_present_without_a_new_block(
    chain: EmbeddedChain, web3: AsyncWeb3[Any], account: LocalAccount
) -> None:
    clock = await create(web3, account, RETURN_TIMESTAMP)
    mined = (await web3.eth.get_block("latest"))["timestamp"]
    await ask(chain.url, "evm_increaseTime", 1_000)
    assert int.from_bytes(await web3.eth.call({"to": clock})) >= mined + 1_000
    assert (await web3.eth.get_block("pending"))["timestamp"] >= mined + 1_000
    assert (await web3.eth.get_block("latest"))["timestamp"] == mined
    assert int.from_bytes(await web3.eth.call({"to": clock}, 0) or b"\0") == 0
    await ask(chain.url, "evm_mine", mined + 5_000)
    assert (await web3.eth.get_block("latest"))["timestamp"] == mined + 5_000
    error = await refusal(chain.url, "evm_mine", mined)
    assert "before the newest block" in error["message"]
    assert (await refusal(chain.url, "evm_increaseTime", 2**60))["code"] == -32000


async def test_block_time_mines_while_nobody_sends() -> None:
    async with EmbeddedChain(block_time=0.01) as chain:
        async with asyncio.timeout(20):
            while int(await ask(chain.url, "eth_blockNumber"), 16) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_snapshots_bring_the_chain_back(
    chain: EmbeddedChain, web3: AsyncWeb3[Any], account: LocalAccount
) -> None:
    await web3.eth.send_raw_transaction(signed(account, value=1))
    first = await ask(chain.url, "evm_snapshot")
    sent = await web3.eth.send_raw_transaction(signed(account, nonce=1, value=2))
    abandoned = await web3.eth.get_block("latest")
    second = await ask(chain.url, "evm_snapshot")
    assert await ask(chain.url, "evm_revert", first) is True
    assert await web3.eth.block_number == 1
    assert await web3.eth.get_balance(FRIEND) == 1
    for lookup in (web3.eth.get_transaction_receipt(sent), web3.eth.get_block(abandoned["hash"])):
        with pytest.raises(Web3RPCError, match="not found"):
            await lookup
    assert await ask(chain.url, "evm_revert", second) is False
    assert await ask(chain.url, "evm_revert", first) is False
    again = await web3.eth.send_raw_transaction(signed(account, nonce=1, value=2))
    assert again == sent
    block = await web3.eth.get_block("latest")
    assert (block["number"], block["parentHash"]) == (2, abandoned["parentHash"])
    assert block["hash"] != abandoned["hash"]


async def test_ancestors_are_known_to_contracts(web3: AsyncWeb3[Any], chain: EmbeddedChain) -> None:
    for _ in range(3):
        await ask(chain.url, "evm_mine")
    expected = (await web3.eth.get_block(2))["hash"]
    history = checksum(HISTORY_STORAGE_ADDRESS)
    assert await web3.eth.call({"to": history, "data": HexBytes(f"0x{2:064x}")}) == expected  # EIP-2935
    blockhash = HexBytes("0x60024060005260206000f3")  # BLOCKHASH(2) in init code
    assert await web3.eth.call({"data": blockhash}) == expected


async def test_the_deployment_proxy_is_the_one_that_its_transaction_creates(web3: AsyncWeb3[Any]) -> None:
    installation = PragueVM.get_transaction_builder().decode(proxy.INSTALLATION)
    assert checksum(installation.sender) == proxy.INSTALLER
    assert installation.gas * installation.gas_price == proxy.INSTALLATION_COST
    assert checksum(generate_contract_address(installation.sender, 0)) == proxy.ADDRESS
    assert bytes(Machine(0).call(Message(data=installation.data), 1).output) == proxy.CODE
    assert await web3.eth.get_code(proxy.ADDRESS) == proxy.CODE
    init = bytes.fromhex("60015f5260205ff3")  # a contract of 32 bytes
    salt = b"\x07" * 32
    created = await web3.eth.call({"to": proxy.ADDRESS, "data": HexBytes(salt + init)})
    assert AsyncWeb3.to_checksum_address(created) == proxy.address_of(init, salt)


async def test_a_busy_port_is_one_clear_error(chain: EmbeddedChain) -> None:
    port = int(chain.url.rsplit(":", 1)[1])
    with pytest.raises(PortInUse, match=str(port)):
        async with EmbeddedChain(port):
            pass


async def test_stops_when_told_and_frees_its_port() -> None:
    async with EmbeddedChain() as chain:
        port = int(chain.url.rsplit(":", 1)[1])
        assert await ask(chain.url, "eth_blockNumber") == "0x0"
    async with EmbeddedChain(port) as again:
        assert await ask(again.url, "eth_blockNumber") == "0x0"
