"""Stateful tests share nothing but the chain. One that takes a `seed` runs once for each of 20 seeds; for the
long version WAYPOST_SOAK_SEED says which ones, WAYPOST_SOAK_EXAMPLES how many."""

import os

import pytest

import anvil

EXAMPLES = 20


@pytest.fixture(scope="session", autouse=True)
def quick_anvil() -> None:
    anvil.prepare()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        count = int(os.environ.get("WAYPOST_SOAK_EXAMPLES", EXAMPLES))
        first = int(os.environ.get("WAYPOST_SOAK_SEED", "0")) * 10**6
        metafunc.parametrize("seed", range(first, first + count))
