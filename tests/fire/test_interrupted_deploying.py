"""`waypost deploy` as a process that is killed (-9) while it deploys, on anvil with a block every second.
An endpoint in between knows the moment of each transaction, and whether it still arrives."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from tests.fire.anvil import anvil, set_base_fee
from tests.fire.deployment import CHAIN_ID, GWEI, MONEY, Deployment
from tests.services.chain.endpoint import ask
from tests.services.node.money_node import until

from waypost.chain import proxy
from waypost.chain.connection import Connection, connect
from waypost.chain.deploy import carry_out, plan
from waypost.chain.presets import TESTNET
from waypost.chain.transactions import Sender, SignedTransaction

NAMES = ["DevDollar", "Channels", "NodeRegistry", "RlnMembership"]


@pytest.fixture
def url() -> Iterator[str]:
    with anvil("--chain-id", str(CHAIN_ID), "--block-time", "1") as running:
        yield running


async def require_complete(
    connection: Connection, deployment: Deployment, *, nonces: int = len(NAMES)
) -> None:
    """So many transactions were mined; each contract's own is where the manifest says; no record is left."""
    assert await connection.nonce(deployment.account.address, pending=True) == nonces
    assert list(deployment.manifest.contracts) == NAMES
    for entry in deployment.manifest.contracts.values():
        assert entry.transaction is not None
        receipt = await connection.receipt(entry.transaction)
        assert receipt is not None
        assert (receipt.succeeded, receipt.block_number) == (True, entry.block)
        assert await connection.code(entry.address)
        assert not await connection.code(entry.address, entry.block - 1)
    assert not deployment.record.exists()


async def test_killed_at_every_transaction(connection: Connection, deployment: Deployment) -> None:
    """Before it arrives and after, then while it waits: so many creations are sent, and no more are paid."""
    for number in range(1, len(NAMES) + 1):
        for arrives in (False, True):
            said = await deployment.kill_at_next_transaction(arrives=arrives)
            assert len(deployment.recorded) == number
            assert ("never arrived, or was dropped: it is sent again" in said) is arrives
    await ask(deployment.url, "evm_setIntervalMining", 0)  # however slowly it starts, they are missing then
    await ask(deployment.url, "evm_mine")
    await deployment.kill_when_it_says("confirmations are missing")
    recorded = deployment.record.read_text()
    hashes = [each.hash for each in deployment.recorded]
    assert not deployment.path.exists()
    await ask(deployment.url, "evm_setIntervalMining", 1)
    await deployment.finish()
    await require_complete(connection, deployment)
    assert [entry.transaction for entry in deployment.manifest.contracts.values()] == hashes
    assert [SignedTransaction.from_raw(raw).hash for raw in deployment.raws] == hashes

    # Killed after the manifest was written, and before the record was removed.
    made = deployment.manifest
    deployment.record.write_text(recorded)
    await deployment.finish()
    await require_complete(connection, deployment)
    assert deployment.manifest == made


async def test_killed_while_it_installs_the_proxy(connection: Connection, deployment: Deployment) -> None:
    """Its own transaction, which anybody can send, is tried first; then its installer is given money once."""
    await ask(deployment.url, "anvil_setCode", proxy.ADDRESS, "0x")
    await ask(deployment.url, "anvil_setNonce", proxy.ADDRESS, "0x0")
    await deployment.kill_at_next_transaction(arrives=True)
    assert deployment.raws == [proxy.INSTALLATION]
    assert not deployment.record.exists()
    await deployment.kill_at_next_transaction(arrives=False, after=1)
    assert [each.raw for each in deployment.recorded] == deployment.raws[1:]
    await deployment.kill_at_next_transaction(arrives=True)
    await deployment.kill_at_next_transaction(arrives=False)
    assert [each.raw for each in deployment.recorded] == deployment.raws[1:]
    await deployment.finish()
    await require_complete(connection, deployment, nonces=len(NAMES) + 1)
    assert await connection.code(proxy.ADDRESS) == proxy.CODE


async def test_a_transaction_that_was_dropped_is_sent_again(
    connection: Connection, deployment: Deployment
) -> None:
    await ask(deployment.url, "evm_setIntervalMining", 0)
    await deployment.kill_at_next_transaction(arrives=True)
    (first,) = deployment.recorded
    await ask(deployment.url, "anvil_dropTransaction", "0x" + first.hash.hex())
    await ask(deployment.url, "evm_setIntervalMining", 1)
    assert "was dropped: it is sent again" in await deployment.finish()
    await require_complete(connection, deployment)
    assert deployment.manifest.contracts["DevDollar"].transaction == first.hash


async def test_a_nonce_that_was_used_otherwise(connection: Connection, deployment: Deployment) -> None:
    await deployment.kill_at_next_transaction(arrives=False)
    (first,) = deployment.recorded
    await deployment.pay_somebody(first.nonce)
    said = await deployment.finish()
    assert f"0x{first.hash.hex()} came to nothing: Another transaction of the account took nonce 0" in said
    await require_complete(connection, deployment, nonces=len(NAMES) + 1)
    assert deployment.manifest.contracts["DevDollar"].transaction != first.hash


async def test_a_fee_that_is_too_low_by_now_is_raised(connection: Connection, deployment: Deployment) -> None:
    await deployment.kill_at_next_transaction(arrives=False)
    (first,) = deployment.recorded
    await set_base_fee(deployment.url, 200 * GWEI)
    await until_base_fee(connection, 100 * GWEI)
    assert "came to nothing: http://127.0.0.1" in await deployment.finish()  # the endpoint's refusal
    await require_complete(connection, deployment)
    found = deployment.manifest.contracts["DevDollar"].transaction
    assert found != first.hash
    nonces = {each.hash: each.nonce for each in map(SignedTransaction.from_raw, deployment.raws)}
    assert found is not None
    assert nonces[found] == first.nonce


async def test_a_record_of_a_chain_that_started_anew(deployment: Deployment) -> None:
    """The same chain id with another history: the recorded nonce would wait there for ever."""
    await deployment.pay_somebody(0)
    await deployment.kill_at_next_transaction(arrives=True)
    (first,) = deployment.recorded
    assert first.nonce == 1
    with anvil("--chain-id", str(CHAIN_ID), "--block-time", "1") as other:
        await ask(other, "anvil_setBalance", deployment.account.address, hex(MONEY))
        deployment.endpoint.behind = other
        said = await deployment.finish()
        assert f"0x{first.hash.hex()} came to nothing: the account's next nonce is 0" in said
        async with await connect(other) as connection:
            await require_complete(connection, deployment)


async def test_two_at_once(connection: Connection, deployment: Deployment) -> None:
    """The second is refused before it sends anything; the lock goes with the process, even by kill -9."""
    await ask(deployment.url, "evm_setIntervalMining", 0)
    first = await deployment.start()
    await until(lambda: deployment.record.exists() and bool(deployment.raws))
    second = await deployment.start()
    said, _ = await second.communicate()
    assert second.returncode == 1
    assert f"error[data_in_use]: Another deployment of {deployment.path} is running" in said.decode()
    assert len(deployment.raws) == 1
    first.kill()
    await first.communicate()
    await ask(deployment.url, "evm_setIntervalMining", 1)
    await deployment.finish()
    await require_complete(connection, deployment)


async def test_a_record_of_another_deployment(connection: Connection, deployment: Deployment) -> None:
    await deployment.kill_at_next_transaction(arrives=False)
    recorded = deployment.record.read_text()
    for words, reason in (
        (("--salt", "0x" + "01" * 32), "records another deployment, with DevDollar at 0x"),
        (("--keystore", str(await deployment.another_wallet())), f"by {deployment.account.address}"),
    ):
        process = await deployment.start(*words)
        said, _ = await process.communicate()
        assert process.returncode == 1
        assert b"error[invalid_config]" in said
        assert reason in said.decode()
    content = json.loads(recorded)
    for key, chain in ((Account.create().key, CHAIN_ID), (deployment.account.key, CHAIN_ID + 1)):
        theft = {
            "to": proxy.ADDRESS, "value": 10**17, "nonce": 0, "gas": 21_000,
            "maxFeePerGas": GWEI, "maxPriorityFeePerGas": 0, "chainId": chain,
        }  # fmt: skip
        content["transactions"][0]["raw"] = Account.sign_transaction(theft, key).raw_transaction.hex()
        deployment.record.write_text(json.dumps(content))
        process = await deployment.start()
        said, _ = await process.communicate()
        assert b"was tampered with" in said, said
    deployment.record.write_text(recorded[:-40])
    process = await deployment.start()
    said, _ = await process.communicate()
    assert b"cannot be read" in said
    assert await connection.nonce(deployment.account.address, pending=True) == 0
    deployment.record.write_text(recorded)
    await deployment.finish()
    await require_complete(connection, deployment)


async def test_a_transaction_that_is_stuck_is_replaced(
    connection: Connection, deployment: Deployment
) -> None:
    """It waits in the pool and is not mined: so it is offered again with a higher fee."""
    await ask(deployment.url, "evm_setIntervalMining", 0)
    await deployment.kill_at_next_transaction(arrives=True)
    (first,) = deployment.recorded
    quick = replace(TESTNET, confirmations=0)
    sender = Hasty(connection, bytes(deployment.account.key))
    running = asyncio.ensure_future(carry_out(await plan(connection, quick), sender, deployment.path))
    await until(lambda: deployment.record.exists() and len(deployment.recorded) == 2)
    (_, second) = deployment.recorded
    await ask(deployment.url, "evm_setIntervalMining", 1)
    await running
    await require_complete(connection, deployment)
    assert deployment.manifest.contracts["DevDollar"].transaction == second.hash
    assert (second.nonce, second.hash != first.hash) == (first.nonce, True)


class Hasty(Sender):
    """Takes for stuck what is not mined within three seconds."""

    async def wait(self, *transactions: Any, **options: Any) -> Any:
        return await super().wait(*transactions, **options | {"timeout": 3})


async def until_base_fee(connection: Connection, least: int) -> None:
    async def high() -> bool:
        return await connection.base_fee() >= least

    await until(high)
