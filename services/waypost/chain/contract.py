"""What every binding shares: reads through web3, calls as values, logs decoded into events."""

import re
from collections.abc import Sequence
from keyword import iskeyword
from typing import Any, ClassVar

from eth_abi import decode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_typing import ChecksumAddress
from eth_utils.abi import collapse_if_tuple, event_abi_to_log_topic
from eth_utils.address import to_checksum_address
from web3.exceptions import Web3Exception

from waypost.chain import artifacts
from waypost.chain.blocks import Event, Log
from waypost.chain.connection import BlockId, Call, Connection
from waypost.errors import InvalidCall, RpcFailed, WrongContract

Field = dict[str, Any]
"""A parameter or result in an ABI."""


class Contract:
    """A contract at an address. Subclasses name their artifact and their events' dataclasses."""

    artifact: ClassVar[str]
    events: ClassVar[tuple[type[Event], ...]] = ()

    def __init__(self, connection: Connection, address: ChecksumAddress) -> None:
        self.connection = connection
        self.address = address
        abi = artifacts.load(self.artifact).abi
        self._contract = connection.web3.eth.contract(address=address, abi=abi)
        self._outputs = {entry["name"]: entry["outputs"] for entry in abi if entry["type"] == "function"}
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
        """What a view answers; a list if it has several results."""
        answer = await self.connection.simulate(self._call(function, *arguments), block=block)
        outputs = self._outputs[function]
        try:
            values = _decode(outputs, answer)
        except (DecodingError, ValueError) as error:
            name = self._name(function)
            sentence = f"{name} at {self.address} got an answer that is not {self.artifact}'s."
            raise WrongContract(sentence, contract=self.artifact, address=self.address) from error
        return values[0] if len(values) == 1 else values

    def _call(self, function: str, *arguments: object) -> Call:
        name = self._name(function)
        try:
            data = bytes.fromhex(self._contract.encode_abi(function, arguments)[2:])
        except (Web3Exception, EncodingError, ValueError, TypeError) as error:
            raise InvalidCall(f"{name} does not take these arguments.", function=name) from error
        return Call(self.address, data, name=name)

    def _name(self, function: str) -> str:
        return f"{self.artifact}.{function}"


def _decode(fields: Sequence[Field], data: bytes) -> list[Any]:
    values = decode([collapse_if_tuple(field) for field in fields], data)
    return [_checksummed(field, value) for field, value in zip(fields, values, strict=True)]


def _checksummed(field: Field, value: Any) -> Any:
    """The value with every address in EIP-55 form; the decoder gives lower case."""
    kind = str(field["type"])
    if kind.endswith("[]"):
        element = field | {"type": kind[:-2]}
        return [_checksummed(element, entry) for entry in value]
    if kind == "tuple":
        members = zip(field["components"], value, strict=True)
        return tuple(_checksummed(member, entry) for member, entry in members)
    return to_checksum_address(value) if kind == "address" else value


def _snake(name: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
    return snake + "_" if iskeyword(snake) else snake
