"""`waypost rln` and `waypost mailbox`: what they say, and how they end."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.services.cli.conftest import Run

from waypost.cli.output import Output
from waypost.cli.relay import _print_all, _until_interrupted
from waypost.client.subscription import Heard
from waypost.errors import AnswerLost
from waypost.protocol.messages import Message

TOPIC = "/chat/1/lobby/plain"
NODE: Any = "0x2222222222222222222222222222222222222222"


class Fake:
    """A subscription that delivers what it is given."""

    def __init__(self, *payloads: bytes) -> None:
        self.faults = {NODE: AnswerLost("The node closed the subscription.")}
        self.acknowledged = 0
        self._payloads = payloads

    async def acknowledge(self) -> None:
        self.acknowledged += 1

    async def __aiter__(self) -> AsyncIterator[Heard]:
        for number, payload in enumerate(self._payloads):
            yield Heard(Message(TOPIC, payload, number), NODE, True)


@pytest.mark.parametrize("noun", [("rln", "status"), ("rln", "extend"), ("rln", "leave", "--dry-run")])
def test_a_chain_without_memberships_is_named(
    waypost: Run, deployed: dict[str, Any], noun: tuple[str, ...]
) -> None:
    assert waypost("account", "new").code == 0
    if "RlnMembership" not in deployed["contracts"]:
        assert waypost(*noun).error == "membership_missing"


def test_publishing_needs_something_to_publish_with(waypost: Run, deployed: dict[str, Any]) -> None:
    assert waypost("account", "new").code == 0
    assert waypost("mailbox", "publish", TOPIC, "hello").error == "channel_missing"
    assert waypost("mailbox", "publish", "/lobby", "hello").error == "invalid_topic"
    assert waypost("mailbox", "publish", TOPIC).error == "invalid_config"


def test_subscribing_needs_a_node_and_a_topic(waypost: Run, deployed: dict[str, Any]) -> None:
    assert waypost("account", "new").code == 0
    assert waypost("mailbox", "subscribe", "--count", "1").error == "no_nodes_found"
    assert waypost("mailbox", "subscribe", "--topic", "lobby").error == "invalid_topic"
    assert waypost("mailbox", "subscribe", "--node", "nobody").error == "invalid_address"


def test_each_message_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    fake: Any = Fake(b"hello", b"\xff\x00", b"never shown")
    asyncio.run(_print_all(fake, 2, Output(True)))
    said = capsys.readouterr()
    first, second = (json.loads(line) for line in said.out.splitlines())
    assert (first["text"], first["topic"], first["proved"]) == ("hello", TOPIC, True)
    assert second["base64"] == "/wA="
    assert said.err.count("closed the subscription") == 1
    assert fake.acknowledged == 1


def test_a_strangers_text_cannot_play_with_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    fake: Any = Fake(b"\x1b[31mred")
    asyncio.run(_print_all(fake, 1, Output(False)))
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_cleanly(number: signal.Signals) -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    async def run() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), number)
        await _until_interrupted(forever())

    asyncio.run(run())
    assert ended == ["cleaned up"]
