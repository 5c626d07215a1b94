"""The embedded chain's endpoint answers whatever it is sent, and never falls over."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.services.chain.endpoint import ask, post

from waypost.chain.embedded import EmbeddedChain
from waypost.chain.embedded.jsonrpc import MAX_BATCH, Method, Parameter, answer
from waypost.chain.embedded.miner import Miner
from waypost.chain.embedded.parameters import quantity
from waypost.chain.embedded.rpc import Rpc
from waypost.chain.embedded.server import MAX_BODY

ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
METHODS = Rpc(Miner()).methods


def say(body: bytes) -> Any:
    """What the endpoint answers to a body, without HTTP in between."""
    return json.loads(answer(body, METHODS) or b"null")


def refuse(method: str, *params: Any) -> Any:
    """The error that a method answers with."""
    return say(json.dumps({"id": 1, "method": method, "params": params}).encode())["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"id": NaN}', b"nonsense", b"9" * 5_000],
)
def test_what_is_no_json_is_a_parse_error(body: bytes) -> None:
    found = say(body)
    assert (found["id"], found["error"]["code"]) == (None, -32700)


async def test_a_body_that_is_nested_too_deeply_takes_nothing_down(chain: EmbeddedChain) -> None:
    found = (await post(chain.url, b"[" * MAX_BODY)).json()
    assert found["error"]["code"] == -32700
    assert await ask(chain.url, "eth_chainId") == "0x7a69"


@pytest.mark.parametrize(
    "request_object",
    [
        None,
        7,
        "eth_chainId",
        [],
        [[]],
        {},
        {"id": 1},
        {"id": 1, "method": 5},
        {"id": {}, "method": "eth_chainId"},
    ],
)
def test_what_is_no_request_is_invalid(request_object: object) -> None:
    found = say(json.dumps(request_object).encode())
    error = found[0]["error"] if isinstance(found, list) else found["error"]
    assert error["code"] == -32600


@pytest.mark.parametrize(
    "method", ["eth_sign", "eth_sendTransaction", "debug_traceCall", "", "__class__", "x" * 9_999]
)
def test_unknown_methods(method: str) -> None:
    error = refuse(method)
    assert error["code"] == -32601
    assert len(error["message"]) < 200


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_chainId", ["surplus"]),
        ("eth_getBalance", []),
        ("eth_getBalance", ["0x12", "latest"]),
        ("eth_getBalance", [ADDRESS, "newest"]),
        ("eth_getBalance", [ADDRESS, "0x"]),
        ("eth_getBalance", [ADDRESS, "0x" + "f" * 65]),
        ("eth_getBalance", [ADDRESS, 5]),
        ("eth_getBalance", [ADDRESS, {"blockNumber": "0x0", "blockHash": "0x" + "0" * 64}]),
        ("eth_getBalance", [ADDRESS, {}]),
        ("eth_getBlockByNumber", ["latest", "yes"]),
        ("eth_getBlockByHash", ["0x1234", False]),
        ("eth_getStorageAt", [ADDRESS, "nonsense"]),
        ("eth_call", ["0x"]),
        ("eth_call", [{"to": ADDRESS, "data": "0x123"}]),
        ("eth_call", [{"to": ADDRESS, "data": "0x12", "input": "0x34"}]),
        ("eth_call", [{"to": ADDRESS, "value": "-0x1"}]),
        ("eth_call", [{"to": ADDRESS}, "latest", {ADDRESS: {"balance": "0x1"}}]),
        ("eth_call", [{"to": ADDRESS, "accessList": [{"address": ADDRESS, "storageKeys": []}]}]),
        ("eth_getLogs", [{"topics": [["0x12"]]}]),
        ("eth_getLogs", [{"topics": [None] * 5}]),
        ("eth_getLogs", [{"blockHash": "0x" + "0" * 64, "fromBlock": "0x0"}]),
        ("eth_getLogs", [{"address": 7}]),
        ("eth_feeHistory", ["0x1", "latest", [101]]),
        ("eth_feeHistory", ["0x1", "latest", [50, 10]]),
        ("eth_feeHistory", ["0x1", "latest", ["50"]]),
        ("eth_sendRawTransaction", [b"".hex()]),
        ("evm_setAutomine", ["true"]),
        ("evm_increaseTime", [-1]),
        ("evm_increaseTime", [1.5]),
    ],
)
def test_wrong_params(method: str, params: list[object]) -> None:
    assert refuse(method, *params)["code"] == -32602


def test_params_by_name_are_refused() -> None:
    body = {"id": 1, "method": "eth_getBalance", "params": {"address": ADDRESS}}
    assert say(json.dumps(body).encode())["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("0x", "invalid transaction"),
        ("0x02", "invalid transaction"),
        ("0x02c0", "invalid transaction"),
        ("0x03" + "c0", "type not supported"),
        ("0x7f" + "c0", "type not supported"),
        ("0xff", "invalid transaction"),
        ("0xc0", "invalid transaction"),
        ("0x" + "00" * 200_000, "oversized"),
        ("0xf8" + "00" * 300, "invalid transaction"),
    ],
)
def test_what_is_no_transaction_is_rejected(raw: str, words: str) -> None:
    error = refuse("eth_sendRawTransaction", raw)
    assert error["code"] == -32000
    assert words in error["message"]


async def test_a_batch_is_answered_in_order_and_without_its_notifications(chain: EmbeddedChain) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": None, "method": "nope"},
        "rubbish",
        {"jsonrpc": "2.0", "id": 3, "method": "net_version", "params": []},
    ]
    found = (await post(chain.url, batch)).json()
    assert [entry["id"] for entry in found] == ["a", None, None, 3]
    assert found[0]["result"] == "0x7a69"
    assert [entry["error"]["code"] for entry in found[1:3]] == [-32601, -32600]
    assert found[3]["result"] == "31337"


async def test_a_notification_is_not_answered(chain: EmbeddedChain) -> None:
    found = await post(chain.url, {"jsonrpc": "2.0", "method": "evm_mine"})
    assert (found.status_code, found.content) == (204, b"")
    assert await ask(chain.url, "eth_blockNumber") == "0x1"


@pytest.mark.parametrize("size", [0, MAX_BATCH + 1])
def test_empty_and_huge_batches_are_refused(size: int) -> None:
    found = say(json.dumps([{"id": 1, "method": "eth_chainId"}] * size).encode())
    assert found["error"]["code"] == -32600


async def test_a_huge_body_is_refused_while_it_arrives(chain: EmbeddedChain) -> None:
    found = await post(chain.url, b" " * (MAX_BODY + 1))
    assert found.status_code == 413
    assert found.json()["error"]["code"] == -32600
    assert await ask(chain.url, "eth_chainId") == "0x7a69"


async def test_web_pages_of_any_origin_may_ask(chain: EmbeddedChain) -> None:
    headers = {
        "origin": "https://example.org",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    async with httpx.AsyncClient() as client:
        preflight = await client.options(chain.url, headers=headers)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert (await client.get(chain.url)).status_code == 405


def test_a_method_that_fails_unexpectedly_is_an_internal_error() -> None:
    methods = {"boom": Method(lambda: 1 // 0, ())}
    found = json.loads(answer(b'{"id":1,"method":"boom"}', methods) or b"")
    assert found["error"]["code"] == -32603
    assert "ZeroDivisionError" in found["error"]["message"]


def test_null_stands_for_a_missing_param() -> None:
    methods = {"echo": Method(lambda value: value, (Parameter(quantity, 5),))}
    assert json.loads(answer(b'{"id":1,"method":"echo","params":[null]}', methods) or b"")["result"] == 5


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["latest", "pending", "0x0", "0x1", ADDRESS, "0x" + "00" * 32, "0x" + "ff" * 32]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["to", "from", "data", "value", "gas", "topics", "address", "fromBlock"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=400)
@given(st.sampled_from(sorted(METHODS)), st.lists(JSON_VALUES, max_size=4))
def test_no_params_make_a_method_fail_unexpectedly(method: str, params: list[object]) -> None:
    found = say(json.dumps({"id": 1, "method": method, "params": params}).encode())
    assert "result" in found or found["error"]["code"] != -32603, found
