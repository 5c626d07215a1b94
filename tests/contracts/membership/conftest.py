"""A membership contract, a payer with an allowance, and a home node."""

from typing import Any

import pytest
from brownie import accounts
from eth_account.signers.local import LocalAccount

from channel_ledger import DOLLAR, MAX_UINT
from members import PARAMETERS, Members, Record, fresh_secret


@pytest.fixture(scope="module")
def home() -> Any:
    """Is paid for serving members."""
    return accounts[7]


@pytest.fixture(scope="module")
def slasher() -> Any:
    """Has found two shares of one member's."""
    return accounts[8]


@pytest.fixture(scope="module")
def membership(deployer: Any, dollar: Any, RlnMembership: Any) -> Any:
    return RlnMembership.deploy(dollar, *PARAMETERS, {"from": deployer})


@pytest.fixture(scope="module")
def members(membership: Any, dollar: Any, payer: Any, home: Any, client: LocalAccount) -> Members:
    """The payer pays by allowance, the client by signature."""
    dollar.mint(payer, 2**100, {"from": payer})
    dollar.mint(client.address, 1_000 * DOLLAR, {"from": payer})
    dollar.approve(membership, MAX_UINT, {"from": payer})
    return Members(membership, dollar, payer, home)


@pytest.fixture
def gasless(members: Members, client: LocalAccount) -> Members:
    """The same contract, for a payer who sends no transactions."""
    return Members(members.contract, members.token, client.address, members.home)


@pytest.fixture
def secret() -> int:
    """The secret behind `record`."""
    return fresh_secret()


@pytest.fixture
def record(members: Members, secret: int) -> Record:
    """A member of the payer's."""
    return members.register(secret)


@pytest.fixture
def other(RlnMembership: Any, payer: Any, home: Any) -> Any:
    """Deploys a membership contract with a token of another kind, or other parameters."""

    def build(kind: Any, parameters: tuple[int, ...] = PARAMETERS) -> Members:
        token = kind.deploy({"from": payer})
        token.mint(payer, 10_000 * DOLLAR, {"from": payer})
        contract = RlnMembership.deploy(token, *parameters, {"from": payer})
        token.approve(contract, MAX_UINT, {"from": payer})
        return Members(contract, token, payer, home)

    return build
