"""RPC endpoints that are away, confused or lying: each fault is one clear error, and reads are retried."""

import asyncio
from typing import Any

import pytest
from starlette.responses import Response
from tests.services.chain.endpoint import Endpoint, Fault, ask

from waypost.chain.connection import RETRIES, Call, connect
from waypost.chain.embedded import EmbeddedChain
from waypost.errors import (
    InvalidConfig,
    RpcFailed,
    RpcUnreachable,
    TransactionReverted,
    WrongChain,
)

ADDRESS: Any = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
HASH = "0x" + "12" * 32
BLOCK = {
    "number": "0x5",
    "hash": HASH,
    "parentHash": HASH,
    "timestamp": "0x6",
    "baseFeePerGas": "0x7",
    "extraData": "0x",
}


@pytest.fixture
async def scripted(endpoint: Endpoint) -> Endpoint:
    endpoint.answers["eth_chainId"] = lambda _: "0x7a69"
    return endpoint


@pytest.mark.parametrize(
    "url", ["", "localhost:8545", "ws://localhost:1", "http://", "http://host:port", "file:///etc"]
)
async def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidConfig):
        await connect(url)


async def test_nobody_listens(chain: EmbeddedChain) -> None:
    with pytest.raises(RpcUnreachable, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        await connect("http://127.0.0.1:1")


async def test_the_secrets_in_a_url_show_nowhere() -> None:
    with pytest.raises(RpcUnreachable) as caught:
        await connect("http://user:hunter2@127.0.0.1:1/v3/0123456789abcdef?key=sesame")
    shown = f"{caught.value} {caught.value.details}"
    assert not any(secret in shown for secret in ("hunter2", "0123456789abcdef", "sesame"))


async def test_the_chain_must_be_the_expected_one(chain: EmbeddedChain) -> None:
    async with await connect(chain.url, 31337) as connection:
        assert connection.chain_id == 31337
    with pytest.raises(WrongChain) as caught:
        await connect(chain.url, 1)
    assert caught.value.details == {"given": 31337, "expected": 1}


@pytest.mark.parametrize(
    "answer",
    [
        Response("<html>Bad gateway</html>"),
        Response(""),
        Response("null"),
        Response("[]"),
        Response('"text"'),
        Response('{"jsonrpc":"2.0","id":1}'),
        Response(b"\xff\xfe\xfd"),
        "0xnonsense",
        None,
        [],
        {"a": 1},
    ],
)
async def test_an_endpoint_that_talks_nonsense(endpoint: Endpoint, answer: Any) -> None:
    endpoint.answers["eth_chainId"] = lambda _: answer
    with pytest.raises(RpcFailed):
        await connect(endpoint.url)


async def test_http_errors_are_retried_and_then_reported(endpoint: Endpoint) -> None:
    endpoint.answers["eth_chainId"] = lambda _: Response("busy", 503)
    with pytest.raises(RpcUnreachable, match="503"):
        await connect(endpoint.url)
    assert len(endpoint.asked) == RETRIES


async def test_a_read_survives_an_endpoint_that_stumbles(endpoint: Endpoint) -> None:
    answers = iter([Response("busy", 503), Response("busy", 429), "0x7a69"])
    endpoint.answers["eth_chainId"] = lambda _: next(answers)
    async with await connect(endpoint.url) as connection:
        assert connection.chain_id == 31337


async def test_errors_keep_the_endpoints_words_and_code(scripted: Endpoint) -> None:
    def refuse(_: Any) -> Any:
        raise Fault(-32005, "daily limit reached")

    scripted.answers["eth_getBalance"] = refuse
    async with await connect(scripted.url) as connection:
        with pytest.raises(RpcFailed, match="daily limit reached") as caught:
            await connection.balance(ADDRESS)
    assert caught.value.details == {"message": "daily limit reached", "rpc_code": -32005}


@pytest.mark.parametrize(
    "change", [{"hash": "0x12"}, {"number": None}, {"number": "five"}, {"timestamp": {}}, {"parentHash": 5}]
)
async def test_blocks_that_are_no_blocks(scripted: Endpoint, change: dict[str, Any]) -> None:
    scripted.answers["eth_getBlockByNumber"] = lambda _: BLOCK | change
    async with await connect(scripted.url) as connection:
        with pytest.raises(RpcFailed):
            await connection.head()


async def test_blocks_of_other_consensus_have_longer_extra_data(scripted: Endpoint) -> None:
    scripted.answers["eth_getBlockByNumber"] = lambda _: BLOCK | {"extraData": "0x" + "00" * 97}
    async with await connect(scripted.url) as connection:
        assert (await connection.head()).number == 5
        assert await connection.base_fee() == 7


async def test_a_chain_without_base_fee_is_too_old(scripted: Endpoint) -> None:
    scripted.answers["eth_getBlockByNumber"] = lambda _: {
        k: v for k, v in BLOCK.items() if k != "baseFeePerGas"
    }
    async with await connect(scripted.url) as connection:
        with pytest.raises(RpcFailed, match="EIP-1559"):
            await connection.base_fee()


@pytest.mark.parametrize(
    "log",
    [
        {},
        {"address": ADDRESS},
        {"address": 5, "topics": [], "data": "0x"},
        {
            "address": ADDRESS,
            "topics": ["0x12"],
            "data": "0x",
            "blockNumber": "0x1",
            "blockHash": HASH,
            "transactionHash": HASH,
            "logIndex": "0x0",
        },
        {
            "address": ADDRESS,
            "topics": [],
            "data": "0x",
            "blockNumber": None,
            "blockHash": None,
            "transactionHash": HASH,
            "logIndex": None,
        },
    ],
)
async def test_logs_that_are_no_logs(scripted: Endpoint, log: dict[str, Any]) -> None:
    scripted.answers["eth_getLogs"] = lambda _: [log]
    async with await connect(scripted.url) as connection:
        with pytest.raises(RpcFailed):
            await connection.logs([ADDRESS], 0, 1)


async def test_what_is_not_there_is_none(chain: EmbeddedChain) -> None:
    async with await connect(chain.url) as connection:
        assert await connection.block(99) is None
        assert await connection.block(bytes(32)) is None
        assert await connection.receipt(bytes(32)) is None
        assert await connection.knows(bytes(32)) is False
        assert await connection.code(ADDRESS) == b""
        with pytest.raises(RpcFailed, match="not found"):
            await connection.code(ADDRESS, 99)


async def test_blocks_by_number_and_by_hash(chain: EmbeddedChain) -> None:
    await ask(chain.url, "evm_mine")
    async with await connect(chain.url) as connection:
        head = await connection.head()
        assert head.number == 1
        assert await connection.block(1) == head
        assert await connection.block(head.hash) == head
        genesis = await connection.block(0)
        assert genesis is not None
        assert genesis.hash == head.parent_hash


@pytest.mark.parametrize(
    "data",
    [
        "0x08c379a0" + f"{32:064x}{5:064x}" + "68656c6c6f".ljust(64, "0"),
        {"data": "0x4e487b71" + f"{17:064x}"},
    ],
)
async def test_reverts_are_explained_however_they_are_wrapped(scripted: Endpoint, data: Any) -> None:
    def revert(_: Any) -> Any:
        raise Fault(3, "execution reverted", data)

    scripted.answers["eth_call"] = revert
    async with await connect(scripted.url) as connection:
        with pytest.raises(TransactionReverted, match=r"Test reverted: (hello|Panic\(panicCode=17\))\."):
            await connection.simulate(Call(ADDRESS, b"", name="Test"))


async def test_a_contract_cannot_send_us_elsewhere(scripted: Endpoint, endpoint: Endpoint) -> None:
    # EIP-3668: OffchainLookup(sender, urls, callData, callbackFunction, extraData)
    lookup = (
        "0x556f1830" + f"{int(ADDRESS, 16):064x}" + "".join(f"{n:064x}" for n in (160, 192, 0, 224, 0, 0, 0))
    )

    def revert(_: Any) -> Any:
        raise Fault(3, "execution reverted", lookup)

    scripted.answers["eth_call"] = revert
    async with await connect(scripted.url) as connection:
        with pytest.raises(TransactionReverted):
            await connection.simulate(Call(ADDRESS, b""))
    assert scripted.asked.count("eth_call") == 1


async def test_cancelled_requests_do_not_hold_up_later_ones(chain: EmbeddedChain) -> None:
    async with await connect(chain.url) as connection:
        for turns in range(20):
            requests = [asyncio.ensure_future(connection.head()) for _ in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)
        async with asyncio.timeout(30):
            assert (await connection.head()).number == 0
