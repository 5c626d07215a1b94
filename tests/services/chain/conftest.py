"""A real chain for every test: the embedded one, with the contracts of the local preset where needed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from tests.services.chain.endpoint import Endpoint
from web3 import AsyncHTTPProvider, AsyncWeb3

from waypost.chain.channels import Channels
from waypost.chain.connection import Connection, connect
from waypost.chain.deploy import execute, plan
from waypost.chain.embedded import FUNDED_KEYS, EmbeddedChain
from waypost.chain.manifest import Manifest
from waypost.chain.presets import LOCAL
from waypost.chain.registry import Registry
from waypost.chain.token import Token
from waypost.chain.transactions import Sender


@pytest.fixture
async def chain() -> AsyncIterator[EmbeddedChain]:
    async with EmbeddedChain() as running:
        yield running


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with Endpoint() as running:
        yield running


@pytest.fixture
async def web3(chain: EmbeddedChain) -> AsyncIterator[AsyncWeb3[Any]]:
    provider = AsyncHTTPProvider(chain.url)
    yield AsyncWeb3(provider)
    await provider.disconnect()


@pytest.fixture
def account() -> LocalAccount:
    found: LocalAccount = Account.from_key(FUNDED_KEYS[0])
    return found


@pytest.fixture
async def connection(chain: EmbeddedChain) -> AsyncIterator[Connection]:
    async with await connect(chain.url) as connected:
        yield connected


@pytest.fixture
def sender(connection: Connection) -> Sender:
    return Sender(connection, FUNDED_KEYS[0])


@pytest.fixture
async def manifest(connection: Connection, sender: Sender) -> Manifest:
    return await execute(await plan(connection, LOCAL), sender)


@pytest.fixture
def channels(connection: Connection, manifest: Manifest) -> Channels:
    return Channels(connection, manifest.channels)


@pytest.fixture
def registry(connection: Connection, manifest: Manifest) -> Registry:
    return Registry(connection, manifest.registry)


@pytest.fixture
def token(connection: Connection, manifest: Manifest) -> Token:
    return Token(connection, manifest.token)
