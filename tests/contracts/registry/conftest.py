"""A registry and those who put up stake in it."""

from typing import Any

import pytest
from brownie import accounts

from channel_ledger import DOLLAR, MAX_UINT
from operators import MIN_STAKE, UNBONDING, Operators


@pytest.fixture(scope="module")
def operator(deployer: Any) -> Any:
    return accounts[5]


@pytest.fixture(scope="module")
def operators(registry: Any, dollar: Any, operator: Any) -> Operators:
    """The operator has tokens and an allowance, and is not registered yet."""
    dollar.mint(operator, 10_000 * DOLLAR, {"from": operator})
    dollar.approve(registry, MAX_UINT, {"from": operator})
    return Operators(registry, dollar)


@pytest.fixture
def staked(operators: Operators, operator: Any) -> Any:
    """The registry, where the operator has 1,000 dollars of stake."""
    operators.register(operator)
    operators.registry.stake(1_000 * DOLLAR, {"from": operator})
    return operators.registry


@pytest.fixture(scope="module")
def slasher() -> Any:
    """A service contract, as far as the registry can tell."""
    return accounts[6]


@pytest.fixture
def provisioned(staked: Any, operator: Any, slasher: Any) -> Any:
    """The registry, where 400 of the operator's 1,000 dollars are provisioned to the slasher."""
    staked.provision(slasher, 400 * DOLLAR, {"from": operator})
    return staked


@pytest.fixture
def other(NodeRegistry: Any, operator: Any) -> Any:
    """Deploys a registry with a token of another kind, where the operator is registered."""

    def build(kind: Any) -> Operators:
        token = kind.deploy({"from": operator})
        token.mint(operator, 10_000 * DOLLAR, {"from": operator})
        registry = NodeRegistry.deploy(token, MIN_STAKE, UNBONDING, {"from": operator})
        token.approve(registry, MAX_UINT, {"from": operator})
        operators = Operators(registry, token)
        operators.register(operator)
        return operators

    return build
