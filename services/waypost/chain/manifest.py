"""Where the contracts are on one chain: the JSON file that nodes and clients are given."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eth_typing import ChecksumAddress

from waypost import files
from waypost.chain import artifacts
from waypost.chain import proxy as deployment_proxy
from waypost.chain.presets import MAX_CONFIRMATIONS
from waypost.errors import JSON, InvalidConfig, ProtocolError
from waypost.protocol.fields import Fields, in_range, parse_address

REQUIRED = ("Channels", "NodeRegistry")


@dataclass(frozen=True, slots=True)
class Deployment:
    """One contract. `block` is its deployment's, or an earlier one if that cannot be told; `transaction` is
    None if the contract was there before. `init_code_hash`: the keccak of the creation code with its
    arguments, from which the proxy derived the address (EIP-1014); older manifests have None."""

    address: ChecksumAddress
    block: int
    transaction: bytes | None
    artifact_hash: bytes
    constructor_arguments: tuple[str | int, ...]
    init_code_hash: bytes | None = None

    def to_json(self) -> dict[str, JSON]:
        """The manifest's entry."""
        init_code_hash = None if self.init_code_hash is None else "0x" + self.init_code_hash.hex()
        return {
            "address": self.address,
            "block": self.block,
            "transaction": None if self.transaction is None else "0x" + self.transaction.hex(),
            "artifactHash": "0x" + self.artifact_hash.hex(),
            "initCodeHash": init_code_hash,
            "constructorArguments": list(self.constructor_arguments),
        }

    @classmethod
    def from_json(cls, name: str, value: object) -> Self:
        """The reverse, for the contract of that name. Raises a ProtocolError."""
        if name not in artifacts.CONTRACTS:
            known = ", ".join(artifacts.CONTRACTS)
            raise ProtocolError(f"It is unknown; this version of Waypost knows {known}.")
        fields = Fields(value, ProtocolError)
        return cls(
            address=fields.address("address"),
            block=fields.integer("block"),
            transaction=fields.data("transaction", 32) if "transaction" in fields else None,
            artifact_hash=fields.data("artifactHash", 32),
            constructor_arguments=_arguments(artifacts.load(name).constructor_types, fields),
            init_code_hash=fields.data("initCodeHash", 32) if "initCodeHash" in fields else None,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contracts of one chain by name: Channels, NodeRegistry, RlnMembership, and DevDollar if it was
    deployed along.

    `confirmations`: blocks on top of a transaction's own before it counts on this network. `salt`: 32 bytes,
    from which the deployment proxy at `proxy` derived the addresses.
    """

    chain_id: int
    preset: str
    deployer: ChecksumAddress
    token: ChecksumAddress
    contracts: Mapping[str, Deployment]
    confirmations: int = 12
    salt: bytes = bytes(32)
    proxy: ChecksumAddress = deployment_proxy.ADDRESS

    @property
    def channels(self) -> ChecksumAddress:
        """The address of Channels."""
        return self.contracts["Channels"].address

    @property
    def registry(self) -> ChecksumAddress:
        """The address of NodeRegistry."""
        return self.contracts["NodeRegistry"].address

    @property
    def membership(self) -> ChecksumAddress | None:
        """The address of RlnMembership; None in a manifest from before there was one."""
        entry = self.contracts.get("RlnMembership")
        return None if entry is None else entry.address

    @property
    def start_block(self) -> int:
        """The first block that can hold an event of any of the contracts."""
        return min(deployment.block for deployment in self.contracts.values())

    def to_json(self) -> dict[str, JSON]:
        """The file's content."""
        return {
            "chainId": self.chain_id,
            "preset": self.preset,
            "deployer": self.deployer,
            "token": self.token,
            "confirmations": self.confirmations,
            "deploymentProxy": self.proxy,
            "salt": "0x" + self.salt.hex(),
            "contracts": {name: entry.to_json() for name, entry in self.contracts.items()},
        }

    @classmethod
    def from_json(cls, value: object, source: str = "The manifest") -> Self:
        """The reverse. Raises InvalidConfig, which names the `source` and the field."""
        try:
            fields = Fields(value, ProtocolError)
            listed = fields.raw("contracts")
            if not isinstance(listed, Mapping) or any(name not in listed for name in REQUIRED):
                raise fields.fault("contracts", f"an object with {' and '.join(REQUIRED)}")
            return cls(
                chain_id=fields.integer("chainId"),
                preset=fields.text("preset"),
                deployer=fields.address("deployer"),
                token=fields.address("token"),
                contracts={name: _contract(name, entry) for name, entry in listed.items()},
                confirmations=(
                    fields.integer("confirmations", MAX_CONFIRMATIONS) if "confirmations" in fields else 12
                ),
                salt=fields.data("salt", 32) if "salt" in fields else bytes(32),
                proxy=(
                    fields.address("deploymentProxy")
                    if "deploymentProxy" in fields
                    else deployment_proxy.ADDRESS
                ),
            )
        except ProtocolError as error:
            raise InvalidConfig(f"{source} is malformed: {error}", **error.details) from None

    def save(self, path: Path) -> None:
        """Writes the file, at once or not at all. Raises InvalidConfig."""
        files.write(path, json.dumps(self.to_json(), indent=2) + "\n", secret=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads the file. Raises InvalidConfig."""
        try:
            value = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise InvalidConfig(f"The manifest {path} cannot be read: {error.strerror}.") from None
        except (ValueError, RecursionError):
            raise InvalidConfig(f"The manifest {path} is no JSON.") from None
        return cls.from_json(value, f"The manifest {path}")


def _contract(name: str, value: object) -> Deployment:
    try:
        return Deployment.from_json(name, value)
    except ProtocolError as error:
        raise ProtocolError(f"In contract {name[:32]!r}: {error}", **error.details) from None


def _arguments(kinds: Sequence[str], fields: Fields) -> tuple[str | int, ...]:
    """As many as the constructor takes, each of its ABI type."""
    name = "constructorArguments"
    given = fields.items(name)
    if len(given) != len(kinds):
        raise fields.fault(name, f"a list of {len(kinds)}: {', '.join(kinds) or 'nothing'}")
    return tuple(
        _argument(f"{name}[{index}]", kind, value)
        for index, (kind, value) in enumerate(zip(kinds, given, strict=True))
    )


def _argument(name: str, kind: str, value: object) -> str | int:
    if kind == "address" and isinstance(value, str):
        return parse_address(value, name)
    if kind.startswith("uint") and isinstance(value, int) and not isinstance(value, bool):
        return in_range(name, value, int(kind.removeprefix("uint")))
    raise ProtocolError(f"Field {name} must be of type {kind}.", field=name)
