"""What a deployer pays, on anvil: within the bounds that were given, and nothing unless there is enough."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.fire.anvil import anvil
from tests.fire.deployment import CHAIN_ID, GWEI, Deployment
from tests.services.chain.endpoint import ask

from waypost.chain.connection import Call, Connection
from waypost.chain.deploy import execute, plan
from waypost.chain.deployer import Bid, Deployer, Funds
from waypost.chain.presets import TESTNET
from waypost.errors import FeeTooHigh, InsufficientFunds

QUICK = replace(TESTNET, confirmations=0)


@pytest.fixture
def url() -> Iterator[str]:
    with anvil("--chain-id", str(CHAIN_ID)) as running:
        yield running


async def test_the_bounds_on_fees_are_kept(deployment: Deployment) -> None:
    await ask(deployment.url, "evm_setIntervalMining", 1)  # the command waits for confirmations
    said = await deployment.finish("--max-fee-gwei", "2.75", "--priority-fee-gwei", "0.125")
    assert " gwei, of which 0.125 is priority fee" in said
    transactions = [
        await ask(deployment.url, "eth_getTransactionByHash", "0x" + (entry.transaction or b"").hex())
        for entry in deployment.manifest.contracts.values()
    ]
    assert len(transactions) == 4
    for each in transactions:
        assert int(each["maxPriorityFeePerGas"], 16) == GWEI // 8
        assert GWEI // 8 < int(each["maxFeePerGas"], 16) <= 2.75 * GWEI


async def test_what_replaces_a_stuck_transaction_stays_within_the_bounds(
    connection: Connection, deployment: Deployment
) -> None:
    bid = Bid(max_fee=3 * GWEI, tip=2 * GWEI)
    deployer = Deployer(connection, bytes(deployment.account.key), bid)
    payment = Call(deployer.address, b"", 1)
    offered = deployer.sign_exactly(payment, nonce=0, gas=21_000, max_fee=2 * GWEI, tip=GWEI)
    raised = await deployer.replace(offered)
    await ask(deployment.url, "evm_setAutomine", False)
    await deployer.broadcast(raised)
    found = await ask(deployment.url, "eth_getTransactionByHash", "0x" + raised.hash.hex())
    assert int(found["maxFeePerGas"], 16) <= 3 * GWEI
    assert int(found["maxPriorityFeePerGas"], 16) == 2 * GWEI
    with pytest.raises(FeeTooHigh):
        await deployer.replace(await deployer.replace(await deployer.replace(await deployer.replace(raised))))


async def test_exactly_enough_is_enough(connection: Connection, deployment: Deployment) -> None:
    """Where every gas costs the most that was bid, down to the last transaction's reserve."""
    bid = Bid(max_fee=5 * GWEI, tip=5 * GWEI)
    deployer = Deployer(connection, bytes(deployment.account.key), bid)
    found = await plan(connection, QUICK, bid=bid)
    assert (found.gas_price, found.tip) == (5 * GWEI, 5 * GWEI)

    await ask(deployment.url, "anvil_setBalance", deployer.address, hex(found.cost - 1))
    funds = await Funds.of(connection, deployer.address, found.cost)
    assert not funds.suffice
    with pytest.raises(InsufficientFunds):
        funds.require()

    await ask(deployment.url, "anvil_setBalance", deployer.address, hex(found.cost))
    funds = await Funds.of(connection, deployer.address, found.cost)
    assert funds.suffice
    funds.require()
    made = await execute(found, deployer)
    paid = found.cost - await connection.balance(deployer.address)
    receipts = [await connection.receipt(entry.transaction or b"") for entry in made.contracts.values()]
    assert paid == sum(receipt.gas_used * 5 * GWEI for receipt in receipts if receipt is not None)
    assert paid <= found.cost


async def test_too_little_money_is_said_with_both_numbers(
    connection: Connection, deployment: Deployment
) -> None:
    await ask(deployment.url, "anvil_setBalance", deployment.account.address, hex(10**12))
    needed = (await plan(connection, TESTNET)).cost
    process = await deployment.start("--json")
    said, _ = await process.communicate()
    assert process.returncode == 1
    assert '"code": "insufficient_funds"' in said.decode()
    assert f'"balance": "{10**12}", "needed": "{needed}"' in said.decode()
    assert deployment.raws == []
    assert not deployment.path.exists()
    assert not deployment.record.exists()
