"""Stateful tests share nothing but the chain."""

import pytest

import anvil


@pytest.fixture(scope="session", autouse=True)
def quick_anvil() -> None:
    anvil.prepare()
