"""Whatever is typed: one line, a stable code, exit code 1 or 2, and never a traceback."""

import json
import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.cli.conftest import PASSWORD, Run

from waypost.cli import app as program
from waypost.cli.amounts import Unit
from waypost.client.account import Account
from waypost.errors import AmountOutOfRange

DOLLAR = Unit("DUSD", 6)
SOMEBODY = "0x1111111111111111111111111111111111111111"


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense"],
        ["node", "nonsense"],
        ["send"],
        ["channel", "open"],
        ["channel", "open", "--amount"],
        ["token", "mint"],
        ["chain", "--port", "x"],
        ["chain", "--port", "70000"],
        ["chain", "--block-time", "0"],
        ["node", "init", "--port", "0"],
        ["token", "mint", "1", "--dev-account", "10"],
        ["account", "new", "extra"],
    ],
)
def test_a_command_line_that_makes_no_sense_exits_with_2(waypost: Run, words: list[str]) -> None:
    result = waypost(*words)
    assert (result.code, result.error) == (2, "usage")
    assert re.search(r"[.?] Try: waypost .*--help$", result.err.strip())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        # No chain, or none that could be one.
        (["deploy", "--dry-run"], "rpc_unreachable"),
        (["token", "balance", SOMEBODY], "rpc_unreachable"),
        (["node", "list"], "rpc_unreachable"),
        (["node", "init"], "rpc_unreachable"),
        (["deploy", "--rpc-url", "nonsense"], "invalid_config"),
        (["deploy", "--rpc-url", "ftp://127.0.0.1"], "invalid_config"),
        (["deploy", "--rpc-url", ""], "invalid_config"),
        # No account, no node.
        (["account", "show"], "invalid_config"),
        (["channel", "show"], "invalid_config"),
        (["channel", "recover"], "invalid_config"),
        (["channel", "close", SOMEBODY], "invalid_config"),
        (["send", "wp1", "hello"], "invalid_config"),
        (["fetch"], "invalid_config"),
        (["node", "run"], "invalid_config"),
        (["node", "status"], "invalid_config"),
        (["node", "claim"], "invalid_config"),
        (["node", "register"], "invalid_config"),
        (["node", "exit"], "invalid_config"),
        # Values.
        (["deploy", "--preset", "moon"], "invalid_config"),
        (["deploy", "--salt", "0x12"], "invalid_config"),
        (["deploy", "--salt", "salt"], "invalid_config"),
        (["send", "wp1", "hello", "--retention", "forever"], "invalid_config"),
        (["send", "wp1", "hello", "--retention", "-1"], "invalid_config"),
        (["send", "wp1"], "invalid_config"),
        (["send", "wp1", "hello", "--file", "-"], "invalid_config"),
        (["send", "wp1", "--file", "/nowhere/at/all"], "invalid_config"),
        (["send", "wp1", "hello", "--node", "0x12"], "invalid_address"),
        (["fetch", "--node", "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266"], "invalid_address"),
        (["node", "run", "--log-level", "loud"], "invalid_config"),
        (["account", "new", "--password-file", "/nowhere/at/all"], "invalid_config"),
        (["account", "new", "--home", "/proc/nowhere"], "invalid_config"),
        (["account", "import", "--words-file", "/nowhere/at/all"], "invalid_config"),
        (["demo", "--act", "nonsense"], "invalid_config"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_a_code(waypost: Run, words: list[str], code: str) -> None:
    result = waypost(*words)
    assert (result.code, result.error) == (1, code)
    assert len(result.err.splitlines()) == 1
    as_json = waypost(*words, "--json")
    error = json.loads(as_json.err.splitlines()[-1])["error"]
    assert (as_json.code, error["code"]) == (1, code)
    assert as_json.out == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["token", "balance"], "invalid_config"),  # no account to show
        (["token", "balance", "0x12"], "invalid_address"),
        (["token", "mint", "1", "--to", SOMEBODY], "invalid_config"),  # nobody pays the gas
        (["token", "mint", "1", "--to", SOMEBODY, "--keystore", "/nowhere"], "invalid_config"),
        (["token", "mint", "1", "--to", SOMEBODY, "--keystore", "/", "--dev-account", "1"], "invalid_config"),
        (["token", "mint", "0.0000001", "--to", SOMEBODY], "amount_out_of_range"),
        (["token", "mint", "1e40", "--to", SOMEBODY], "amount_out_of_range"),
        (["token", "mint", "NaN", "--to", SOMEBODY], "amount_out_of_range"),
        (["token", "mint", "--to", SOMEBODY, "--", "-1"], "amount_out_of_range"),
        (["deploy", "--token", SOMEBODY, "--dry-run"], "wrong_contract"),
        (["deploy", "--preset", "mainnet", "--dry-run"], "invalid_config"),
        (["deploy"], "invalid_config"),  # nobody pays the gas
        (["deploy", "--dev-account", "0", "--manifest", "/proc/nowhere/x.json", "--yes"], "invalid_config"),
        (["node", "init", "--host", "0.0.0.0"], "invalid_config"),  # plain HTTP for everybody
        (["node", "init", "--endpoint", "ftp://x"], "invalid_config"),
        (["node", "init", "--payee", "0x12"], "invalid_address"),
        (["node", "init", "--store-price", "free"], "amount_out_of_range"),
        (["node", "init", "--tls-cert", "x.pem"], "invalid_config"),
        (["account", "show"], "invalid_config"),
    ],
)
def test_with_a_chain_too(deployed: object, waypost: Run, home: Path, words: list[str], code: str) -> None:
    before = sorted(home.rglob("*"))
    result = waypost(*words)
    assert (result.code, result.error) == (1, code)
    assert sorted(home.rglob("*")) == before


def test_a_manifest_of_another_chain_is_named(
    deployed: dict[str, object], waypost: Run, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**deployed, "chainId": 1}))
    assert waypost("account", "new").code == 0
    assert waypost("channel", "show", "--manifest", str(other)).error == "wrong_chain"
    other.write_text("{}")
    assert waypost("channel", "show", "--manifest", str(other)).error == "invalid_config"
    assert waypost("channel", "show", "--manifest", "/nowhere").error == "invalid_config"


def test_passwords(waypost: Run, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from a file\nand more\n")
    assert waypost("account", "new", "--password-file", str(file)).code == 0
    assert Account.load(home / "account.keystore.json", "from a file").payer
    assert waypost("account", "show").error == "wrong_password"
    assert waypost("account", "show", "--password-file", str(file)).code == 0
    file.write_text("")
    assert waypost("account", "show", "--password-file", str(file)).error == "invalid_config"
    file.write_bytes(b"\xff\xfe")
    assert waypost("account", "show", "--password-file", str(file)).error == "invalid_config"
    monkeypatch.delenv("WAYPOST_PASSWORD")
    assert waypost("account", "show").error == "keystore_locked"


def test_a_person_is_asked_for_the_password(
    waypost: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def prompt(text: str, *, hide_input: bool, confirmation_prompt: bool, err: bool) -> str:
        assert hide_input
        assert err
        asked.append((text, confirmation_prompt))
        return PASSWORD

    monkeypatch.delenv("WAYPOST_PASSWORD")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", prompt)
    path = home / "account.keystore.json"
    assert waypost("account", "new").code == 0
    assert waypost("account", "show").code == 0
    assert asked == [(f"Password for {path}", True), (f"Password for {path}", False)]


def test_no_key_file_is_ever_overwritten(deployed: object, waypost: Run, home: Path) -> None:
    assert waypost("account", "new").code == 0
    content = (home / "account.keystore.json").read_text()
    assert waypost("account", "new").error == "invalid_config"
    assert waypost("account", "import").error == "invalid_config"
    assert (home / "account.keystore.json").read_text() == content
    assert waypost("node", "init").code == 0
    keys = {path: path.read_text() for path in (home / "node").rglob("*.json")}
    assert waypost("node", "init").error == "invalid_config"
    assert {path: path.read_text() for path in (home / "node").rglob("*.json")} == keys


def test_the_words_restore_the_account(waypost: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = waypost("account", "new", "--json").json
    assert "words" not in waypost("account", "show", "--json").json
    assert waypost("account", "show", "--words", "--json").json == made
    file = tmp_path / "words"
    file.write_text(made["words"])
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path / "elsewhere"))
    restored = waypost("account", "import", "--words-file", str(file), "--json").json
    assert (restored["payer"], restored["mailbox"]) == (made["payer"], made["mailbox"])
    file.write_text("abandon " * 24)
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path / "third"))
    assert waypost("account", "import", "--words-file", str(file)).error == "invalid_mnemonic"


def test_development_accounts_are_for_the_development_chain(
    waypost: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from waypost.cli.passwords import signing_key
    from waypost.errors import InvalidConfig

    with pytest.raises(InvalidConfig, match="public keys"):
        signing_key(None, 0, None, 1)


def test_a_busy_port_is_named(waypost: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert waypost("chain", "--port", str(taken.getsockname()[1])).error == "port_in_use"


def test_unreadable_files_are_named(waypost: Run, home: Path) -> None:
    home.mkdir()
    (home / "account.keystore.json").mkdir()
    assert waypost("account", "show").error == "invalid_config"


def test_a_bug_is_one_line_and_asks_to_be_reported(waypost: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("waypost.cli.account.load_account", broken)
    result = waypost("account", "show")
    assert (result.code, result.error) == (1, "unexpected")
    report = "This is a bug: please report it, with what --debug shows."
    assert result.err.splitlines() == [f"error[unexpected]: RuntimeError: two lines. {report}"]
    for words in (("--debug", "account", "show"), ("account", "show", "--debug")):
        shown = waypost(*words)
        assert shown.code == 1
        assert "Traceback" in shown.err
        assert "in broken" in shown.err


def test_errors_of_the_system_are_no_bugs(waypost: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28), "/some/file")

    monkeypatch.setattr("waypost.cli.account.load_account", full)
    result = waypost("account", "show")
    assert (result.code, result.error) == (1, "file_unusable")
    assert "/some/file: No space left on device" in result.err


def test_ctrl_c_says_nothing(waypost: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("waypost.cli.account.load_account", interrupted)
    result = waypost("account", "show")
    assert (result.code, result.out) == (130, "")
    assert "Traceback" not in result.err


def test_errors_inside_of_groups_are_found(waypost: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ExceptionGroup("tasks", [ExceptionGroup("more", [AmountOutOfRange("Too much.")])])

    monkeypatch.setattr("waypost.cli.account.load_account", failing)
    assert waypost("account", "show").error == "amount_out_of_range"


def test_parts_name_themselves() -> None:
    assert set(program.PARTS) == {c.name for c in program.assemble(None).registered_commands} | {
        group.name for group in program.assemble(None).registered_groups
    }


# ---- Amounts ----


@given(st.integers(0, 2**96 - 1), st.integers(0, 18))
def test_amounts_survive_being_shown_and_typed(amount: int, decimals: int) -> None:
    unit = Unit("X", decimals)
    assert unit.parse(unit.show(amount).removesuffix(" X")) == amount


@pytest.mark.parametrize(
    ("text", "units"),
    [("2.5", 2_500_000), ("0", 0), ("0.000001", 1), (" 1 ", 10**6), ("1.", 10**6), (".5", 5 * 10**5)],
)
def test_amounts_are_whole_tokens(text: str, units: int) -> None:
    assert DOLLAR.parse(text) == units


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-1",
        "1,5",
        "1.0000001",
        "NaN",
        "inf",
        "1e999999999",
        "1_000",
        "9" * 100,
        "0x10",
        "79228162514264337593544",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(AmountOutOfRange):
        DOLLAR.parse(text)
