"""Where the contracts are on one chain: the JSON file that nodes and clients are given."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eth_typing import ChecksumAddress

from waypost.errors import JSON


@dataclass(frozen=True, slots=True)
class Deployment:
    """One contract. `transaction` is None if it was there before this manifest was made; `block` is then a block
    at or before its deployment."""

    address: ChecksumAddress
    block: int
    transaction: bytes | None
    artifact_hash: bytes
    constructor_arguments: tuple[JSON, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contracts of one chain by name: Channels, NodeRegistry, and DevDollar if it was deployed along."""

    chain_id: int
    preset: str
    deployer: ChecksumAddress
    token: ChecksumAddress
    contracts: Mapping[str, Deployment]

    @property
    def channels(self) -> ChecksumAddress:
        """The address of Channels."""
        return self.contracts["Channels"].address

    @property
    def registry(self) -> ChecksumAddress:
        """The address of NodeRegistry."""
        return self.contracts["NodeRegistry"].address

    @property
    def start_block(self) -> int:
        """The first block that can hold an event of any of the contracts."""
        return min(deployment.block for deployment in self.contracts.values())

    def to_json(self) -> dict[str, JSON]:
        """The file's content."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse. Raises InvalidConfig."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Writes the file, at once or not at all."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads the file. Raises InvalidConfig."""
        raise NotImplementedError
