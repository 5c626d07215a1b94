"""A newcomer's way through all commands, on a chain and with a node that really runs."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.services.cli.conftest import Run

DOLLAR = 10**6


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def server(*words: str) -> Iterator[dict[str, Any]]:
    """A `waypost` command that runs until it is stopped; yields what it said when it was ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "waypost", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ.copy(),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{words} ended with {process.wait()}"
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def height(url: str) -> int:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return int(json.load(answer)["result"], 16)


def test_the_chain_command_serves_until_it_is_stopped() -> None:
    with server("chain", "--port", "0") as ready:
        assert ready["chainId"] == 31337
        assert len(ready["accounts"]) == 10
        assert height(ready["rpcUrl"]) == 0


def test_from_nothing_to_earnings_and_out_again(chain: str, deployed: Any, waypost: Run, home: Path) -> None:
    def ok(*words: str) -> Any:
        result = waypost(*words, "--json")
        assert result.code == 0, result
        return result.json

    again = ok("deploy", "--dev-account", "1", "--yes")
    assert again["contracts"] == deployed["contracts"]  # nothing was deployed twice
    port, admin_port = free_ports(2)

    # The operator.
    node = ok("node", "init", "--dev-account", "2", "--port", str(port), "--admin-port", str(admin_port))
    operator = node["operator"]
    assert ok("node", "register", "--dry-run")["steps"] == ["register", "approve", "stake"]
    assert waypost("node", "register", "--yes").error == "insufficient_funds"
    assert waypost("node", "register", "--stake", "9").error == "invalid_config"
    ok("token", "mint", "10", "--to", operator, "--dev-account", "2")
    assert ok("node", "register", "--yes")["stake"] == str(10 * DOLLAR)
    assert ok("node", "register", "--yes")["steps"] == []
    before = height(chain)
    assert waypost("node", "fund", "1").error == "confirmation_needed"
    assert ok("node", "fund", "1", "--dry-run")["gasAccount"] == node["gasAccount"] != operator
    assert height(chain) == before
    assert ok("node", "fund", "1", "--yes")["balance"] == str(10**18)
    assert waypost("node", "claim", "--yes", "--json").json["transactions"] == []

    # The client.
    account = ok("account", "new")
    ok("token", "mint", "100", "--dev-account", "0")
    assert (
        waypost("channel", "open", "--amount", "5", "--yes").error == "no_nodes_found"
    )  # it does not run yet
    with server("node", "run") as ready:
        assert ready["port"] == port
        assert waypost("node", "run").error in ("port_in_use", "data_in_use")
        (listed,) = ok("node", "list")["nodes"]
        assert (listed["operator"], listed["usable"]) == (operator, True)

        before = height(chain)
        assert ok("channel", "open", "--amount", "5", "--limit", "1", "--dry-run")["limit"] == str(DOLLAR)
        assert height(chain) == before
        opened = ok("channel", "open", "--amount", "5", "--limit", "1", "--yes")
        assert (opened["status"], opened["deposited"], opened["spent"]) == ("open", "5000000", "100000")
        assert (
            waypost("channel", "open", "--amount", "1000", "--node", operator, "--yes").error
            == "insufficient_funds"
        )
        assert ok("token", "balance")["wei"] == "0"

        assert ok("send", account["mailbox"], "hello", "--dry-run")["quotes"].keys() == {operator}
        assert (
            waypost("send", account["mailbox"], "hello", "--max-cost", "0").error == "spending_limit_exceeded"
        )
        assert waypost("send", "wp1abc", "hello").error == "invalid_address"
        sent = ok("send", account["mailbox"], "hello \x1b[2J", "--retention", "2h")
        file = home / "picture"
        file.write_bytes(bytes(range(256)))
        ok("send", account["mailbox"], "--file", str(file))
        file.write_bytes(bytes(200_000))
        assert waypost("send", account["mailbox"], "--file", str(file)).error == "message_too_large"
        short = waypost("send", account["mailbox"], "hi", "--copies", "2")
        assert short.code == 1  # kept once, not twice
        assert "1 of 2" in short.out

        listed = ok("fetch", "--dry-run")
        assert len(listed["messages"]) == 3
        assert waypost("fetch", "--max-cost", "0").error == "spending_limit_exceeded"
        shown = waypost("fetch", "--save-to", str(home / "inbox"))
        assert "\x1b" not in shown.out
        assert (home / "inbox" / sent["id"][2:]).read_text() == "hello \x1b[2J"
        assert ok("fetch")["messages"] == []

        status = ok("node", "status")
        assert status["running"] is True
        assert status["gasAccount"] == node["gasAccount"]
        earned = int(status["totals"]["earned"])
        assert ok("node", "claim", "--dry-run")["claimable"] == str(earned)
        assert waypost("node", "claim").error == "confirmation_needed"
        assert ok("node", "claim", "--yes")["claimed"] == str(earned)
        assert ok("token", "balance", operator)["balance"] == str(earned)

        (channel,) = ok("channel", "show")["channels"]
        assert channel["signed"] == str(earned)
        signer = channel["signer"]
        topped = ok("channel", "top-up", signer, "2", "--yes", "--dev-account", "0")
        assert (topped["deposited"], topped["limit"]) == ("7000000", "3000000")
        assert waypost("channel", "close", signer).error == "confirmation_needed"
        assert ok("channel", "close", signer, "--dry-run")["next"] == "close"
        assert waypost("channel", "close", signer, "--yes").error == "insufficient_funds"  # no gas of its own
        words = ("channel", "close", signer, "--no-consent", "--wait", "--yes", "--dev-account", "0")
        closed = ok(*words)
        assert (closed["next"], closed["status"]) == ("done", "closed")
        assert ok("channel", "close", signer, "--dry-run")["next"] == "done"
        assert ok("token", "balance")["balance"] == str(100 * DOLLAR - int(closed["final"]))

    # Out again.
    status = ok("node", "status")
    assert (status["running"], status["totals"]["earned"]) == (False, closed["final"])
    assert ok("node", "exit", "--dry-run")["next"] == "thaw"
    assert waypost("node", "exit").error == "confirmation_needed"
    left = ok("node", "exit", "--yes", "--wait", "--to", account["payer"])
    assert (left["next"], left["stake"], left["thawing"]) == ("done", "0", "0")
    assert ok("token", "balance")["balance"] == str(110 * DOLLAR - int(closed["final"]))
    assert ok("node", "exit", "--yes")["next"] == "done"


@pytest.mark.usefixtures("deployed")
def test_nothing_moves_without_consent(chain: str, waypost: Run) -> None:
    before = height(chain)
    assert waypost("account", "new").code == 0
    assert waypost("node", "init", "--dev-account", "3").code == 0
    for words in (
        ("deploy", "--salt", "0x" + "01" * 32, "--dev-account", "0"),
        ("node", "register"),
    ):
        result = waypost(*words)
        assert result.error in ("confirmation_needed", "insufficient_funds")
    assert height(chain) == before


@pytest.mark.usefixtures("deployed")
def test_a_no_is_a_no(chain: str, waypost: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def confirm(question: str, *, err: bool) -> bool:
        assert err
        asked.append(question)
        return False

    before = height(chain)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", confirm)
    result = waypost("deploy", "--salt", "0x" + "02" * 32, "--dev-account", "0")
    assert (result.code, result.error) == (1, "aborted")
    assert asked == ["Deploy to chain 31337?"]
    assert height(chain) == before
