"""Every command explains itself, speaks JSON, and asks before money moves."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from tests.services.cli.conftest import Run

from waypost import __version__
from waypost.cli.app import assemble

MOVES_MONEY = {
    "deploy",
    "token mint",
    "node register",
    "node fund",
    "node claim",
    "node collect",
    "node rotate-key",
    "node stake",
    "node provision",
    "node thaw",
    "node withdraw",
    "node exit",
    "channel open",
    "channel top-up",
    "channel close",
    "rln collect",
    "rln join",
    "rln extend",
    "rln leave",
}
SPENDS_FROM_CHANNELS = {"send", "fetch", "mailbox publish"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    commands = getattr(command, "commands", None)
    if commands is None:
        yield " ".join(path), command
        return
    for name, child in commands.items():
        yield from leaves(child, (*path, name))


LEAVES = dict(leaves(typer.main.get_command(assemble(None))))


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("path", LEAVES)
def test_every_command_has_help_and_json(waypost: Run, path: str) -> None:
    shown = waypost(*path.split(), "--help")
    assert shown.code == 0
    assert "--json" in options(LEAVES[path])
    if path != "demo":
        assert f"waypost {path}" in shown.out.split("Examples:")[1]


def test_people_who_run_no_node_do_not_wait_for_one() -> None:
    people = ("account", "token", "channel", "rln", "relay", "mailbox")
    program = f"import {', '.join(f'waypost.cli.{name}' for name in people)}, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = run.stdout.split()
    assert "waypost.client.client" in loaded
    assert not {"waypost.node.app", "fastapi"} & set(loaded)


@pytest.mark.parametrize("path", sorted(MOVES_MONEY))
def test_commands_that_move_money_can_be_tried_and_want_consent(path: str) -> None:
    assert {"--dry-run", "--yes"} <= options(LEAVES[path])


@pytest.mark.parametrize("path", sorted(SPENDS_FROM_CHANNELS))
def test_commands_that_spend_from_channels_can_be_tried_and_capped(path: str) -> None:
    assert {"--dry-run", "--max-cost"} <= options(LEAVES[path])


@pytest.mark.parametrize("path", LEAVES)
def test_no_command_takes_a_secret_on_its_command_line(path: str) -> None:
    for option in options(LEAVES[path]):
        assert not {"key", "password", "words", "mnemonic", "secret", "token-key"} & {option.strip("-")} - {
            "words"
        }


def test_the_program_shows_what_there_is(waypost: Run) -> None:
    for words in ((), ("--help",)):
        shown = waypost(*words)
        assert shown.code == 0
        assert "waypost channel open --amount 5 --yes" in shown.out
    for noun in ("account", "token", "node", "channel", "rln", "mailbox"):
        assert "Commands:" in waypost(noun).out
    assert waypost("--version").out == f"waypost {__version__}\n"
