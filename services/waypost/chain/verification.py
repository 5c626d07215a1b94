"""Whether what is on a chain is what this package was made from, with the parameters of its network, and the
bundle with which others can tell. The proxy derives addresses from init code (EIP-1014): the right address
proves code and arguments."""

import json
from dataclasses import dataclass
from pathlib import Path

from eth_abi.exceptions import EncodingError
from eth_typing import ChecksumAddress

from waypost import files
from waypost.chain import artifacts, proxy
from waypost.chain.connection import Connection
from waypost.chain.manifest import Deployment, Manifest
from waypost.chain.parameters import Parameter, parameters
from waypost.chain.presets import Preset
from waypost.chain.token import Token, Unit
from waypost.errors import (
    JSON,
    DeploymentMismatch,
    RpcFailed,
    TransactionReverted,
    WrongChain,
    WrongContract,
)
from waypost.protocol.fields import parse_address
from waypost.protocol.signatures import keccak


@dataclass(frozen=True, slots=True)
class Verified:
    """One contract of a manifest. `derived`: where the proxy puts this package's init code with the
    manifest's arguments; `init_code_hash`: that code's keccak; `stated_hash`: what the manifest says it is,
    None in an old one; `code_hash`: the keccak of what is on chain, None if nothing is."""

    name: str
    address: ChecksumAddress
    derived: ChecksumAddress
    init_code_hash: bytes
    stated_hash: bytes | None
    code_hash: bytes | None
    code_matches: bool
    arguments: tuple[str | int, ...]

    @property
    def holds(self) -> bool:
        """Whether address and code are the artifact's, and the manifest says so."""
        return self.code_matches and self.address == self.derived and self._statement_holds

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.code_hash is None:
            return "There is no contract at this address."
        if not self.code_matches:
            return "The code is not the artifact's."
        if self.address != self.derived:
            return f"The code is the artifact's, but these constructor arguments belong at {self.derived}."
        if not self._statement_holds:
            return "The contract is the artifact's, but the manifest states another init code hash."
        return "Code and constructor arguments are the artifact's."

    @property
    def line(self) -> str:
        """For people."""
        return f"{'✓' if self.holds else '✗'} {self.name:<15} {self.address}  {self.sentence}"

    @property
    def _statement_holds(self) -> bool:
        return self.stated_hash in (None, self.init_code_hash)

    def to_json(self) -> dict[str, JSON]:
        """For reports."""
        return {
            "contract": self.name,
            "address": self.address,
            "holds": self.holds,
            "verdict": self.sentence,
            "derivedAddress": self.derived,
            "initCodeHash": "0x" + self.init_code_hash.hex(),
            "manifestInitCodeHash": None if self.stated_hash is None else "0x" + self.stated_hash.hex(),
            "codeHash": None if self.code_hash is None else "0x" + self.code_hash.hex(),
            "constructorArguments": list(self.arguments),
        }


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found of a manifest's contracts, and of the parameters that they were made with."""

    chain_id: int
    contracts: tuple[Verified, ...]
    parameters: tuple[Parameter, ...]

    @property
    def holds(self) -> bool:
        """Whether all contracts are ours, with the parameters of a network that is known."""
        return not any(each.holds is False for each in self._all)

    def lines(self) -> list[str]:
        """For people."""
        return [each.line for each in self._all]

    def to_json(self) -> dict[str, JSON]:
        """For programs, and the bundle's report."""
        return {
            "holds": self.holds,
            "chainId": self.chain_id,
            "proxy": proxy.ADDRESS,
            "contracts": [each.to_json() for each in self.contracts],
            "parameters": [each.to_json() for each in self.parameters],
        }

    def require(self) -> None:
        """Raises DeploymentMismatch with everything that does not hold."""
        wrong = [" ".join(each.line[1:].split()) for each in self._all if each.holds is False]
        if wrong:
            raise DeploymentMismatch(
                f"The manifest is not to be relied on: {'; '.join(wrong)}. `waypost verify` shows all of it."
                " A network of one's own needs its network file, with --network-file.",
                wrong=wrong,
            )

    @property
    def _all(self) -> tuple[Verified | Parameter, ...]:
        return *self.contracts, *self.parameters


async def examine(connection: Connection, manifest: Manifest, network: Preset | None = None) -> Examination:
    """Every contract and parameter of the manifest. Parameters are compared with `network`, or with the
    bundled preset that the manifest names.

    Raises WrongChain, DeploymentMismatch, RpcUnreachable, RpcFailed.
    """
    if connection.chain_id != manifest.chain_id:
        sentence = f"{connection.host} serves chain {connection.chain_id}, not chain {manifest.chain_id}."
        raise WrongChain(sentence, given=connection.chain_id, expected=manifest.chain_id)
    if manifest.proxy != proxy.ADDRESS:
        sentence = f"The manifest's deployment proxy is {manifest.proxy}, and not {proxy.ADDRESS}."
        raise DeploymentMismatch(sentence, given=manifest.proxy, expected=proxy.ADDRESS)
    contracts = [
        _verified(name, entry, manifest.salt, await connection.code(entry.address))
        for name, entry in manifest.contracts.items()
    ]
    unit = await _unit(connection, manifest)
    return Examination(manifest.chain_id, tuple(contracts), tuple(parameters(manifest, unit, network)))


async def _unit(connection: Connection, manifest: Manifest) -> Unit | None:
    """Of the token that the registry takes; None if there is none."""
    token = parse_address(str(manifest.contracts["NodeRegistry"].constructor_arguments[0]))
    try:
        return await Unit.of(Token(connection, token)) if await connection.code(token) else None
    except (TransactionReverted, WrongContract, RpcFailed):
        return None


def write_bundle(found: Examination, folder: Path) -> list[Path]:
    """Writes, for each contract, what block explorers ask for, and a report of what was compared.

    Returns the files. Raises InvalidConfig.
    """
    written = {}
    for each in found.contracts:
        artifact, place = artifacts.load(each.name), folder / each.name
        written[place / "standard-input.json"] = artifacts.standard_input(each.name)
        written[place / "constructor-arguments.txt"] = artifact.encode_arguments(each.arguments).hex() + "\n"
        about = {
            "contract": f"{artifact.source}:{artifact.name}",
            "compiler": f"v{artifact.compiler}",
            "address": each.address,
            "chainId": found.chain_id,
        }
        written[place / "about.json"] = json.dumps(about, indent=2) + "\n"
    written[folder / "report.json"] = json.dumps(found.to_json(), indent=2) + "\n"
    for path, text in written.items():
        files.write(path, text, secret=False)
    return list(written)


def _verified(name: str, entry: Deployment, salt: bytes, code: bytes) -> Verified:
    if name not in artifacts.CONTRACTS:
        raise DeploymentMismatch(f"The manifest names an unknown contract, {name[:32]!r}.")
    artifact = artifacts.load(name)
    try:
        init_code = artifact.init_code(entry.constructor_arguments)
    except (EncodingError, ValueError, TypeError):
        words = f"{name}'s constructor does not take the manifest's arguments."
        raise DeploymentMismatch(words, contract=name) from None
    return Verified(
        name=name,
        address=entry.address,
        derived=proxy.address_of(init_code, salt),
        init_code_hash=keccak(init_code),
        stated_hash=entry.init_code_hash,
        code_hash=keccak(code) if code else None,
        code_matches=artifact.matches(code),
        arguments=entry.constructor_arguments,
    )
