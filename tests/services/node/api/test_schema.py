"""Schemathesis sends what the OpenAPI document allows and what it forbids, with and without money.
Every answer must be as documented, and none a server error."""

import asyncio
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from tests.services.node.api.served import TOPIC, node_settings, served
from tests.services.node.world import Deployed

from waypost.node.connections import BoundedHttp
from waypost.node.server import listen

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
    missing_required_header,
    unsupported_method,
    allow_header_conformance,
    ignored_auth,
)
EXAMPLES = 20


@dataclass(frozen=True)
class Listening:
    """A node behind a socket, and the header of a session with money."""

    url: str
    session: dict[str, str]
    price_id: str
    statuses: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


@pytest.fixture(scope="module")
def node(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """A node in a thread of its own, since Schemathesis waits for answers in this one."""
    ready: list[Listening] = []
    started, stop = threading.Event(), threading.Event()

    async def run(folder: Path) -> None:
        async with served(node_settings(deployed, folder)) as api:
            customer = await api.customer()
            await api.http.post("/v1/receipts", json=customer.raised(5_000_000))
            session = await api.session(customer)
            with listen("127.0.0.1", 0) as socket:
                config = uvicorn.Config(api.app, http=BoundedHttp, lifespan="off", log_config=None)
                server = uvicorn.Server(config)
                serving = asyncio.create_task(server.serve([socket]))
                url = f"http://127.0.0.1:{socket.getsockname()[1]}"
                ready.append(Listening(url, session, api.node.prices.current().price_id))
                started.set()
                await asyncio.to_thread(stop.wait)
                server.should_exit = True
                await serving

    thread = threading.Thread(target=lambda: asyncio.run(run(tmp_path_factory.mktemp("schema"))))
    thread.start()
    try:
        assert started.wait(60)
        yield ready[0]
    finally:
        stop.set()
        thread.join()


DOCUMENT = Path(__file__).parents[4] / "docs" / "openapi.json"
schema = schemathesis.openapi.from_path(DOCUMENT)
bounded = settings(
    max_examples=EXAMPLES,
    phases=(Phase.explicit, Phase.generate),
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@schema.parametrize()
@bounded
def test_strangers_get_documented_answers(case: Case[Any], node: Listening) -> None:
    case.call_and_validate(base_url=node.url, checks=list(CHECKS))


@schema.parametrize()
@bounded
def test_customers_get_documented_answers(case: Case[Any], node: Listening) -> None:
    if not negated(case, ParameterLocation.HEADER):
        case.headers.pop("PAYMENT-SIGNATURE", None)
        case.headers["Waypost-Price-Id"] = node.price_id
    if case.path == "/v1/messages" and not negated(case, ParameterLocation.BODY):
        assert isinstance(case.body, dict)
        case.body |= {"topic": TOPIC, "timestamp": str(time.time_ns()), "retention": 3600}
    checks = [check for check in CHECKS if check is not ignored_auth]
    response = case.call_and_validate(base_url=node.url, checks=checks, headers=node.session)
    node.statuses[case.path].add(response.status_code)


def test_customers_were_served(node: Listening) -> None:
    """Otherwise the test above would have seen refusals only."""
    assert 201 in node.statuses["/v1/messages"]
    assert {200, 404} & node.statuses["/v1/mailbox/fetch"]


def negated(case: Case[Any], where: ParameterLocation) -> bool:
    """Whether this part of the request is one that the document forbids."""
    assert case.meta is not None
    part = case.meta.components.get(where)
    return part is not None and part.mode == GenerationMode.NEGATIVE


def test_the_committed_document_is_the_one_that_is_served(node: Listening) -> None:
    assert httpx.get(node.url + "/openapi.json").json() == json.loads(DOCUMENT.read_text())
