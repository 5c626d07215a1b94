"""The proxy that deploys: installed where it is missing, and nobody pays for what cannot work."""

import asyncio
import re
from typing import Any

import pytest
from tests.services.chain.endpoint import PASS, Endpoint, Fault

from waypost.chain import proxy
from waypost.chain.connection import Call, Connection, connect
from waypost.chain.deploy import PROXY, execute, plan, verify
from waypost.chain.embedded import FUNDED_KEYS, EmbeddedChain, genesis
from waypost.chain.presets import LOCAL
from waypost.chain.transactions import Sender
from waypost.errors import (
    DeploymentProxyMissing,
    FeeTooHigh,
)

NAMES = ["DevDollar", "Channels", "NodeRegistry", "RlnMembership"]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next embedded chain starts without the deployment proxy."""
    full = genesis.state
    monkeypatch.setattr(
        genesis, "state", lambda: {k: v for k, v in full().items() if v["code"] != proxy.CODE}
    )


async def test_the_proxy_is_installed_where_it_is_missing(bare: None, chain: EmbeddedChain) -> None:
    async with await connect(chain.url) as connection:
        found = await plan(connection, LOCAL)
        assert [step.name for step in found.steps] == [PROXY, *NAMES]
        assert found.cost > proxy.INSTALLATION_COST
        told: list[str] = []
        sender = Sender(connection, FUNDED_KEYS[0])
        manifest = await execute(found, sender, told.append)
        assert told == [f"{step.name} is at {step.address}" for step in found.steps]
        assert await connection.code(proxy.ADDRESS) == proxy.CODE
        await verify(connection, manifest)


async def test_what_the_proxys_installer_was_given_is_not_counted_again(
    bare: None, connection: Connection, sender: Sender
) -> None:
    dear = await plan(connection, LOCAL)
    await sender.send(Call(proxy.INSTALLER, b"", proxy.INSTALLATION_COST - 7))
    nearly = await plan(connection, LOCAL)
    assert (dear.steps[0].value, nearly.steps[0].value) == (proxy.INSTALLATION_COST, 7)
    await sender.send(Call(proxy.INSTALLER, b"", 7))
    funded = await plan(connection, LOCAL)
    assert (funded.steps[0].gas, funded.steps[0].value) == (0, 0)
    assert funded.cost < dear.cost - proxy.INSTALLATION_COST
    assert "for its installer" in dear.steps[0].state
    assert "for its installer" not in funded.steps[0].state
    await execute(funded, sender)
    assert await connection.nonce(sender.address) == 2 + len(NAMES)  # no third gift
    assert await connection.code(proxy.ADDRESS) == proxy.CODE


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ("only replay-protected (EIP-155) transactions allowed over RPC", False),
        ("intrinsic gas too low", False),
        ("InsufficientFunds, Balance is 0 less than sending value + gas", True),
        ("insufficient funds for gas * price + value: balance 0, tx cost 1", True),
    ],
)
async def test_money_is_sent_only_where_the_proxys_transaction_is_taken(
    bare: None, chain: EmbeddedChain, endpoint: Endpoint, words: str, taken: bool
) -> None:
    endpoint.behind = chain.url
    refusals = [Fault(-32000, words)]

    def answer(params: list[Any]) -> Any:
        if refusals and params[0] == "0x" + proxy.INSTALLATION.hex():
            raise refusals.pop() if taken else refusals[0]
        return PASS

    endpoint.answers["eth_sendRawTransaction"] = answer
    async with await connect(endpoint.url) as connection:
        sender = Sender(connection, FUNDED_KEYS[0])
        if taken:
            await execute(await plan(connection, LOCAL), sender)
            assert await connection.code(proxy.ADDRESS) == proxy.CODE
        else:
            with pytest.raises(DeploymentProxyMissing, match=re.escape(words)):
                await execute(await plan(connection, LOCAL), sender)
            assert await connection.balance(proxy.INSTALLER) == 0
            assert await connection.nonce(sender.address) == 0


async def test_a_chain_on_which_the_proxys_transaction_can_never_work(
    bare: None, chain: EmbeddedChain, endpoint: Endpoint
) -> None:
    endpoint.behind = chain.url
    async with await connect(endpoint.url) as connection:
        endpoint.answers["eth_estimateGas"] = lambda _: hex(100_001)
        with pytest.raises(DeploymentProxyMissing, match="takes 100,001 gas here, and it has 100,000"):
            await plan(connection, LOCAL)
        del endpoint.answers["eth_estimateGas"]
        endpoint.answers["eth_getTransactionCount"] = lambda _: "0x1"
        with pytest.raises(DeploymentProxyMissing, match="cannot be mined again"):
            await plan(connection, LOCAL)
        del endpoint.answers["eth_getTransactionCount"]

        def dear(_: Connection) -> Any:
            return asyncio.sleep(0, 10**11 + 1)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "base_fee", dear)
            with pytest.raises(FeeTooHigh, match=r"offers 100 gwei .* the chain asks 100\.000000001"):
                await plan(connection, LOCAL)
