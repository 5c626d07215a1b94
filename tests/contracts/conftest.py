"""Actors, contracts and money. Contracts are deployed once a module; every test starts from there."""

from typing import Any

import pytest
from brownie import accounts
from eth_account.signers.local import LocalAccount

import anvil
from channel_ledger import DOLLAR, MAX_UINT, Ledger, fresh_key
from operators import MIN_STAKE, UNBONDING
from signing import key

MIN_DELAY = 60
MAX_DELAY = 90 * 86400


@pytest.fixture(scope="session", autouse=True)
def quick_anvil() -> None:
    anvil.prepare()


@pytest.fixture(autouse=True)
def isolation(module_isolation: Any, fn_isolation: Any) -> None:
    """Nothing that a test does is seen by another."""


@pytest.fixture(scope="module")
def deployer() -> Any:
    return accounts[0]


@pytest.fixture(scope="module")
def payer(deployer: Any) -> Any:
    """Sends transactions and has tokens."""
    return accounts[1]


@pytest.fixture(scope="module")
def payee() -> Any:
    return accounts[2]


@pytest.fixture(scope="module")
def stranger() -> Any:
    """Has neither part in anything nor tokens: submits what others signed, or tries to steal."""
    return accounts[3]


@pytest.fixture(scope="module")
def client() -> LocalAccount:
    """A payer with tokens who holds no ETH: it only signs."""
    return key("client")


@pytest.fixture
def signer() -> LocalAccount:
    """A channel's signer, never used before."""
    return fresh_key()


@pytest.fixture(scope="module")
def dollar(deployer: Any, DevDollar: Any) -> Any:
    return DevDollar.deploy({"from": deployer})


@pytest.fixture(scope="module")
def channels(deployer: Any, Channels: Any) -> Any:
    return Channels.deploy(MIN_DELAY, MAX_DELAY, {"from": deployer})


@pytest.fixture(scope="module")
def ledger(channels: Any, dollar: Any, payer: Any, payee: Any, client: LocalAccount) -> Ledger:
    """Everybody is set up to pay: the payer by allowance, the client by signature."""
    dollar.mint(payer, 2**97, {"from": payer})
    dollar.mint(client.address, 1_000 * DOLLAR, {"from": payer})
    dollar.approve(channels, MAX_UINT, {"from": payer})
    return Ledger(channels, dollar, payer, str(payee))


@pytest.fixture(scope="module")
def registry(deployer: Any, dollar: Any, NodeRegistry: Any) -> Any:
    return NodeRegistry.deploy(dollar, MIN_STAKE, UNBONDING, {"from": deployer})


@pytest.fixture(scope="module")
def wallet(ledger: Ledger, client: LocalAccount, Wallet: Any) -> Any:
    """A smart-contract wallet of the client's, with tokens and an allowance."""
    owner = accounts.add(client.key)
    wallet = Wallet.deploy(owner, {"from": owner})
    ledger.token.mint(wallet, 1_000 * DOLLAR, {"from": owner})
    wallet.execute(
        ledger.token, ledger.token.approve.encode_input(ledger.channels, MAX_UINT), {"from": owner}
    )
    return wallet


@pytest.fixture
def gasless(ledger: Ledger, client: LocalAccount) -> Ledger:
    """The same contracts, for a payer who sends no transactions."""
    return Ledger(ledger.channels, ledger.token, client.address, ledger.payee)


@pytest.fixture
def with_token(channels: Any, payer: Any, payee: Any) -> Any:
    """Deploys a token of another kind and sets up a ledger in it."""

    def build(kind: Any) -> Ledger:
        token = kind.deploy({"from": payer})
        token.mint(payer, 10_000 * DOLLAR, {"from": payer})
        token.approve(channels, MAX_UINT, {"from": payer})
        return Ledger(channels, token, payer, str(payee))

    return build
