"""A broken network between a node and its chain: a JSON-RPC proxy that drops, delays, doubles, refuses,
mangles and lies. What it does to a request depends on its seed and on the requests so far, never on time."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self

import httpx

Asked = dict[str, Any]
Told = tuple[int, bytes] | None
"""An HTTP status and a body; None hangs up."""

STALE_BLOCKS = 4
LIMITED = {"code": -32005, "message": "request rate exceeded"}


@dataclass
class Weather:
    """How likely a request meets a fault, and which: names of `FAULTS`."""

    rate: float = 0.0
    faults: tuple[str, ...] = ()
    chance: Random = field(default_factory=Random)

    def strikes(self) -> str | None:
        """The fault that the next request meets."""
        if not self.faults or self.chance.random() >= self.rate:
            return None
        return self.chance.choice(self.faults)


class Proxy:
    """In front of `behind`; `met` counts the faults."""

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.weather = Weather()
        self.met: Counter[str] = Counter()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(timeout=30, trust_env=False)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._client.aclose()

    def clear(self) -> None:
        """Fair weather from now on."""
        self.weather = Weather()

    async def pass_on(self, asked: Asked) -> Any:
        """The chain's own answer."""
        return (await self._client.post(self.behind, json=asked)).json()

    async def result(self, method: str, *params: Any) -> Any:
        """What the chain answers to a question of the proxy's own."""
        return (await self.pass_on({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}))["result"]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, httpx.TransportError):
            while asked := await _request(reader):
                fault = self.weather.strikes()
                if fault is None:
                    told: Told = 200, _body(await self.pass_on(asked))
                else:
                    self.met[fault] += 1
                    told = await FAULTS[fault](self, asked)
                if told is None:
                    break
                status, body = told
                head = (
                    f"HTTP/1.1 {status} told\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
                )
                writer.write(head.encode() + b"\r\n\r\n" + body)
                await writer.drain()
        writer.close()


async def _request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    asked: Asked = json.loads(await reader.readexactly(int(fields[b"content-length"])))
    return asked


def _body(answer: Any) -> bytes:
    return json.dumps(answer).encode()


# ---- Faults ----


async def _hang_up_before(proxy: Proxy, asked: Asked) -> Told:
    return None


async def _hang_up_after(proxy: Proxy, asked: Asked) -> Told:
    """The worst of all for whoever sends money: it happened, and nobody says so."""
    await proxy.pass_on(asked)
    return None


async def _delay(proxy: Proxy, asked: Asked) -> Told:
    await asyncio.sleep(proxy.weather.chance.uniform(0.02, 0.3))
    return 200, _body(await proxy.pass_on(asked))


async def _twice(proxy: Proxy, asked: Asked) -> Told:
    await proxy.pass_on(asked)
    return 200, _body(await proxy.pass_on(asked))


async def _refuse(proxy: Proxy, asked: Asked) -> Told:
    status = proxy.weather.chance.choice((429, 503, 200))
    return status, _body({"jsonrpc": "2.0", "id": asked["id"], "error": LIMITED})


async def _truncate(proxy: Proxy, asked: Asked) -> Told:
    body = _body(await proxy.pass_on(asked))
    return 200, body[: len(body) // 2]


async def _other_hash(proxy: Proxy, asked: Asked) -> Told:
    """A block, a log or a receipt of a block that there is not."""
    answer = await proxy.pass_on(asked)
    wrong = "0x" + proxy.weather.chance.randbytes(32).hex()
    result = answer.get("result")
    for entry in result if isinstance(result, list) else [result]:
        if isinstance(entry, dict):
            entry |= {name: wrong for name in ("hash", "blockHash") if name in entry}
    return 200, _body(answer)


async def _no_logs(proxy: Proxy, asked: Asked) -> Told:
    """What no check of an answer can see: events are left out."""
    answer = await proxy.pass_on(asked)
    if asked["method"] == "eth_getLogs":
        answer = answer | {"result": []}
    return 200, _body(answer)


async def _stale(proxy: Proxy, asked: Asked) -> Told:
    """As a machine of a cluster that has not seen the newest blocks."""
    newest = int(await proxy.result("eth_blockNumber"), 16)
    seen = max(0, newest - proxy.weather.chance.randint(1, STALE_BLOCKS))
    late = hex(seen)
    params = [late if word in ("latest", "pending") else word for word in asked["params"]]
    answer = await proxy.pass_on(asked | {"params": params})
    result = answer.get("result")
    if isinstance(result, dict) and any(
        int(result[name], 16) > seen for name in ("number", "blockNumber") if result.get(name)
    ):
        answer = answer | {"result": None}
    if asked["method"] == "eth_blockNumber":
        answer = answer | {"result": late}
    return 200, _body(answer)


FAULTS: dict[str, Callable[[Proxy, Asked], Awaitable[Told]]] = {
    "hang_up_before": _hang_up_before,
    "hang_up_after": _hang_up_after,
    "delay": _delay,
    "twice": _twice,
    "refuse": _refuse,
    "truncate": _truncate,
    "other_hash": _other_hash,
    "no_logs": _no_logs,
    "stale": _stale,
}
