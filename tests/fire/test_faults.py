"""Every fault of the network alone, and all of them at once, while a node earns and claims."""

from random import Random

import pytest
from tests.fire.proxy import FAULTS, Proxy, Weather
from tests.fire.world import Battlefield


@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_a_fault_costs_nothing(field: Battlefield, proxy: Proxy, fault: str) -> None:
    await survive(field, proxy, Weather(0.3, (fault,), Random(1)), rounds=25)
    assert proxy.met[fault] > 3


@pytest.mark.parametrize("seed", range(2))
async def test_all_faults_at_once_cost_nothing(field: Battlefield, proxy: Proxy, seed: int) -> None:
    await survive(field, proxy, Weather(0.3, tuple(sorted(FAULTS)), Random(seed)), rounds=40)
    assert len(proxy.met) > 4


async def survive(field: Battlefield, proxy: Proxy, weather: Weather, rounds: int) -> None:
    async with field.node() as node, node.running():
        for client in field.clients:
            await field.open(node, client)
        proxy.weather = weather
        await field.live(node, weather.chance, rounds)
        await field.settle(node)
