"""The constructor parameters of a deployment, one reviewed TOML file per network: seconds where people try
things, days where money is real."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from waypost.errors import InvalidConfig

HOUR = 3600
DAY = 24 * HOUR
PUBLIC_WINDOW = 36 * HOUR
"""On a public network nobody has to react faster: a rollup's sequencer may be down."""
LONGEST_PROMISE = 35 * DAY
"""So long must stake stay slashable: a pledge of 30 days, its grace, and the windows of a demand."""
MAX_CONFIRMATIONS = 1000
DEVELOPMENT_CHAINS = (1337, 31337)
LIMITS = {"close delay": 90 * DAY, "unbonding": 365 * DAY, "membership": 365 * DAY}
MAX_PER_RATE = 2**80 - 1
"""What a member stakes or pays in a period stays below 2**96, the contract's largest amount, at any rate."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Times are in seconds, amounts in base units of a token with `token_decimals`, `confirmations` in blocks
    on top of the one that holds a transaction (0: the head counts).

    What begins with `member_` is RlnMembership's: stake and fee are per message that a member may send in an
    epoch, the fee for a `period`; for the `window` after it left, a member can be slashed."""

    name: str
    min_close_delay: int
    max_close_delay: int
    min_stake: int
    unbonding: int
    member_period: int
    member_window: int
    member_stake_per_rate: int
    member_fee_per_rate: int
    token_decimals: int
    confirmations: int
    brings_token: bool
    """Whether a deployment without a token deploys DevDollar, the token that anybody can mint."""
    public: bool = False
    chain_id: int | None = None
    """The only chain that it is for, if there is one."""

    def suits(self, chain_id: int) -> bool:
        """Whether it may be used there: development presets only where nothing is at stake."""
        if self.chain_id is not None:
            return self.chain_id == chain_id
        return self.public or chain_id in DEVELOPMENT_CHAINS


def parse(name: str, text: str) -> Preset:
    """The preset in a network file. Raises InvalidConfig, naming what is wrong."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"The network file {name} is no TOML: {error}.") from None
    top = _Table(name, "", document)
    channels, registry, membership = (top.table(name) for name in ("channels", "registry", "membership"))
    preset = Preset(
        name=name,
        min_close_delay=channels.integer("min_close_delay", 1, LIMITS["close delay"]),
        max_close_delay=channels.integer("max_close_delay", 1, LIMITS["close delay"]),
        min_stake=registry.integer("min_stake", 0, 2**96 - 1),
        unbonding=registry.integer("unbonding", 1, LIMITS["unbonding"]),
        member_period=membership.integer("period", 1, LIMITS["membership"]),
        member_window=membership.integer("window", 1, LIMITS["membership"]),
        member_stake_per_rate=membership.integer("stake_per_rate", 1, MAX_PER_RATE),
        member_fee_per_rate=membership.integer("fee_per_rate", 0, MAX_PER_RATE),
        token_decimals=top.integer("token_decimals", 0, 36),
        confirmations=top.integer("confirmations", 0, MAX_CONFIRMATIONS),
        brings_token=top.flag("brings_token"),
        public=top.flag("public"),
        chain_id=top.integer("chain_id", 1, 2**53) if "chain_id" in document else None,
    )
    for table in (top, channels, registry, membership):
        table.require_no_more()
    if preset.min_close_delay > preset.max_close_delay:
        raise InvalidConfig(f"In {name}, min_close_delay is longer than max_close_delay.")
    least_where_public = (
        ("min_close_delay", preset.min_close_delay, PUBLIC_WINDOW),
        ("unbonding", preset.unbonding, LONGEST_PROMISE),
        ("membership.window", preset.member_window, PUBLIC_WINDOW),
        ("min_stake", preset.min_stake, 1),
        ("confirmations", preset.confirmations, 1),
    )
    for setting, given, least in least_where_public if preset.public else ():
        if given < least:
            sentence = f"{name} is public: {setting} is {given}, and at least {least} is needed."
            raise InvalidConfig(sentence, given=given, minimum=least)
    return preset


def read(path: Path) -> Preset:
    """The preset in a network file of a deployer's own, named as the file. Raises InvalidConfig."""
    try:
        return parse(path.stem, path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"The network file {path} cannot be read: {error}.", path=str(path)) from None


def preset(name: str) -> Preset:
    """The preset of that name. Raises InvalidConfig."""
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise InvalidConfig(f"There is no preset {name!r}; there are {known}.", given=name)
    return PRESETS[name]


class _Table:
    """A table of a network file, and which of its keys were asked for."""

    def __init__(self, file: str, name: str, content: Mapping[str, Any]) -> None:
        self._file, self._name, self._content = file, name, content
        self._known: set[str] = set()

    def table(self, key: str) -> "_Table":
        return _Table(self._file, f"{key}.", self._get(key, dict, f"a table, [{key}]"))

    def flag(self, key: str) -> bool:
        return bool(self._get(key, bool, "true or false"))

    def integer(self, key: str, least: int, most: int) -> int:
        value = self._get(key, int, "an integer")
        if isinstance(value, bool) or not least <= value <= most:
            raise self._fault(key, f"an integer from {least} to {most}")
        return int(value)

    def require_no_more(self) -> None:
        for key in self._content.keys() - self._known:
            raise InvalidConfig(f"{self._file} has an unknown setting, {self._name}{key}.")

    def _get(self, key: str, kind: type, words: str) -> Any:
        self._known.add(key)
        value = self._content.get(key)
        if not isinstance(value, kind):
            raise self._fault(key, words)
        return value

    def _fault(self, key: str, words: str) -> InvalidConfig:
        return InvalidConfig(f"In {self._file}, {self._name}{key} must be {words}.")


def _bundled(name: str) -> Preset:
    file = resources.files("waypost.chain").joinpath("networks", f"{name}.toml")
    return parse(name, file.read_text("utf-8"))


LOCAL, TESTNET, MAINNET = map(_bundled, ("local", "testnet", "mainnet"))
PRESETS = {each.name: each for each in (LOCAL, TESTNET, MAINNET)}
