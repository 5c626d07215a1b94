"""What a deployment fixed for ever, as people read it, against what its network's preset says."""

from dataclasses import dataclass

from waypost.chain.amounts import span
from waypost.chain.manifest import Manifest
from waypost.chain.presets import PRESETS, Preset
from waypost.chain.token import Unit
from waypost.errors import JSON
from waypost.protocol.rln import DEPTH

_MARKS = {True: "✓", False: "✗", None: "?"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """`value` in its `unit`, and in `words`; base units are decimal strings. `expected`: what it should be,
    None if nothing says; then `holds` is None as well."""

    name: str
    value: int | str
    unit: str
    words: str
    expected: int | str | None
    holds: bool | None

    @property
    def line(self) -> str:
        """For people."""
        differs = self.expected is not None and self.value != self.expected
        wanted = f"; {self.expected} is expected" if differs else ""
        return f"{_MARKS[self.holds]} {self.name:<21} {self.words}{wanted}"

    def to_json(self) -> dict[str, JSON]:
        """For reports."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "words": self.words,
            "expected": self.expected,
            "holds": self.holds,
        }


def parameters(manifest: Manifest, unit: Unit | None, network: Preset | None) -> list[Parameter]:
    """Of a manifest whose arguments the constructors take. `unit`: what the registry's token says of itself,
    None if there is no token. `network` is what to compare with, instead of the bundled preset that the
    manifest names."""
    preset = network or PRESETS.get(manifest.preset)
    shortest, longest = map(int, manifest.contracts["Channels"].constructor_arguments)
    token, stake, unbonding = manifest.contracts["NodeRegistry"].constructor_arguments
    decimals = [] if unit is None else [(unit.decimals, "digits", str(unit.decimals))]
    return [
        _preset(manifest, network, preset),
        _token(token, manifest, unit),
        *(_compared(preset, "token_decimals", *each) for each in decimals),
        _compared(preset, "min_stake", str(stake), "base units", _amount(stake, unit)),
        _compared(preset, "unbonding", int(unbonding), "s", _time(int(unbonding))),
        _compared(preset, "min_close_delay", shortest, "s", _time(shortest)),
        _compared(preset, "max_close_delay", longest, "s", _time(longest)),
        *_membership(manifest, unit, preset),
        _compared(
            preset, "confirmations", manifest.confirmations, "blocks", f"{manifest.confirmations} blocks"
        ),
    ]


def _membership(manifest: Manifest, unit: Unit | None, preset: Preset | None) -> list[Parameter]:
    entry = manifest.contracts.get("RlnMembership")
    if entry is None:
        return []
    token, depth, period, window, stake, fee = entry.constructor_arguments
    return [
        Parameter("member_token", token, "address", str(token), manifest.token, token == manifest.token),
        Parameter("member_depth", depth, "levels", f"{depth} levels", DEPTH, depth == DEPTH),
        _compared(preset, "member_period", int(period), "s", _time(int(period))),
        _compared(preset, "member_window", int(window), "s", _time(int(window))),
        _compared(preset, "member_stake_per_rate", str(stake), "base units", _amount(stake, unit)),
        _compared(preset, "member_fee_per_rate", str(fee), "base units", _amount(fee, unit)),
    ]


def _preset(manifest: Manifest, network: Preset | None, preset: Preset | None) -> Parameter:
    name = manifest.preset[:32]
    if preset is None:
        words = (
            f"{name!r} is not a bundled preset: judge the values below yourself, or give the network's own"
            " file with --network-file"
        )
    elif not preset.suits(manifest.chain_id):
        words = f"{preset.name}, which is not for chain {manifest.chain_id}"
    else:
        words = f"{preset.name}, {'bundled with this version' if network is None else 'a network file'}"
    suits = preset is not None and preset.suits(manifest.chain_id)
    return Parameter("preset", name, "name", words, None, suits)


def _token(token: int | str, manifest: Manifest, unit: Unit | None) -> Parameter:
    words = f"{token}, {'where there is no token' if unit is None else unit.words}"
    holds = token == manifest.token and unit is not None
    return Parameter("token", token, "address", words, manifest.token, holds)


def _compared(preset: Preset | None, name: str, value: int | str, unit: str, words: str) -> Parameter:
    if preset is None:
        return Parameter(name, value, unit, words, None, None)
    expected = type(value)(getattr(preset, name))
    return Parameter(name, value, unit, words, expected, value == expected)


def _time(seconds: int) -> str:
    exact, about = f"{seconds} s", span(seconds)
    return exact if about == exact else f"{exact} ({about})"


def _amount(amount: int | str, unit: Unit | None) -> str:
    return f"{amount} base units" + ("" if unit is None else f" ({unit.grouped(int(amount))})")
