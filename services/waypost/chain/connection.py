"""The one place that makes a web3: an RPC endpoint whose chain id is known, with timeouts, retried reads
and every fault as one ChainError. Endpoints lie, lag and drop: what they answer is checked."""

import json
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientTimeout
from eth_typing import ChecksumAddress, HexStr
from hexbytes import HexBytes
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.exceptions import (
    BadFunctionCallOutput,
    BlockNotFound,
    ContractLogicError,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.rpc.utils import ExceptionRetryConfiguration
from web3.types import BlockIdentifier, FilterParams, RPCEndpoint, RPCResponse, TxParams, Wei

from waypost.chain.blocks import BlockRef, Log, TransactionReceipt
from waypost.chain.reverts import reverted
from waypost.errors import (
    InvalidConfig,
    RpcFailed,
    RpcUnreachable,
    WaypostError,
    WrongChain,
    WrongContract,
)

T = TypeVar("T")

BlockId = int | bytes
"""A block's number or its hash."""

TIMEOUT = 10.0
RETRIES = 4
RETRY_BACKOFF = 0.1

_LOST = (ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Call:
    """A contract call as a value: what `Sender.send` sends and `Connection.simulate` tries.

    `value` is in wei; `name` is for people.
    """

    to: ChecksumAddress
    data: bytes
    value: int = 0
    name: str = "The call"


class Connection:
    """A chain behind an RPC endpoint. Made by `connect`; an async context manager."""

    def __init__(self, web3: "AsyncWeb3[_Provider]", host: str, chain_id: int) -> None:
        self.web3 = web3
        self.host = host
        self.chain_id = chain_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the HTTP sessions."""
        await self.web3.provider.disconnect()

    async def ask(self, answer: Awaitable[T], what: str = "The call") -> T:
        """What a web3 call answers; every fault becomes a ChainError.

        Raises RpcUnreachable, RpcFailed, TransactionReverted, WrongContract; passes on web3's
        BlockNotFound and TransactionNotFound.
        """
        try:
            return await answer
        except (WaypostError, BlockNotFound, TransactionNotFound):
            raise
        except ContractLogicError as error:
            raise reverted(error.data, what) from error
        except BadFunctionCallOutput as error:
            sentence = f"{what} got an answer that is not the contract's: is it on this chain?"
            raise WrongContract(sentence) from error
        except Web3RPCError as error:
            raise _failed(error, self.host) from error
        except (Web3Exception, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RpcFailed(f"{self.host} gave a malformed answer: {error}") from error

    async def head(self) -> BlockRef:
        """The newest block."""
        block = await self._block("latest")
        if block is None:
            raise RpcFailed(f"{self.host} knows no newest block.")
        return block

    async def block(self, block: BlockId) -> BlockRef | None:
        """A block by number (on the canonical chain) or by hash; None if the endpoint has none."""
        return await self._block(_identify(block))

    async def logs(self, addresses: Sequence[ChecksumAddress], first: int, last: int) -> tuple[Log, ...]:
        """Logs of these contracts in blocks `first` to `last`, in chain order."""
        return await self._logs(addresses, {"fromBlock": first, "toBlock": last})

    async def logs_of(self, addresses: Sequence[ChecksumAddress], block_hash: bytes) -> tuple[Log, ...]:
        """Logs of these contracts in one block, whatever happens to the chain meanwhile (EIP-234)."""
        return await self._logs(addresses, {"blockHash": HexBytes(block_hash)})

    async def code(self, address: ChecksumAddress, block: BlockId | None = None) -> bytes:
        """The code at an address; empty if there is none."""
        return bytes(await self.ask(self.web3.eth.get_code(address, _identify(block))))

    async def balance(self, address: ChecksumAddress) -> int:
        """In wei."""
        return await self.ask(self.web3.eth.get_balance(address))

    async def base_fee(self) -> int:
        """The newest block's base fee, in wei per gas. Raises RpcFailed on a chain without (EIP-1559)."""
        block = await self.ask(self.web3.eth.get_block("latest"))
        if "baseFeePerGas" not in block:
            raise RpcFailed(f"The chain behind {self.host} has no base fee: it is older than EIP-1559.")
        return block["baseFeePerGas"]

    async def tip(self) -> int:
        """What the endpoint suggests as priority fee, in wei per gas."""
        return await self.ask(self.web3.eth.max_priority_fee)

    async def nonce(self, address: ChecksumAddress, *, pending: bool = False) -> int:
        """How many transactions the account has had mined; with `pending`, counting those that wait."""
        which: BlockIdentifier = "pending" if pending else "latest"
        return await self.ask(self.web3.eth.get_transaction_count(address, which))

    async def simulate(
        self, call: Call, sender: ChecksumAddress | None = None, block: BlockId | None = None
    ) -> bytes:
        """What a call would return. Raises TransactionReverted."""
        answer = self.web3.eth.call(_parameters(call, sender), _identify(block))
        return bytes(await self.ask(answer, call.name))

    async def estimate(self, call: Call, sender: ChecksumAddress | None = None) -> int:
        """The gas that a call needs now. Raises TransactionReverted."""
        return await self.ask(self.web3.eth.estimate_gas(_parameters(call, sender)), call.name)

    async def receipt(self, transaction: bytes) -> TransactionReceipt | None:
        """The receipt of a mined transaction; None while it is not mined, or not known."""
        try:
            found = await self.ask(self.web3.eth.get_transaction_receipt(_hex(transaction)))
            return _receipt(found)
        except TransactionNotFound:
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise RpcFailed(f"{self.host} gave a malformed receipt: {error}") from error

    async def knows(self, transaction: bytes) -> bool:
        """Whether the endpoint has the transaction, mined or waiting."""
        try:
            await self.ask(self.web3.eth.get_transaction(_hex(transaction)))
        except TransactionNotFound:
            return False
        return True

    async def send_raw(self, raw: bytes) -> None:
        """Hands a signed transaction to the endpoint. Raises RpcFailed with the endpoint's words."""
        await self.ask(self.web3.eth.send_raw_transaction(raw))

    async def _block(self, block: BlockIdentifier) -> BlockRef | None:
        try:
            found = await self.ask(self.web3.eth.get_block(block))
            return BlockRef(
                number=int(found["number"]),
                hash=bytes(found["hash"]),
                parent_hash=bytes(found["parentHash"]),
                timestamp=int(found["timestamp"]),
            )
        except BlockNotFound:
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise RpcFailed(f"{self.host} gave a malformed block: {error}") from error

    async def _logs(self, addresses: Sequence[ChecksumAddress], where: FilterParams) -> tuple[Log, ...]:
        where["address"] = list(addresses)
        try:
            found = [_log(entry) for entry in await self.ask(self.web3.eth.get_logs(where))]
        except BlockNotFound as error:
            raise RpcFailed(f"{self.host} does not have the block yet, or no longer.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise RpcFailed(f"{self.host} gave a malformed log: {error}") from error
        return tuple(sorted(found, key=lambda log: (log.block_number, log.index)))


async def connect(
    rpc_url: str, expected_chain_id: int | None = None, *, timeout: float = TIMEOUT
) -> Connection:
    """Connects to an HTTP(S) RPC endpoint; `timeout` in seconds per request.

    Raises InvalidConfig, RpcUnreachable, RpcFailed, or WrongChain if the chain id is not the
    expected one.
    """
    try:
        host = _host(rpc_url)
    except ValueError as error:
        raise InvalidConfig(f"This is no URL of an RPC endpoint: {error}.") from None
    # Retrying is safe for all methods in use: a transaction that arrived twice is "already known".
    provider = _Provider(
        rpc_url,
        request_kwargs={"timeout": ClientTimeout(total=timeout)},
        exception_retry_configuration=ExceptionRetryConfiguration(
            errors=_LOST, retries=RETRIES, backoff_factor=RETRY_BACKOFF
        ),
    )
    # A revert must not make us call URLs of the contract's choice (EIP-3668).
    provider.global_ccip_read_enabled = False
    web3 = AsyncWeb3(provider, middleware=[ExtraDataToPOAMiddleware])
    connection = Connection(web3, host, 0)
    try:
        connection.chain_id = await connection.ask(web3.eth.chain_id)
    except BaseException:
        await connection.close()
        raise
    if expected_chain_id not in (None, connection.chain_id):
        await connection.close()
        raise WrongChain(
            f"{host} serves chain {connection.chain_id}, not chain {expected_chain_id}.",
            given=connection.chain_id,
            expected=expected_chain_id,
        )
    return connection


class _Provider(AsyncHTTPProvider):
    """Names transport faults, and answers that are no JSON-RPC."""

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        host = _host(str(self.endpoint_uri))
        try:
            answer: Any = await super().make_request(method, params)
        except _LOST as error:
            reason = getattr(error, "status", None) or str(error) or type(error).__name__
            raise RpcUnreachable(f"{host} cannot be reached: {reason}.", host=host) from error
        except (UnicodeDecodeError, json.JSONDecodeError, Web3Exception) as error:
            raise RpcFailed(f"{host} answered {method} with something that is no JSON.") from error
        if not isinstance(answer, dict) or not answer.keys() & {"result", "error"}:
            raise RpcFailed(f"{host} answered {method} with something that is no JSON-RPC.")
        return answer  # type: ignore[return-value]


def _host(url: str) -> str:
    # Paths and user names of RPC URLs often hold API keys: they never show.
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must start with http:// or https:// and name a host")
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _failed(error: Web3RPCError, host: str) -> RpcFailed:
    details: object = (error.rpc_response or {}).get("error")
    if isinstance(details, Mapping):
        message, code = str(details.get("message")), details.get("code")
    else:
        message, code = str(details or error.message), None
    return RpcFailed(
        f"{host} answered with an error: {message}.",
        message=message,
        rpc_code=code if isinstance(code, int) else None,
    )


def _parameters(call: Call, sender: ChecksumAddress | None) -> TxParams:
    parameters: TxParams = {"to": call.to, "data": call.data, "value": Wei(call.value)}
    if sender is not None:
        parameters["from"] = sender
    return parameters


def _identify(block: BlockId | None) -> BlockIdentifier:
    if block is None:
        return "latest"
    return block if isinstance(block, int) else _hex(block)


def _hex(data: bytes) -> HexStr:
    return HexStr("0x" + data.hex())


def _log(entry: Mapping[str, Any]) -> Log:
    return Log(
        address=entry["address"],
        topics=tuple(bytes(topic) for topic in entry["topics"]),
        data=bytes(entry["data"]),
        block_number=int(entry["blockNumber"]),
        block_hash=bytes(entry["blockHash"]),
        transaction_hash=bytes(entry["transactionHash"]),
        index=int(entry["logIndex"]),
    )


def _receipt(found: Mapping[str, Any]) -> TransactionReceipt:
    return TransactionReceipt(
        hash=bytes(found["transactionHash"]),
        block_number=int(found["blockNumber"]),
        block_hash=bytes(found["blockHash"]),
        succeeded=found["status"] == 1,
        gas_used=int(found["gasUsed"]),
        gas_price=int(found["effectiveGasPrice"]),
        contract=found["contractAddress"],
        logs=tuple(_log(entry) for entry in found["logs"]),
    )
