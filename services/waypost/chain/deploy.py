"""Puts the contracts on a chain through the deterministic-deployment proxy (CREATE2): equal parameters, equal
addresses on every chain. What is there already is checked and kept, so an interrupted deployment goes on."""

from collections.abc import Callable
from dataclasses import dataclass

from eth_typing import ChecksumAddress

from waypost.chain.connection import Connection
from waypost.chain.manifest import Manifest
from waypost.chain.presets import Preset
from waypost.chain.transactions import Sender


@dataclass(frozen=True, slots=True)
class Step:
    """One contract to deploy; `gas` is an estimate, 0 if it is there already."""

    name: str
    address: ChecksumAddress
    init_code: bytes
    already_there: bool
    gas: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a deployment would do. `cost` is an estimate in wei."""

    chain_id: int
    preset: Preset
    token: ChecksumAddress
    steps: tuple[Step, ...]
    cost: int


Progress = Callable[[Step], None]


async def plan(
    connection: Connection,
    preset: Preset,
    token: ChecksumAddress | None = None,
    *,
    salt: bytes = bytes(32),
) -> Plan:
    """What has to be deployed. Raises WrongContract, InvalidConfig."""
    raise NotImplementedError


async def execute(
    plan: Plan, sender: Sender, progress: Progress | None = None, previous: Manifest | None = None
) -> Manifest:
    """Carries out a plan; calls `progress` after each step."""
    raise NotImplementedError


async def verify(connection: Connection, manifest: Manifest) -> None:
    """Checks that the manifest's contracts are on this chain. Raises WrongChain, WrongContract."""
    raise NotImplementedError
