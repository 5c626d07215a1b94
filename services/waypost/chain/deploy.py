"""Puts the contracts on a chain through the deterministic-deployment proxy: equal parameters, equal addresses
everywhere. What is there already is checked and kept, so that an interrupted deployment goes on."""

from dataclasses import dataclass, replace
from pathlib import Path

from eth_typing import ChecksumAddress

from waypost.chain import artifacts, fees, installation, proxy
from waypost.chain.amounts import ether, plain, span
from waypost.chain.artifacts import Artifact
from waypost.chain.confirming import confirmed, drain, found_again
from waypost.chain.connection import Call, Connection
from waypost.chain.creations import Creations, Progress, alone
from waypost.chain.deployer import Bid
from waypost.chain.manifest import Deployment, Manifest
from waypost.chain.membership import Membership
from waypost.chain.presets import Preset
from waypost.chain.registry import Registry
from waypost.chain.token import DEV_DOLLAR, Token, Unit
from waypost.chain.transactions import Sender
from waypost.errors import (
    JSON,
    DeploymentMismatch,
    InvalidConfig,
    RpcFailed,
    TransactionReverted,
    WrongChain,
    WrongContract,
)
from waypost.protocol.rln import DEPTH
from waypost.protocol.signatures import keccak

PROXY = "DeploymentProxy"
AS_ASKED = Bid()
FUNDING_GAS = 21_000
REORGS = 3
"""How often a deployment is sent again after a reorg undid it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One contract to deploy. `gas` is an estimate, 0 if it is there already; `value` is what the proxy's
    installer must be given for its own gas, in wei."""

    name: str
    address: ChecksumAddress
    init_code: bytes
    arguments: tuple[str | int, ...]
    already_there: bool
    gas: int
    value: int = 0

    @property
    def state(self) -> str:
        """Whether it is there, in words."""
        if self.already_there:
            return "is there already"
        given = f", and {ether(self.value)} for its installer" if self.value else ""
        return f"about {self.gas:,} gas{given}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a deployment would do, in order. `cost`: what the deployer must have, in wei; `gas_price`: the
    most to pay, in wei per gas, of which `tip` is priority fee."""

    chain_id: int
    preset: Preset
    token: ChecksumAddress
    unit: Unit
    salt: bytes
    steps: tuple[Step, ...]
    cost: int
    gas_price: int
    tip: int

    def lines(self) -> list[str]:
        """For people."""
        gas = sum(step.gas for step in self.steps)
        price, tip = plain(self.gas_price, 9), plain(self.tip, 9)
        preset, unit = self.preset, self.unit
        delays = f"{span(preset.min_close_delay)} to {span(preset.max_close_delay)}"
        return [
            f"Chain {self.chain_id}, preset {preset.name}",
            f"  Token {self.token}: {unit.words}",
            f"  Minimum stake {unit.grouped(preset.min_stake)}, unbonding {span(preset.unbonding)},"
            f" close delays {delays}",
            f"  Members stake {unit.grouped(preset.member_stake_per_rate)} and pay"
            f" {unit.grouped(preset.member_fee_per_rate)} in {span(preset.member_period)} for each message of"
            f" an epoch; window {span(preset.member_window)}",
            *(f"  {step.name:<16} {step.address}  {step.state}" for step in self.steps),
            f"  {gas:,} gas at {price} gwei, of which {tip} is priority fee",
            f"  At most {ether(self.cost)}: so much gas and a quarter more",
        ]

    def to_json(self) -> dict[str, JSON]:
        """For programs."""
        return {
            "chainId": self.chain_id,
            "preset": self.preset.name,
            "token": self.token,
            "tokenSymbol": self.unit.symbol,
            "tokenDecimals": self.unit.decimals,
            "minStake": str(self.preset.min_stake),
            "minStakeShown": self.unit.grouped(self.preset.min_stake),
            "minCloseDelaySeconds": self.preset.min_close_delay,
            "maxCloseDelaySeconds": self.preset.max_close_delay,
            "unbondingSeconds": self.preset.unbonding,
            "memberPeriodSeconds": self.preset.member_period,
            "memberWindowSeconds": self.preset.member_window,
            "memberStakePerRate": str(self.preset.member_stake_per_rate),
            "memberFeePerRate": str(self.preset.member_fee_per_rate),
            "costWei": str(self.cost),
            "gasPriceWei": str(self.gas_price),
            "priorityFeeWei": str(self.tip),
            "steps": [
                {
                    "name": step.name,
                    "address": step.address,
                    "alreadyThere": step.already_there,
                    "gas": step.gas,
                    "valueWei": str(step.value),
                    "initCodeHash": "0x" + keccak(step.init_code).hex(),
                }
                for step in self.steps
            ],
        }


async def plan(
    connection: Connection,
    preset: Preset,
    token: ChecksumAddress | None = None,
    *,
    salt: bytes = bytes(32),
    bid: Bid = AS_ASKED,
) -> Plan:
    """What has to be deployed; without a token DevDollar is, if the preset brings it. `salt` is 32 bytes.

    Raises InvalidConfig, WrongChain, WrongContract, RpcUnreachable, RpcFailed.
    """
    if preset.chain_id is not None:
        _require_chain(connection, preset.chain_id)
    elif not preset.suits(connection.chain_id):
        raise InvalidConfig(
            f"The {preset.name} preset is for development: nobody could react in time on chain"
            f" {connection.chain_id}. Name another one, or a network file that pins this chain.",
            chainId=connection.chain_id,
        )
    if token is None and not preset.brings_token:
        raise InvalidConfig(f"The {preset.name} preset needs the address of an existing token.")
    if token is not None and not await connection.code(token):
        raise WrongContract(f"There is no contract at the token's address {token}.", address=token)
    unit = DEV_DOLLAR if token is None else await _unit(connection, token)
    if unit.decimals != preset.token_decimals:
        raise InvalidConfig(
            f"{preset.name} is for tokens with {preset.token_decimals} decimals, and {unit.symbol} has"
            f" {unit.decimals}: the minimum stake would be {unit.grouped(preset.min_stake)}. Copy its network"
            f" file (see docs/deploying.md), set token_decimals = {unit.decimals} and all amounts there, and"
            " give it with --network-file (WAYPOST_NETWORK_FILE for Brownie).",
            decimals=unit.decimals,
            expected=preset.token_decimals,
        )
    steps: list[Step] = []
    if not await connection.code(proxy.ADDRESS):
        await installation.require_possible(connection)
        value = await installation.missing(connection)
        gas = FUNDING_GAS if value else 0
        steps.append(Step(PROXY, proxy.ADDRESS, b"", (), already_there=False, gas=gas, value=value))
    if token is None:
        steps.append(await _step(connection, salt, "DevDollar"))
        token = steps[-1].address
    delays = preset.min_close_delay, preset.max_close_delay
    steps.append(await _step(connection, salt, "Channels", *delays))
    steps.append(await _step(connection, salt, "NodeRegistry", token, preset.min_stake, preset.unbonding))
    terms = preset.member_period, preset.member_window
    prices = preset.member_stake_per_rate, preset.member_fee_per_rate
    steps.append(await _step(connection, salt, "RlnMembership", token, DEPTH, *terms, *prices))
    offer = bid.within(await fees.ask(connection))
    price = offer.limit if bid.max_fee is None else min(offer.limit, bid.max_fee)
    cost = sum(_cost(step, price) for step in steps)
    return Plan(
        connection.chain_id, preset, token, unit, salt, tuple(steps), cost, price, min(offer.tip, price)
    )


def _cost(step: Step, price: int) -> int:
    """What the deployer needs for a step, in wei: `Sender` reserves a quarter more gas than is estimated."""
    return step.value + step.gas * 5 // 4 * price


async def carry_out(plan: Plan, sender: Sender, path: Path, progress: Progress | None = None) -> Manifest:
    """Executes a plan and writes the manifest to `path`. What is sent is recorded beside it before, and the
    record is removed when the manifest is complete.

    Raises DataInUse while another process does that, InvalidConfig if one of the files cannot be written, or
    is another deployment's; else as `execute`.
    """
    with alone(path):
        addresses = {step.address for step in plan.steps} | {proxy.ADDRESS}
        creations = Creations.beside(path, plan.chain_id, sender.address, addresses)
        made = await execute(plan, sender, progress, _previous(path), creations)
        made.save(path)
        creations.discard()
        return made


def _previous(path: Path) -> Manifest | None:
    return Manifest.load(path) if path.exists() else None


async def execute(
    plan: Plan,
    sender: Sender,
    progress: Progress | None = None,
    previous: Manifest | None = None,
    creations: Creations | None = None,
) -> Manifest:
    """Carries out a plan, telling `progress` what happens, and waits until every contract has the preset's
    confirmations. `previous` is an earlier manifest of the same deployment, if there is one: it
    knows the blocks of what is there. `creations` knows what was sent before; None: nothing was.

    Raises WrongChain, InsufficientFunds, DeploymentProxyMissing or another ChainError; what was deployed by
    then stays, and executing again goes on from there.
    """
    _require_chain(sender.connection, plan.chain_id)
    tell = progress or (lambda _: None)
    creations = creations or Creations(plan.chain_id, sender.address)
    contracts = dict(previous.contracts) if previous and previous.chain_id == plan.chain_id else {}
    for _ in range(REORGS):
        await creations.settle(sender, tell)
        await drain(sender, tell)
        known, contracts = contracts, {}
        for step in plan.steps:
            if step.name == PROXY:
                await installation.install(sender, creations.persist(PROXY, proxy.ADDRESS))
            else:
                contracts[step.name] = await _deploy(sender, creations, step, plan.salt, known.get(step.name))
            tell(f"{step.name} is at {step.address}")
        if await confirmed(sender.connection, plan.preset.confirmations, contracts, tell):
            break
        tell("A reorg has moved or undone some of it: going over it again")
    else:
        raise RpcFailed(f"The chain undid the deployment {REORGS} times.")
    return Manifest(
        plan.chain_id,
        plan.preset.name,
        sender.address,
        plan.token,
        contracts,
        plan.preset.confirmations,
        plan.salt,
    )


async def verify(connection: Connection, manifest: Manifest) -> None:
    """Checks that the manifest's contracts are on this chain, and are the ones that this package knows.

    Raises WrongChain, WrongContract, DeploymentMismatch, RpcUnreachable, RpcFailed.
    """
    _require_chain(connection, manifest.chain_id)
    for name, deployment in manifest.contracts.items():
        if name not in artifacts.CONTRACTS:
            raise DeploymentMismatch(f"The manifest names an unknown contract, {name[:32]!r}.")
        await _require_code(connection, name, deployment.address)
        if deployment.artifact_hash != artifacts.load(name).hash:
            raise DeploymentMismatch(f"{name} was deployed by another version of Waypost.", contract=name)
    if not await connection.code(manifest.token):
        raise WrongContract(f"There is no contract at the token's address {manifest.token}.")
    takers: dict[str, Registry | Membership] = {"registry": Registry(connection, manifest.registry)}
    if manifest.membership is not None:
        takers["membership contract"] = Membership(connection, manifest.membership)
    for name, contract in takers.items():
        staked = await contract.token()
        if staked != manifest.token:
            sentence = f"The {name} takes {staked} as stake, the manifest says {manifest.token}."
            raise DeploymentMismatch(sentence, given=manifest.token, expected=staked)


async def _unit(connection: Connection, token: ChecksumAddress) -> Unit:
    try:
        return await Unit.of(Token(connection, token))
    except (TransactionReverted, WrongContract, RpcFailed) as error:
        sentence = f"The contract at {token} does not say which token it is, with how many decimals: {error}"
        raise WrongContract(sentence, address=token) from error


async def _step(connection: Connection, salt: bytes, name: str, *arguments: str | int) -> Step:
    artifact = artifacts.load(name)
    init_code = artifact.init_code(arguments)
    address = proxy.address_of(init_code, salt)
    there = bool(await connection.code(address))
    if there:
        await _require_code(connection, name, address)
    gas = 0 if there else await _estimate(connection, proxy.create(init_code, salt, name), artifact)
    return Step(name, address, init_code, arguments, there, gas)


async def _estimate(connection: Connection, call: Call, artifact: Artifact) -> int:
    try:
        return await connection.estimate(call)
    except (TransactionReverted, RpcFailed):
        # Not possible before an earlier step was carried out: what creating so much code costs at most, with
        # that of contracts which the constructor creates in turn.
        return 120_000 + 16 * len(call.data) + 215 * len(artifact.bytecode)


async def _deploy(
    sender: Sender, creations: Creations, step: Step, salt: bytes, known: Deployment | None
) -> Deployment:
    connection = sender.connection
    if not await connection.code(step.address):
        creation = proxy.create(step.init_code, salt, step.name)
        try:
            await sender.send(creation, persist=creations.persist(step.name, step.address))
        except TransactionReverted:
            # Somebody else may have deployed the same in this moment; it is the same code.
            if not await connection.code(step.address):
                raise
    await _require_code(connection, step.name, step.address)
    artifact = artifacts.load(step.name)
    deployment = Deployment(step.address, 0, None, artifact.hash, step.arguments, keccak(step.init_code))
    receipt = await creations.receipt(connection, step.address)
    if receipt is not None:
        return replace(deployment, block=receipt.block_number, transaction=receipt.hash)
    if known is not None and known.address == step.address:
        found = await found_again(connection, known)
        return replace(deployment, block=found.block, transaction=found.transaction)
    return replace(deployment, block=await _deployed_at(connection, step.address))


async def _deployed_at(connection: Connection, address: ChecksumAddress) -> int:
    """The block since which there is code; 0 if the endpoint keeps no old state."""
    first, last = 0, (await connection.head()).number
    try:
        while first < last:
            middle = (first + last) // 2
            if await connection.code(address, middle):
                last = middle
            else:
                first = middle + 1
    except RpcFailed:
        return 0
    return first


def _require_chain(connection: Connection, chain_id: int) -> None:
    if connection.chain_id != chain_id:
        sentence = f"{connection.host} serves chain {connection.chain_id}, not chain {chain_id}."
        raise WrongChain(sentence, given=connection.chain_id, expected=chain_id)


async def _require_code(connection: Connection, name: str, address: ChecksumAddress) -> None:
    code = await connection.code(address)
    if not code:
        sentence = f"There is no contract at {address}, where {name} should be."
        raise WrongContract(sentence, contract=name, address=address)
    if not artifacts.load(name).matches(code):
        raise WrongContract(f"The contract at {address} is not {name}.", contract=name, address=address)
