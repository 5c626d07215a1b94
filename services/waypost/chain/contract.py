"""What every binding shares: reads through web3, calls as values, logs decoded into events."""

import re
from keyword import iskeyword
from typing import Any, ClassVar

from eth_abi import decode
from eth_abi.exceptions import DecodingError
from eth_typing import ChecksumAddress
from eth_utils.abi import collapse_if_tuple, event_abi_to_log_topic
from eth_utils.address import to_checksum_address

from waypost.chain import artifacts
from waypost.chain.blocks import Event, Log
from waypost.chain.connection import BlockId, Call, Connection
from waypost.errors import RpcFailed


class Contract:
    """A contract at an address. Subclasses name their artifact and their events' dataclasses."""

    artifact: ClassVar[str]
    events: ClassVar[tuple[type[Event], ...]] = ()

    def __init__(self, connection: Connection, address: ChecksumAddress) -> None:
        self.connection = connection
        self.address = address
        abi = artifacts.load(self.artifact).abi
        self._contract = connection.web3.eth.contract(address=address, abi=abi)
        classes = {event.__name__: event for event in self.events}
        self._events = {
            event_abi_to_log_topic(entry): (entry, classes[entry["name"]])  # type: ignore[arg-type]
            for entry in abi
            if entry["type"] == "event" and entry["name"] in classes
        }

    def decode(self, log: Log) -> Event | None:
        """The event in a log of this contract; None if it is of no interest. Raises RpcFailed."""
        if log.address != self.address or not log.topics or log.topics[0] not in self._events:
            return None
        entry, event = self._events[log.topics[0]]
        indexed = [field for field in entry["inputs"] if field["indexed"]]
        plain = [field for field in entry["inputs"] if not field["indexed"]]
        try:
            values = [
                *zip(indexed, _decode(indexed, b"".join(log.topics[1:])), strict=True),
                *zip(plain, _decode(plain, log.data), strict=True),
            ]
        except (DecodingError, ValueError) as error:
            raise RpcFailed(f"A {event.__name__} log is malformed: {error}") from error
        return self._build(event, log, {_snake(field["name"]): value for field, value in values})

    def _build(self, event: type[Event], log: Log, values: dict[str, Any]) -> Event:
        return event(
            contract=log.address,
            block_number=log.block_number,
            block_hash=log.block_hash,
            transaction_hash=log.transaction_hash,
            log_index=log.index,
            **values,
        )

    async def _read(self, function: str, *arguments: object, block: BlockId | None = None) -> Any:
        identifier: Any = "latest" if block is None else block
        answer = self._contract.functions[function](*arguments).call(block_identifier=identifier)
        return await self.connection.ask(answer, self._name(function))

    def _call(self, function: str, *arguments: object) -> Call:
        data = bytes.fromhex(self._contract.encode_abi(function, arguments)[2:])
        return Call(self.address, data, name=self._name(function))

    def _name(self, function: str) -> str:
        return f"{self.artifact}.{function}"


def _decode(fields: list[dict[str, Any]], data: bytes) -> list[Any]:
    kinds = [collapse_if_tuple(field) for field in fields]
    values = decode(kinds, data)
    return [
        to_checksum_address(value) if kind == "address" else value
        for kind, value in zip(kinds, values, strict=True)
    ]


def _snake(name: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
    return snake + "_" if iskeyword(snake) else snake
