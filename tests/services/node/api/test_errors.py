"""Every error has a status, and answers tell strangers no more than they may know."""

import itertools
from collections.abc import Iterator, MutableMapping
from http import HTTPStatus
from typing import Any

import pytest
import structlog
from tests.services.node.api.served import Served, message, refused

from waypost import errors
from waypost.errors import WaypostError
from waypost.node.api.errors import STATUS, document, status_of


@pytest.fixture(autouse=True)
def log() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged; printing tracebacks would only take time."""
    with structlog.testing.capture_logs() as entries:
        yield entries


def leaves(kind: type[WaypostError]) -> list[type[WaypostError]]:
    below = kind.__subclasses__()
    return list(itertools.chain.from_iterable(map(leaves, below))) if below else [kind]


OPERATORS_OWN = {
    errors.DataCorrupt,
    errors.DataInUse,
    errors.DataOfAnotherChain,
    errors.DataTooNew,
    errors.InternalError,
    errors.PeerRefused,
    errors.PortInUse,
}
"""Errors that no request is answered with."""


@pytest.mark.parametrize("error", leaves(errors.NodeError) + leaves(errors.ProtocolError))
def test_every_refusal_has_a_status_of_its_own(error: type[WaypostError]) -> None:
    expected_5xx = error in OPERATORS_OWN | {errors.NodeNotReady, errors.StorageFull}
    assert (status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR) == expected_5xx


def test_the_table_lists_no_error_twice_for_one_status() -> None:
    for error, status in STATUS.items():
        inherited = next((STATUS[base] for base in error.__mro__[1:] if base in STATUS), None)
        assert status != inherited, f"{error.__name__} has this status already"


def test_details_never_replace_the_document_s_own_members() -> None:
    problem = document(errors.InvalidRequest("sentence", status=200, type="other", field="f"))
    assert (problem["status"], problem["field"]) == (400, "f")
    assert problem["type"] == "urn:waypost:error:invalid_request"


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (errors.RpcUnreachable("http://user:password@rpc.example is down"), 503, "node_not_ready"),
        (errors.InsufficientFunds("0xabc has 5 wei, password"), 503, "node_not_ready"),
        (errors.DataCorrupt("/home/operator/password is damaged"), 500, "internal_error"),
        (errors.NodeUnreachable("password"), 500, "internal_error"),
        (RuntimeError("password"), 500, "internal_error"),
        (RecursionError("password"), 500, "internal_error"),
        (KeyError("password"), 500, "internal_error"),
        (errors.StorageFull(), 507, "storage_full"),
    ],
)
async def test_inner_failures_stay_inside(
    api: Served, monkeypatch: pytest.MonkeyPatch, raised: Exception, status: int, code: str
) -> None:
    async def fail(*_: Any) -> None:
        raise raised

    monkeypatch.setattr(api.node.db, "write", fail)
    monkeypatch.setattr(api.node.db, "read", fail)
    before = dict(api.http.headers)
    answer = await api.http.post("/v1/mailbox", json={"topics": ["/a/1/b/c"]})
    refused(answer, status, code)
    assert "password" not in answer.text
    assert dict(api.http.headers) == before


async def test_crashes_are_logged_and_readable_by_web_pages(
    api: Served, monkeypatch: pytest.MonkeyPatch, log: list[MutableMapping[str, Any]]
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(api.node.db, "read", fail)
    origin = {"Origin": "https://app.example"}
    answer = await api.http.post("/v1/mailbox", json={"topics": ["/a/1/b/c"]}, headers=origin)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    (crash,) = [entry for entry in log if entry["event"] == "request_crashed"]
    assert (crash["route"], type(crash["exc_info"])) == ("/v1/mailbox", RuntimeError)
    refused(await api.http.post("/v1/messages", json=message()), 402, "payment_required")
