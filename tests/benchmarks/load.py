"""A load generator, for POST /v1/messages above all. Requests are made and signed before the clock starts,
then sent over kept-alive connections, one at a time on each."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

from tests.services.node.api.served import Customer

from waypost.protocol.messages import Message
from waypost.protocol.prices import PriceList

TOPIC = "/waypost/1/benchmark/raw"
RETENTION = 3600

Pay = Callable[[Customer, int], dict[str, str]]
"""Headers with which a customer pays an amount."""


@dataclass(frozen=True, slots=True)
class Round:
    """So many requests, `seconds` for all of them, and the median wait for one answer in milliseconds."""

    requests: int
    seconds: float
    median_ms: float

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return self.requests / self.seconds


def body(size: int) -> tuple[bytes, Message]:
    """A message with a random payload of `size` bytes."""
    message = Message(TOPIC, os.urandom(size), time.time_ns())
    value = {
        "topic": TOPIC,
        "payload": base64.b64encode(message.payload).decode(),
        "timestamp": str(message.timestamp_ns),
        "retention": RETENTION,
    }
    return json.dumps(value).encode(), message


def request(customer: Customer, prices: PriceList, size: int, pay: Pay) -> bytes:
    """One request as it goes over the wire."""
    content, message = body(size)
    return post("/v1/messages", content, pay(customer, prices.store_cost(message.size, RETENTION)))


def post(path: str, content: bytes, more: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """A request with `more` headers as it goes over the wire."""
    headers = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **more,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content


def requests(
    customers: Sequence[Customer], prices: PriceList, count: int, size: int, pay: Pay
) -> list[list[bytes]]:
    """`count` requests, the same number from every customer, to be sent in this order."""
    each = max(1, count // len(customers))
    return [[request(one, prices, size, pay) for _ in range(each)] for one in customers]


async def fire(port: int, streams: Sequence[Sequence[bytes]], status: int = 201) -> Round:
    """Sends every stream over a connection of its own, all at once. Asserts the status of each answer."""
    waits: list[float] = []
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in streams]
    begin = time.perf_counter()
    await asyncio.gather(
        *(
            _send(reader, writer, stream, b"HTTP/1.1 %d " % status, waits)
            for (reader, writer), stream in zip(opened, streams, strict=True)
        )
    )
    seconds = time.perf_counter() - begin
    for _, writer in opened:
        writer.close()
    return Round(len(waits), seconds, median(waits) * 1000)


async def _send(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    stream: Sequence[bytes],
    expected: bytes,
    waits: list[float],
) -> None:
    for sent in stream:
        begin = time.perf_counter()
        await exchange(reader, writer, sent, expected)
        waits.append(time.perf_counter() - begin)


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes, expected: bytes
) -> None:
    """Sends one request, and reads the answer, which must begin as expected."""
    writer.write(sent)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    answer = await reader.readexactly(length)
    assert head.startswith(expected), (head, answer)
