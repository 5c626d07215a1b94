"""The constructor parameters of a deployment: seconds where people try things, days where money is real."""

from dataclasses import dataclass

from waypost.errors import InvalidConfig

HOUR = 3600
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Preset:
    """Times are in seconds, `min_stake` in the stake token's base units, `confirmations` in blocks
    on top of the one that holds a transaction (0: the head counts)."""

    name: str
    min_close_delay: int
    max_close_delay: int
    min_stake: int
    unbonding: int
    confirmations: int
    brings_token: bool
    """Whether a deployment without a token deploys DevDollar, the token that anybody can mint."""


LOCAL = Preset(
    name="local",
    min_close_delay=2,
    max_close_delay=HOUR,
    min_stake=10_000_000,
    unbonding=5,
    confirmations=0,
    brings_token=True,
)

TESTNET = Preset(
    name="testnet",
    min_close_delay=10 * 60,
    max_close_delay=90 * DAY,
    min_stake=100_000_000,
    unbonding=DAY,
    confirmations=3,
    brings_token=True,
)

# Whoever must answer within a window may find a rollup's sequencer down: nothing is below 36 h.
MAINNET = Preset(
    name="mainnet",
    min_close_delay=36 * HOUR,
    max_close_delay=90 * DAY,
    min_stake=1_000_000_000,
    unbonding=40 * DAY,
    confirmations=12,
    brings_token=False,
)

PRESETS = {preset.name: preset for preset in (LOCAL, TESTNET, MAINNET)}


def preset(name: str) -> Preset:
    """The preset of that name. Raises InvalidConfig."""
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise InvalidConfig(f"There is no preset {name!r}; there are {known}.", given=name)
    return PRESETS[name]
