"""Network files: what they say, and what they may not say."""

from pathlib import Path

import pytest

from waypost.chain.presets import (
    HOUR,
    LOCAL,
    MAINNET,
    PRESETS,
    PUBLIC_WINDOW,
    TESTNET,
    parse,
    preset,
    read,
)
from waypost.errors import InvalidConfig

GOOD = """
public = true
brings_token = true
token_decimals = 6
confirmations = 3
[channels]
min_close_delay = 129600
max_close_delay = 7776000
[registry]
min_stake = 100
unbonding = 3456000
[membership]
period = 2592000
window = 129600
stake_per_rate = 50000
fee_per_rate = 10000
"""


def test_public_networks_leave_time_to_react() -> None:
    for each in (TESTNET, MAINNET):
        assert each.public
        assert each.min_close_delay >= PUBLIC_WINDOW
        assert each.unbonding > 30 * 86_400  # the longest pledge
        assert each.member_window >= PUBLIC_WINDOW
    assert not LOCAL.public


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("chain_id = 5\n" + GOOD)
    preset = read(tmp_path / "mine.toml")
    assert (preset.name, preset.chain_id, preset.confirmations) == ("mine", 5, 3)
    assert (preset.min_close_delay, preset.max_close_delay) == (129_600, 7_776_000)
    assert (preset.min_stake, preset.unbonding, preset.brings_token) == (100, 3_456_000, True)
    assert (preset.token_decimals, preset.suits(5), preset.suits(1)) == (6, True, False)
    assert (preset.member_period, preset.member_window) == (2_592_000, 129_600)
    assert (preset.member_stake_per_rate, preset.member_fee_per_rate) == (50_000, 10_000)


def test_times_of_seconds_stay_on_development_chains() -> None:
    assert [LOCAL.suits(chain) for chain in (31337, 1337, 1, 11155111)] == [True, True, False, False]
    assert all(preset.suits(chain) for preset in (TESTNET, MAINNET) for chain in (31337, 1))


@pytest.mark.parametrize(
    ("line", "replacement", "words"),
    [
        ("public = true", "public = 1", "public must be true or false"),
        ("confirmations = 3", "", "confirmations must be an integer"),
        ("confirmations = 3", "confirmations = 3.0", "confirmations must be an integer"),
        ("confirmations = 3", "confirmations = true", "confirmations must be an integer from 0 to 1000"),
        ("confirmations = 3", "confirmations = 1001", "from 0 to 1000"),
        ("confirmations = 3", "confirmations = 3\nunbounding = 3", "unknown setting, unbounding"),
        ("confirmations = 3", "confirmations = 0", "confirmations is 0, and at least 1 is needed"),
        ("token_decimals = 6", "", "token_decimals must be an integer"),
        ("token_decimals = 6", "token_decimals = 37", "token_decimals must be an integer from 0 to 36"),
        ("min_stake = 100", "min_stake = 0", "min_stake is 0, and at least 1 is needed"),
        ("min_stake = 100", "min_stake = 79228162514264337593543950336", "min_stake must be an integer"),
        ("min_stake = 100", "min_stake = -1", "registry.min_stake must be an integer from 0"),
        ("min_stake = 100", "min_stake = 100\nfee = 1", "unknown setting, registry.fee"),
        ("min_close_delay = 129600", "min_close_delay = 129599", "at least 129600 is needed"),
        ("min_close_delay = 129600", "min_close_delay = 7776000", ""),
        ("min_close_delay = 129600", "min_close_delay = 0", "min_close_delay must be an integer from 1"),
        ("min_close_delay = 129600", "min_close_delay = inf", "min_close_delay must be an integer"),
        ("max_close_delay = 7776000", "max_close_delay = 0", "max_close_delay must be an integer from 1"),
        ("max_close_delay = 7776000", "max_close_delay = 129599", "longer than max_close_delay"),
        ("max_close_delay = 7776000", "max_close_delay = 7776001", "from 1 to 7776000"),
        ("unbonding = 3456000", "unbonding = 3023999", "at least 3024000 is needed"),
        ("unbonding = 3456000", "unbonding = 0", "registry.unbonding must be an integer from 1"),
        ("unbonding = 3456000", "unbonding = 31536001", "from 1 to 31536000"),  # what the contract takes
        ("\nperiod = 2592000", "\nperiod = 0", "membership.period must be an integer from 1"),
        ("\nperiod = 2592000", "\nperiod = 31536001", "membership.period .* to 31536000"),
        ("\nperiod = 2592000", "", "membership.period must be an integer"),
        ("window = 129600", "window = 129599", "membership.window is 129599, and at least 129600 is needed"),
        ("window = 129600", "window = 0", "membership.window must be an integer from 1"),
        ("window = 129600", "window = 31536001", "membership.window .* to 31536000"),
        ("window = 129600", "window = 129600.0", "membership.window must be an integer"),
        ("stake_per_rate = 50000", "stake_per_rate = 0", "membership.stake_per_rate .* from 1"),
        ("stake_per_rate = 50000", "stake_per_rate = -1", "membership.stake_per_rate must be an integer"),
        (
            "stake_per_rate = 50000",
            f"stake_per_rate = {2**80}",
            "membership.stake_per_rate must be an integer",
        ),
        ("stake_per_rate = 50000", "", "membership.stake_per_rate must be an integer"),
        ("fee_per_rate = 10000", "fee_per_rate = -1", "membership.fee_per_rate must be an integer from 0"),
        ("fee_per_rate = 10000", f"fee_per_rate = {2**80}", "membership.fee_per_rate must be an integer"),
        ("fee_per_rate = 10000", "fee_per_rate = true", "membership.fee_per_rate must be an integer"),
        ("fee_per_rate = 10000", "fee_per_rate = 10000\nrate = 1", "unknown setting, membership.rate"),
        ("[membership]", "[members]", r"In mine, membership must be a table, \[membership\]\."),
        ("[registry]", "[registrar]", "registry must be a table"),
        ("[registry]", "[registry", "is no TOML"),
    ],
)
def test_every_line_counts(line: str, replacement: str, words: str) -> None:
    assert GOOD.count(line) == 1
    text = GOOD.replace(line, replacement)
    if not words:
        assert parse("mine", text).min_close_delay == 7_776_000
        return
    with pytest.raises(InvalidConfig, match=words):
        parse("mine", text)


def test_members_may_pay_no_fee_and_windows_are_short_where_nothing_is_at_stake() -> None:
    assert parse("mine", GOOD.replace("fee_per_rate = 10000", "fee_per_rate = 0")).member_fee_per_rate == 0
    own = GOOD.replace("public = true", "public = false").replace("window = 129600", "window = 1")
    assert parse("mine", own).member_window == 1


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read"):
        read(tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidConfig, match="cannot be read"):
        read(tmp_path / "binary.toml")


def test_presets_are_found_by_name() -> None:
    assert preset("local") is LOCAL
    with pytest.raises(InvalidConfig, match=r"no preset 'lokal'; there are local, testnet, mainnet\."):
        preset("lokal")


def test_where_money_is_real_every_window_leaves_a_day_and_a_half() -> None:
    assert MAINNET.min_close_delay >= 36 * HOUR
    assert MAINNET.unbonding >= 40 * 24 * HOUR
    assert not MAINNET.brings_token
    for entry in PRESETS.values():
        assert 0 < entry.min_close_delay <= entry.max_close_delay < 2**32
        assert 0 < entry.min_stake < 2**96
        assert 0 < entry.member_fee_per_rate < entry.member_stake_per_rate
    assert MAINNET.member_window >= 36 * HOUR
