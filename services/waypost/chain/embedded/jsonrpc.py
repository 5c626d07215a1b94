"""JSON-RPC 2.0: one request body in, one answer body out, whatever the body holds."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
# Outside of the JSON-RPC range, as Ethereum clients use them.
REJECTED = -32000
LIMIT_EXCEEDED = -32005
REVERTED = 3

MAX_BATCH = 1_000

Json = Any


class RpcError(Exception):
    """An error answer."""

    def __init__(self, code: int, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


@dataclass(frozen=True, slots=True)
class Method:
    """A method and how each of its positional parameters is read; those with a default may be missing."""

    function: Callable[..., Json]
    parameters: Sequence["Parameter"]

    def call(self, given: Json) -> Json:
        """Reads the parameters and calls. Raises RpcError."""
        if not isinstance(given, list):
            raise RpcError(INVALID_PARAMS, "params must be a list")
        if len(given) > len(self.parameters):
            raise RpcError(INVALID_PARAMS, f"too many arguments, want at most {len(self.parameters)}")
        missing = [None] * (len(self.parameters) - len(given))
        values = [
            parameter.value(raw, index)
            for index, (parameter, raw) in enumerate(zip(self.parameters, [*given, *missing], strict=True))
        ]
        return self.function(*values)


REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Parameter:
    """Reads one parameter: `read` raises ValueError saying what is expected."""

    read: Callable[[Json], Any]
    default: Any = REQUIRED

    def value(self, raw: Json, index: int) -> Any:
        """The parameter's value. Raises RpcError."""
        if raw is None:
            if self.default is REQUIRED:
                raise RpcError(INVALID_PARAMS, f"missing value for required argument {index}")
            return self.default
        try:
            return self.read(raw)
        except ValueError as error:
            raise RpcError(INVALID_PARAMS, f"invalid argument {index}: {error}") from None


def answer(body: bytes, methods: dict[str, Method]) -> bytes | None:
    """The answer to a request or a batch; None if nothing in it wants one."""
    try:
        request = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _encode(_error(None, RpcError(PARSE_ERROR, "parse error")))
    if not isinstance(request, list):
        single = _answer(request, methods)
        return None if single is None else _encode(single)
    if not request or len(request) > MAX_BATCH:
        sentence = f"a batch holds 1 to {MAX_BATCH} requests"
        return _encode(_error(None, RpcError(INVALID_REQUEST, sentence)))
    answers = [found for found in (_answer(entry, methods) for entry in request) if found is not None]
    return _encode(answers) if answers else None


def _answer(request: Json, methods: dict[str, Method]) -> Json | None:
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        return _error(None, RpcError(INVALID_REQUEST, "invalid request"))
    identifier = request.get("id")
    if isinstance(identifier, dict | list | bool):
        return _error(None, RpcError(INVALID_REQUEST, "the id must be a string or a number"))
    name = request["method"]
    try:
        if name not in methods:
            shown = name[:64]
            raise RpcError(METHOD_NOT_FOUND, f"the method {shown} does not exist or is not available")
        parameters = request.get("params")
        result = methods[name].call([] if parameters is None else parameters)
    except RpcError as error:
        found = _error(identifier, error)
    except Exception as error:
        # One bad request must not take the chain down; nothing secret is in here.
        sentence = f"internal error: {type(error).__name__}: {error}"
        found = _error(identifier, RpcError(INTERNAL_ERROR, sentence))
    else:
        found = {"jsonrpc": "2.0", "id": identifier, "result": result}
    return found if "id" in request else None


def _error(identifier: Json, error: RpcError) -> Json:
    details: dict[str, Json] = {"code": error.code, "message": error.message}
    if error.data is not None:
        details["data"] = error.data
    return {"jsonrpc": "2.0", "id": identifier, "error": details}


def _encode(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
