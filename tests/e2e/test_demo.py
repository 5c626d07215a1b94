"""The demo as another program sees it: figures are computed again from the chain, with nothing of ours."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from web3 import HTTPProvider, Web3

CLAIMED = Web3.keccak(text="Claimed(address,address,uint256,bytes32[])")
SLASHED = Web3.keccak(text="Slashed(uint256,address,uint32,uint256,uint256,uint256)")
CHEATS = {
    "unpaid_request",
    "stale_receipt",
    "receipt_for_another_node",
    "forged_signature",
    "receipt_above_deposit",
    "close_before_claim",
}


def demo(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "waypost", "demo", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def outcome() -> Iterator[dict[str, Any]]:
    found = demo("--keep", "--messages", "30", "--seed", "7")
    try:
        yield found
    finally:
        for process in found["processes"].values():
            os.kill(process, signal.SIGTERM)


@pytest.fixture(scope="module")
def chain(outcome: dict[str, Any]) -> Web3:
    return Web3(HTTPProvider(outcome["rpc"]))


def test_messages_and_cheats(outcome: dict[str, Any]) -> None:
    assert outcome["messages"] == {"stored": 30, "fetched": 30, "verified": 30}
    assert outcome["cheats"] == dict.fromkeys(CHEATS, True)


def test_the_spammer_paid_and_the_chain_says_so(outcome: dict[str, Any], chain: Web3) -> None:
    slash = outcome["slash"]
    assert outcome["relayed"] == 12
    assert slash["refused"] == 3
    assert slash["reward"] == slash["stake"] // 5
    contract, dead = outcome["contracts"]["RlnMembership"], "0x" + "00" * 18 + "dEaD"
    (log,) = chain.eth.get_logs({"fromBlock": 0, "address": contract, "topics": [SLASHED]})
    receiver = Web3.to_checksum_address(log["topics"][2][-20:])
    (winner,) = [node for node in outcome["nodes"] if node["operator"] == receiver]
    assert winner["name"] == slash["receiver"]
    assert winner["members"] >= slash["reward"]
    assert balance_of(chain, outcome, dead) >= slash["burned"] >= slash["stake"] - slash["reward"]


def test_claimed_is_what_the_claims_events_say(outcome: dict[str, Any], chain: Web3) -> None:
    paid: Counter[str] = Counter()
    for transaction in outcome["claims"]:
        receipt = chain.eth.get_transaction_receipt(transaction)
        assert receipt["status"] == 1
        for log in receipt["logs"]:
            if log["address"] == outcome["contracts"]["Channels"] and log["topics"][0] == CLAIMED:
                payee = Web3.to_checksum_address(log["topics"][1][-20:])
                total = int.from_bytes(log["data"][:32])
                count = int.from_bytes(log["data"][64:96])
                entries = [log["data"][96 + 32 * i : 128 + 32 * i] for i in range(count)]
                assert total == sum(int.from_bytes(entry[20:]) for entry in entries)
                paid[payee] += total
    assert {node["operator"]: node["claimed"] for node in outcome["nodes"]} == paid
    assert len(outcome["nodes"]) == 3
    assert all(node["claimed"] > 0 for node in outcome["nodes"])


def balance_of(chain: Web3, outcome: dict[str, Any], account: str) -> int:
    data = Web3.keccak(text="balanceOf(address)")[:4] + bytes.fromhex(account[2:]).rjust(32, b"\0")
    return int.from_bytes(
        chain.eth.call({"to": outcome["contracts"]["DevDollar"], "data": Web3.to_hex(data)})
    )


def test_onchain_is_the_operators_balance(outcome: dict[str, Any], chain: Web3) -> None:
    for node in outcome["nodes"]:
        assert balance_of(chain, outcome, node["operator"]) == node["onchain"]
        assert node["onchain"] - node["members"] == node["claimed"] == node["earned"] == node["served"]


def test_nothing_stays_in_the_channels(outcome: dict[str, Any], chain: Web3) -> None:
    assert balance_of(chain, outcome, outcome["contracts"]["Channels"]) == 0


def test_one_act_alone() -> None:
    outcome = demo("--act", "store", "--messages", "6")
    assert outcome["messages"] == {"stored": 6, "fetched": 0, "verified": 0}
    assert outcome["cheats"] == {}
    assert all(node["served"] == node["onchain"] > 0 for node in outcome["nodes"])
