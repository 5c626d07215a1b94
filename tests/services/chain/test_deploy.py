"""Deployment: the same addresses everywhere, resumable, and nothing is taken for what it is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from tests.services.chain.endpoint import Endpoint

from waypost.chain import artifacts, proxy
from waypost.chain.channels import Channels
from waypost.chain.connection import Connection, connect
from waypost.chain.creations import alone
from waypost.chain.deploy import carry_out, execute, plan, verify
from waypost.chain.deployer import Bid
from waypost.chain.embedded import FUNDED_KEYS, EmbeddedChain
from waypost.chain.manifest import Manifest
from waypost.chain.membership import Membership
from waypost.chain.presets import LOCAL, MAINNET, TESTNET
from waypost.chain.registry import Registry
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.chain.verification import examine
from waypost.errors import (
    DataInUse,
    DeploymentMismatch,
    InsufficientFunds,
    InvalidConfig,
    WrongChain,
    WrongContract,
)
from waypost.protocol.rln import DEPTH

HOUR = 3600
NAMES = ["DevDollar", "Channels", "NodeRegistry", "RlnMembership"]
STRANGER: Any = "0x1111111111111111111111111111111111111111"


def addresses(manifest: Manifest) -> dict[str, str]:
    return {name: deployment.address for name, deployment in manifest.contracts.items()}


async def test_a_plan_says_what_it_costs_and_changes_nothing(connection: Connection) -> None:
    found = await plan(connection, LOCAL)
    assert [step.name for step in found.steps] == NAMES
    assert not any(step.already_there for step in found.steps)
    assert (await connection.head()).number == 0
    sender = Sender(connection, FUNDED_KEYS[0])
    before = await connection.balance(sender.address)
    manifest = await execute(found, sender)
    spent = before - await connection.balance(sender.address)
    assert 0 < spent <= found.cost
    for step in found.steps:
        transaction = manifest.contracts[step.name].transaction
        assert transaction is not None
        receipt = await connection.receipt(transaction)
        assert receipt is not None
        assert receipt.gas_used <= step.gas


async def test_what_is_deployed_has_the_presets_parameters(
    connection: Connection, manifest: Manifest
) -> None:
    await verify(connection, manifest)
    assert await Channels(connection, manifest.channels).close_delays() == (2, HOUR)
    registry = Registry(connection, manifest.registry)
    assert await registry.token() == manifest.token == manifest.contracts["DevDollar"].address
    assert await registry.unbonding() == LOCAL.unbonding
    assert await registry.min_stake() == LOCAL.min_stake
    assert manifest.membership is not None
    members = Membership(connection, manifest.membership)
    assert (await members.token(), await members.depth()) == (manifest.token, DEPTH)
    assert (await members.period(), await members.window()) == (LOCAL.member_period, LOCAL.member_window)
    assert await members.cost(1, 1) == (LOCAL.member_stake_per_rate, LOCAL.member_fee_per_rate)
    assert (manifest.chain_id, manifest.preset) == (31337, "local")
    assert manifest.start_block == 1


async def test_deploying_twice_changes_nothing(
    connection: Connection, sender: Sender, manifest: Manifest
) -> None:
    await ask_to_mine(connection)
    head = await connection.head()
    again = await plan(connection, LOCAL)
    assert all(step.already_there and step.gas == 0 for step in again.steps)
    assert again.cost == 0
    found = await execute(again, sender)
    assert await connection.head() == head
    assert addresses(found) == addresses(manifest)
    blocks = {name: deployment.block for name, deployment in manifest.contracts.items()}
    assert {name: deployment.block for name, deployment in found.contracts.items()} == blocks
    assert await execute(again, sender, previous=manifest) == manifest
    old = {name: replace(entry, init_code_hash=None) for name, entry in manifest.contracts.items()}
    assert await execute(again, sender, previous=replace(manifest, contracts=old)) == manifest


async def ask_to_mine(connection: Connection) -> None:
    """Three empty blocks on top."""
    for _ in range(3):
        await connection.request(lambda _: None, "evm_mine")


async def test_an_interrupted_deployment_goes_on(connection: Connection, sender: Sender) -> None:
    def interrupt(words: str) -> None:
        if words.startswith("Channels is at"):
            raise KeyboardInterrupt

    first = await plan(connection, LOCAL)
    with pytest.raises(KeyboardInterrupt):
        await execute(first, sender, interrupt)
    rest = await plan(connection, LOCAL)
    assert [step.already_there for step in rest.steps] == [True, True, False, False]
    manifest = await execute(rest, sender)
    await verify(connection, manifest)
    assert [deployment.block for deployment in manifest.contracts.values()] == [1, 2, 3, 4]
    assert addresses(manifest) == {step.name: step.address for step in first.steps}


async def test_an_old_plan_finds_what_came_since(connection: Connection, sender: Sender) -> None:
    stale = await plan(connection, LOCAL)
    manifest = await execute(await plan(connection, LOCAL), Sender(connection, FUNDED_KEYS[3]))
    assert addresses(await execute(stale, sender)) == addresses(manifest)


async def test_addresses_are_the_same_on_every_chain_and_for_every_deployer(manifest: Manifest) -> None:
    async with EmbeddedChain() as other, await connect(other.url) as connection:
        found = await execute(await plan(connection, LOCAL), Sender(connection, FUNDED_KEYS[7]))
        assert addresses(found) == addresses(manifest)
        salted = await plan(connection, LOCAL, salt=b"\1" * 32)
        public = await plan(connection, TESTNET)
    everything = {*addresses(manifest).values()}
    assert everything.isdisjoint(step.address for step in salted.steps)
    assert public.steps[0].address == addresses(manifest)["DevDollar"]
    assert public.steps[1].address != addresses(manifest)["Channels"]


async def test_a_token_of_ones_own(connection: Connection, sender: Sender, manifest: Manifest) -> None:
    found = await execute(await plan(connection, replace(TESTNET, confirmations=0), manifest.token), sender)
    assert list(found.contracts) == NAMES[1:]
    assert found.token == manifest.token
    await verify(connection, found)
    with pytest.raises(WrongContract, match="no contract at the token's address"):
        await plan(connection, TESTNET, STRANGER)
    with pytest.raises(InvalidConfig, match="mainnet preset needs the address of an existing token"):
        await plan(connection, MAINNET)


async def test_a_plan_says_what_it_fixes_in_the_tokens_own_units(
    connection: Connection, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await plan(connection, replace(MAINNET, min_stake=10_000_500_000), manifest.token)
    assert f"  Token {manifest.token}: DUSD with 6 decimals" in found.lines()
    limits = "  Minimum stake 10,000.5 DUSD, unbonding 40 d, close delays 36 h to 90 d"
    assert limits in found.lines()
    assert found.to_json()["minStakeShown"] == "10,000.5 DUSD"
    assert (await plan(connection, LOCAL)).to_json()["minStakeShown"] == "10 DUSD"
    members = "  Members stake 0.05 DUSD and pay 0.01 DUSD in 30 d for each message of an epoch; window 36 h"
    assert members in found.lines()
    assert {name: value for name, value in found.to_json().items() if name.startswith("member")} == {
        "memberPeriodSeconds": 2_592_000,
        "memberWindowSeconds": 129_600,
        "memberStakePerRate": "50000",
        "memberFeePerRate": "10000",
    }

    async def evil(_: Token) -> str:
        return "USDC\x1b[2J\n" + "C" * 100

    monkeypatch.setattr(Token, "symbol", evil)
    (line,) = [each for each in (await plan(connection, LOCAL, manifest.token)).lines() if "Token" in each]
    assert line.isprintable()
    assert len(line) < 120


async def test_a_token_with_other_decimals_is_not_for_a_bundled_preset(
    connection: Connection, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def eighteen(_: Token) -> int:
        return 18

    monkeypatch.setattr(Token, "decimals", eighteen)
    words = r"would be 0\.000000001 DUSD\. .*token_decimals = 18.*--network-file"
    with pytest.raises(InvalidConfig, match=words):
        await plan(connection, MAINNET, manifest.token)
    own = replace(MAINNET, name="mine", token_decimals=18, min_stake=1000 * 10**18)
    assert (await plan(connection, own, manifest.token)).to_json()["minStakeShown"] == "1,000 DUSD"


async def test_a_token_that_is_none(connection: Connection, manifest: Manifest) -> None:
    for address in (manifest.channels, proxy.ADDRESS):
        with pytest.raises(WrongContract, match="does not say which token it is"):
            await plan(connection, TESTNET, address)


async def test_the_local_preset_stays_on_development_chains(chain: EmbeddedChain, endpoint: Endpoint) -> None:
    endpoint.behind = chain.url
    endpoint.answers["eth_chainId"] = lambda _: hex(1)
    async with await connect(endpoint.url) as connection:
        with pytest.raises(InvalidConfig, match="is for development"):
            await plan(connection, LOCAL)
        assert (await plan(connection, replace(LOCAL, chain_id=1))).chain_id == 1
        assert (await plan(connection, TESTNET)).chain_id == 1


async def test_a_cap_on_fees_lowers_the_estimate(connection: Connection) -> None:
    asked, capped = await plan(connection, LOCAL), await plan(connection, LOCAL, bid=Bid(max_fee=7))
    assert (capped.gas_price, capped.cost * asked.gas_price) == (7, asked.cost * 7)


async def test_the_manifest_of_another_chain_says_nothing_of_this_one(
    connection: Connection, sender: Sender, manifest: Manifest
) -> None:
    """Addresses are equal on all chains, blocks and transactions are not."""
    unknown = {
        name: replace(entry, block=99, transaction=b"\1" * 32) for name, entry in manifest.contracts.items()
    }
    other = replace(manifest, chain_id=1, contracts=unknown)
    found = await execute(await plan(connection, LOCAL), sender, previous=other)
    assert [(entry.block, entry.transaction) for entry in found.contracts.values()] == [
        (1, None),
        (2, None),
        (3, None),
        (4, None),
    ]


async def test_deploying_without_money(connection: Connection) -> None:
    with pytest.raises(InsufficientFunds):
        await execute(await plan(connection, LOCAL), Sender(connection, bytes(Account.create().key)))
    assert (await connection.head()).number == 0


async def test_a_plan_is_for_one_chain(connection: Connection, sender: Sender) -> None:
    elsewhere = replace(await plan(connection, LOCAL), chain_id=1)
    with pytest.raises(WrongChain):
        await execute(elsewhere, sender)


async def test_one_deployment_of_a_manifest_at_a_time(
    connection: Connection, sender: Sender, tmp_path: Path
) -> None:
    path, found = tmp_path / "deployments" / "manifest.json", await plan(connection, LOCAL)
    with alone(path), pytest.raises(DataInUse, match=f"Another deployment of {path} is running: run this"):
        await carry_out(found, sender, path)
    assert (await connection.head()).number == 0
    made = await carry_out(found, sender, path)
    assert await carry_out(found, sender, path) == made == Manifest.load(path)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidConfig, match="cannot be written"):
        await carry_out(found, sender, tmp_path / "file" / "manifest.json")


# ---- Verifying ----


async def test_a_manifest_of_another_chain(connection: Connection, manifest: Manifest) -> None:
    with pytest.raises(WrongChain):
        await verify(connection, replace(manifest, chain_id=1))
    async with EmbeddedChain() as other, await connect(other.url) as empty:
        with pytest.raises(WrongContract, match=r"no contract at .*, where DevDollar should be"):
            await verify(empty, manifest)


async def test_a_manifest_that_names_something_else(
    connection: Connection, sender: Sender, manifest: Manifest
) -> None:
    def altered(name: str, **changes: Any) -> Manifest:
        deployment = replace(manifest.contracts[name], **changes)
        return replace(manifest, contracts=dict(manifest.contracts) | {name: deployment})

    with pytest.raises(WrongContract, match="is not Channels"):
        await verify(connection, altered("Channels", address=manifest.registry))
    with pytest.raises(DeploymentMismatch, match="another version"):
        await verify(connection, altered("NodeRegistry", artifact_hash=bytes(32)))
    with pytest.raises(DeploymentMismatch, match="unknown contract"):
        await verify(
            connection,
            replace(
                manifest, contracts=dict(manifest.contracts) | {"Casino": manifest.contracts["Channels"]}
            ),
        )
    with pytest.raises(DeploymentMismatch, match=r"The registry takes .* as stake"):
        await verify(connection, replace(manifest, token=manifest.channels))
    other = await execute(await plan(connection, LOCAL, salt=b"\1" * 32), sender)
    with pytest.raises(DeploymentMismatch, match=r"The membership contract takes .* as stake"):
        await verify(connection, altered("RlnMembership", address=other.membership))
    with pytest.raises(WrongContract, match="token's address"):
        await verify(connection, replace(manifest, token=STRANGER))


async def test_a_manifest_of_before_there_were_members(
    connection: Connection, sender: Sender, manifest: Manifest
) -> None:
    """It holds, and deploying again with it adds what it lacks."""
    older = before_members(manifest)
    assert older.membership is None
    await verify(connection, older)
    assert (await examine(connection, older)).holds
    made = await execute(await plan(connection, LOCAL), sender, previous=older)
    assert addresses(made) == addresses(manifest)
    assert await connection.nonce(sender.address) == len(NAMES)  # it was there


def before_members(manifest: Manifest) -> Manifest:
    """As versions without RlnMembership wrote it."""
    contracts = {name: entry for name, entry in manifest.contracts.items() if name != "RlnMembership"}
    return replace(manifest, contracts=contracts)


async def test_foreign_code_in_the_contracts_place_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, connection: Connection, manifest: Manifest
) -> None:
    real = Connection.code

    async def swapped(self: Connection, address: Any, block: Any = None) -> bytes:
        return await real(self, manifest.registry if address == manifest.channels else address, block)

    monkeypatch.setattr(Connection, "code", swapped)
    with pytest.raises(WrongContract, match="is not Channels"):
        await plan(connection, LOCAL)


async def test_immutables_do_not_make_a_contract_another(connection: Connection, manifest: Manifest) -> None:
    artifact = artifacts.load("Channels")
    code = await connection.code(manifest.channels)
    assert code != artifact.deployed_bytecode
    assert artifact.matches(code)
    flipped = bytearray(code)
    flipped[10] ^= 1
    assert not artifact.matches(bytes(flipped))
    assert not artifact.matches(code[:-1])
    assert not artifact.matches(b"")
