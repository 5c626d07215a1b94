"""What the log says, and what it must never say."""

import base64
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from tests.services.node.api.served import ADMIN_TOKEN, GAS, Served, message, price_of

from waypost.node import logs


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that a node's process would print."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("debug")
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_nothing_private_is_logged(
    log: io.StringIO, api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer, topic, text = await api.customer(), "/private/1/conversation/raw", "what only two may read"
    session = await api.session(customer)
    body = message(text, topic=topic)
    await api.http.post("/v1/messages", json=body, headers=customer.pay(price_of(body)))
    await api.http.post("/v1/messages", json=message(text, topic=topic, retention=1), headers=session)
    await api.http.post("/v1/mailbox/fetch", json={"topics": [topic]}, headers=session)
    await api.http.get(customer.path, headers=session)

    def crash(*_: object) -> None:
        raise RuntimeError("crashed")

    monkeypatch.setattr(api.node.messages, "put", crash)
    answer = await api.http.post("/v1/messages", json=body, headers=session)
    assert answer.status_code == 500
    async with api.admin() as admin:
        await admin.post("/claim")

    written = log.getvalue()
    assert "request_crashed" in written
    assert "claim_sent" in written
    token = session["Authorization"].removeprefix("Bearer ")
    payload = base64.b64encode(text.encode()).decode()
    keys = [customer.key, GAS, api.settings.node_key.get_secret_value()]
    for secret in (topic, text, payload, token, ADMIN_TOKEN, *(key.hex() for key in keys), *map(repr, keys)):
        assert secret not in written
    for path in (customer.path, "GET /", "POST /"):
        assert path not in written, "no access log"


async def test_every_line_is_one_json_object(log: io.StringIO, api: Served) -> None:
    structlog.get_logger("waypost").info("something_happened", number=5)
    logging.getLogger("uvicorn.error").warning("a library warns")
    logging.getLogger("uvicorn.access").info("GET /v1/node")
    entries = [json.loads(line) for line in log.getvalue().splitlines()]
    assert entries[-2]["event"] == "something_happened"
    assert (entries[-2]["number"], entries[-2]["level"]) == (5, "info")
    assert (entries[-1]["event"], entries[-1]["level"]) == ("a library warns", "warning")
    assert all("timestamp" in entry for entry in entries)
