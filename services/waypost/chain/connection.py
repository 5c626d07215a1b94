"""The one place that makes a web3: an RPC endpoint whose chain id is known, with timeouts, retries and every
fault as one ChainError. Endpoints lie, lag and drop: what they answer is checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout
from eth_typing import ChecksumAddress
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3._utils.http_session_manager import HTTPSessionManager
from web3.exceptions import Web3Exception
from web3.providers.rpc.utils import ExceptionRetryConfiguration
from web3.types import RPCEndpoint

from waypost.chain import answers
from waypost.chain.blocks import BlockRef, Log, TransactionReceipt
from waypost.chain.reverts import reverted
from waypost.errors import InvalidConfig, RpcFailed, RpcUnreachable, WrongChain

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
    """A chain behind an RPC endpoint. Made by `connect`; an async context manager.

    Every method raises RpcUnreachable if the endpoint is away, and RpcFailed if it answers with an error, or
    with something that is no answer.
    """

    def __init__(self, web3: "AsyncWeb3[AsyncHTTPProvider]", host: str, chain_id: int) -> None:
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

    async def request(self, read: Callable[[Any], T], method: str, *params: Any) -> T:
        """The result of a JSON-RPC method, as `read` reads it, which raises ValueError on nonsense."""
        try:
            return await self._ask(read, method, params)
        except _Refusal as refusal:
            raise self._failed(refusal) from None

    # ---- Blocks ----

    async def head(self) -> BlockRef:
        """The newest block."""
        return await self.request(answers.block, "eth_getBlockByNumber", "latest", False)

    async def block(self, block: BlockId) -> BlockRef | None:
        """A block by number (on the canonical chain) or by hash; None if the endpoint has none."""
        method = "eth_getBlockByNumber" if isinstance(block, int) else "eth_getBlockByHash"
        return await self.request(_block_or_none, method, _identify(block), False)

    async def logs(
        self,
        addresses: Sequence[ChecksumAddress],
        first: int,
        last: int,
        topics: Sequence[bytes | None] = (),
    ) -> tuple[Log, ...]:
        """Logs of these contracts in blocks `first` to `last`, in chain order; of those with these `topics`,
        None standing for any."""
        where: dict[str, Any] = {"address": list(addresses), "fromBlock": hex(first), "toBlock": hex(last)}
        if topics:
            where["topics"] = [None if topic is None else _hex(topic) for topic in topics]
        return await self.request(answers.logs, "eth_getLogs", where)

    async def logs_of(self, addresses: Sequence[ChecksumAddress], block_hash: bytes) -> tuple[Log, ...]:
        """Logs of these contracts in one block, whatever happens to the chain meanwhile (EIP-234)."""
        where = {"address": list(addresses), "blockHash": _hex(block_hash)}
        return await self.request(answers.logs, "eth_getLogs", where)

    async def base_fee(self) -> int:
        """The newest block's base fee, in wei per gas. Raises RpcFailed on a chain that has none."""
        fee = await self.request(answers.base_fee, "eth_getBlockByNumber", "latest", False)
        if fee is None:
            raise RpcFailed(f"The chain behind {self.host} has no base fee: it is older than EIP-1559.")
        return fee

    async def tip(self) -> int:
        """What the endpoint suggests as priority fee, in wei per gas."""
        return await self.request(answers.quantity, "eth_maxPriorityFeePerGas")

    # ---- Accounts and calls ----

    async def code(self, address: ChecksumAddress, block: BlockId | None = None) -> bytes:
        """The code at an address; empty if there is none."""
        return await self.request(answers.data, "eth_getCode", address, _state_of(block))

    async def balance(self, address: ChecksumAddress) -> int:
        """In wei."""
        return await self.request(answers.quantity, "eth_getBalance", address, "latest")

    async def nonce(self, address: ChecksumAddress, *, pending: bool = False) -> int:
        """How many transactions the account has had mined; with `pending`, counting those that wait."""
        which = "pending" if pending else "latest"
        return await self.request(answers.quantity, "eth_getTransactionCount", address, which)

    async def simulate(
        self, call: Call, sender: ChecksumAddress | None = None, block: BlockId | None = None
    ) -> bytes:
        """What a call would return. Raises TransactionReverted."""
        return await self._execute(
            call, answers.data, "eth_call", _parameters(call, sender), _state_of(block)
        )

    async def estimate(self, call: Call, sender: ChecksumAddress | None = None) -> int:
        """The gas that a call needs now. Raises TransactionReverted."""
        return await self._execute(call, answers.quantity, "eth_estimateGas", _parameters(call, sender))

    async def estimate_creation(self, creator: ChecksumAddress, init_code: bytes) -> int:
        """The gas that a transaction which creates a contract needs now."""
        parameters = {"from": str(creator), "data": _hex(init_code)}
        return await self.request(answers.quantity, "eth_estimateGas", parameters)

    # ---- Transactions ----

    async def receipt(self, transaction: bytes) -> TransactionReceipt | None:
        """The receipt of a mined transaction; None while it is not mined, or not known."""
        return await self.request(_receipt_or_none, "eth_getTransactionReceipt", _hex(transaction))

    async def knows(self, transaction: bytes) -> bool:
        """Whether the endpoint has the transaction, mined or waiting."""
        return await self.request(bool, "eth_getTransactionByHash", _hex(transaction))

    async def send_raw(self, raw: bytes) -> None:
        """Hands a signed transaction to the endpoint. Raises RpcFailed with the endpoint's words."""
        await self.request(answers.word, "eth_sendRawTransaction", _hex(raw))

    async def _execute(self, call: Call, read: Callable[[Any], T], method: str, *params: Any) -> T:
        try:
            return await self._ask(read, method, params)
        except _Refusal as refusal:
            if refusal.is_revert:
                raise reverted(refusal.data, call.name) from None
            raise self._failed(refusal) from None

    async def _ask(self, read: Callable[[Any], T], method: str, params: Sequence[Any]) -> T:
        try:
            answer: Any = await self.web3.provider.make_request(RPCEndpoint(method), params)
        except _LOST as error:
            reason = getattr(error, "status", None) or str(error) or type(error).__name__
            raise RpcUnreachable(f"{self.host} cannot be reached: {reason}.", host=self.host) from error
        except (ValueError, RecursionError, Web3Exception) as error:
            raise RpcFailed(f"{self.host} answered {method} with something that is no JSON.") from error
        if not isinstance(answer, dict) or (answer.get("error") is None and "result" not in answer):
            raise RpcFailed(f"{self.host} answered {method} with something that is no JSON-RPC.")
        if answer.get("error") is not None:
            raise _Refusal(answer["error"])
        try:
            return read(answer["result"])
        except ValueError as error:
            raise RpcFailed(f"{self.host} answered {method} with nonsense: {error}.") from error

    def _failed(self, refusal: "_Refusal") -> RpcFailed:
        sentence = f"{self.host} answered with an error: {refusal.message}."
        return RpcFailed(sentence, message=refusal.message, rpc_code=refusal.code)


async def connect(
    rpc_url: str, expected_chain_id: int | None = None, *, timeout: float = TIMEOUT
) -> Connection:
    """Connects to an HTTP(S) RPC endpoint; `timeout` in seconds per request.

    Raises InvalidConfig, RpcUnreachable, RpcFailed, or WrongChain if the chain id is not the expected one.
    """
    try:
        host = _host(rpc_url)
    except ValueError as error:
        raise InvalidConfig(f"This is no URL of an RPC endpoint: {error}.") from None
    # Retrying is safe for all methods in use: a transaction that arrives twice is "already known".
    retrying = ExceptionRetryConfiguration(errors=_LOST, retries=RETRIES, backoff_factor=RETRY_BACKOFF)
    provider = AsyncHTTPProvider(
        rpc_url,
        request_kwargs={"timeout": ClientTimeout(total=timeout)},
        exception_retry_configuration=retrying,
    )
    provider._request_session_manager = _Sessions()
    connection = Connection(AsyncWeb3(provider), host, 0)
    try:
        connection.chain_id = await connection.request(answers.quantity, "eth_chainId")
        if expected_chain_id not in (None, connection.chain_id):
            raise WrongChain(
                f"{host} serves chain {connection.chain_id}, not chain {expected_chain_id}.",
                given=connection.chain_id,
                expected=expected_chain_id,
            )
    except BaseException:
        await connection.close()
        raise
    return connection


class _Sessions(HTTPSessionManager):
    """One HTTP session that stays open.

    For every request web3's own takes a lock in a thread, one for all providers. A request that is cancelled
    while it waits leaves the lock taken, and nothing in the process reaches its chain any more.
    """

    async def async_cache_and_return_session(self, *_: Any, **__: Any) -> ClientSession:
        session: ClientSession | None = self.session_cache.get_cache_entry("session")
        if session is None or session.closed:
            session = ClientSession(raise_for_status=True)
            self.session_cache.cache("session", session)
        return session


class _Refusal(Exception):
    """The error object of a JSON-RPC answer."""

    def __init__(self, error: Any) -> None:
        fields = error if isinstance(error, dict) else {"message": error}
        self.message = str(fields.get("message"))[:500]
        self.code: int | None = fields["code"] if isinstance(fields.get("code"), int) else None
        self.data = fields.get("data")

    @property
    def is_revert(self) -> bool:
        """Whether a call failed in the contract, rather than on the way to it."""
        # Code 3 is geth's; others use their own and say so in words.
        return self.code == 3 or "revert" in self.message.lower()


def _host(url: str) -> str:
    # Paths and user names of RPC URLs often hold API keys: they never show.
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must start with http:// or https:// and name a host")
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _parameters(call: Call, sender: ChecksumAddress | None) -> dict[str, str]:
    parameters = {"to": str(call.to), "data": _hex(call.data), "value": hex(call.value)}
    return parameters if sender is None else parameters | {"from": str(sender)}


def _identify(block: BlockId) -> str:
    return hex(block) if isinstance(block, int) else _hex(block)


def _state_of(block: BlockId | None) -> Any:
    if block is None:
        return "latest"
    return hex(block) if isinstance(block, int) else {"blockHash": _hex(block)}  # EIP-1898


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _block_or_none(value: Any) -> BlockRef | None:
    return answers.optional(answers.block, value)


def _receipt_or_none(value: Any) -> TransactionReceipt | None:
    return answers.optional(answers.receipt, value)
