"""Where things are on this machine, and the chain that they belong to."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from waypost.chain.connection import Connection, connect
from waypost.chain.manifest import Manifest
from waypost.chain.token import Token
from waypost.cli.amounts import Unit
from waypost.cli.passwords import load_account
from waypost.client.client import Client
from waypost.client.nodes import PriceCeiling
from waypost.errors import InvalidConfig


@dataclass(frozen=True, slots=True)
class Places:
    """A home folder."""

    home: Path

    @classmethod
    def under(cls, home: Path) -> "Places":
        """The folder, with ~ resolved."""
        return cls(home.expanduser().absolute())

    @property
    def account(self) -> Path:
        """The account's key file."""
        return self.home / "account.keystore.json"

    @property
    def node(self) -> Path:
        """The node's folder, unless another is named."""
        return self.home / "node"

    def manifest(self, chain_id: int) -> Path:
        """The manifest of a chain."""
        return self.home / "deployments" / f"{chain_id}.json"


def load_manifest(places: Places, path: Path | None, chain_id: int) -> Manifest:
    """The manifest of the chain. Raises InvalidConfig."""
    found = (path or places.manifest(chain_id)).expanduser()
    if not found.exists():
        raise InvalidConfig(
            f"There is no manifest of chain {chain_id} at {found}: run `waypost deploy` or give --manifest.",
            path=str(found),
            chainId=chain_id,
        )
    return Manifest.load(found)


@dataclass(frozen=True, slots=True)
class Deployed:
    """A chain, its contracts and its token's unit."""

    connection: Connection
    manifest: Manifest
    token: Token
    unit: Unit


@asynccontextmanager
async def deployed(places: Places, rpc_url: str, manifest: Path | None) -> AsyncIterator[Deployed]:
    """The contracts on the chain that answers at `rpc_url`."""
    async with await connect(rpc_url) as connection:
        found = load_manifest(places, manifest, connection.chain_id)
        token = Token(connection, found.token)
        yield Deployed(connection, found, token, await Unit.of(token))


@asynccontextmanager
async def open_client(
    places: Places,
    rpc_url: str,
    manifest: Path | None,
    password_file: Path | None,
    ceiling: PriceCeiling | None = None,
    *,
    rln_keys: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[tuple[Client, Unit]]:
    """The SDK for the account of this home."""
    if not places.account.exists():
        raise InvalidConfig(
            f"There is no account at {places.account}: run `waypost account new`.", path=str(places.account)
        )
    async with await connect(rpc_url) as connection:
        found = load_manifest(places, manifest, connection.chain_id)
    account = load_account(places.account, password_file)
    keys = None if rln_keys is None else Places.under(rln_keys).home
    async with Client(
        account, found, rpc_url, home=places.home, ceiling=ceiling, rln_keys=keys, progress=progress
    ) as client:
        yield client, await Unit.of(client.deployment.token)
