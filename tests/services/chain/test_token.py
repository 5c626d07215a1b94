"""Tokens in the wild: what they do not say about themselves is found out, or assumed as their users do."""

from typing import Any

import pytest
from eth_abi import encode
from tests.services.chain.endpoint import Endpoint, Fault
from tests.services.chain.money import PAYER, PAYER_KEY

from waypost.chain.connection import connect
from waypost.chain.token import Token
from waypost.errors import RpcUnreachable, TransactionReverted
from waypost.protocol.eip712 import Domain
from waypost.protocol.signatures import checksum, keccak

ADDRESS = checksum(b"\x11" * 20)


@pytest.fixture
def views(endpoint: Endpoint) -> dict[str, bytes]:
    """What the token's views answer, by signature; others revert."""
    found: dict[str, bytes] = {}

    def call(params: list[Any]) -> str:
        selector = params[0]["data"][:10]
        for signature, answer in found.items():
            if selector == "0x" + keccak(signature.encode())[:4].hex():
                return "0x" + answer.hex()
        raise Fault(3, "execution reverted", "0x")

    endpoint.answers |= {"eth_chainId": lambda _: "0x7a69", "eth_call": call}
    return found


async def test_a_token_that_states_its_domain(endpoint: Endpoint, views: dict[str, bytes]) -> None:
    views["eip712Domain()"] = encode(
        ["bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"],
        [b"\x0f", "Euro", "7", 5, ADDRESS, bytes(32), []],
    )
    async with await connect(endpoint.url) as connection:
        assert await Token(connection, ADDRESS).domain() == Domain("Euro", "7", 5, ADDRESS)


@pytest.mark.parametrize("version", ["2", ""])
async def test_a_token_with_a_name_and_perhaps_a_version(
    endpoint: Endpoint, views: dict[str, bytes], version: str
) -> None:
    views["name()"] = encode(["string"], ["USD Coin"])
    if version:
        views["version()"] = encode(["string"], [version])
    async with await connect(endpoint.url) as connection:
        domain = await Token(connection, ADDRESS).domain()
    assert domain == Domain("USD Coin", version or "1", 31337, ADDRESS)


async def test_a_token_without_authorizations(endpoint: Endpoint, views: dict[str, bytes]) -> None:
    async with await connect(endpoint.url) as connection:
        token = Token(connection, ADDRESS)
        assert not await token.supports_authorization()
        views["authorizationState(address,bytes32)"] = encode(["bool"], [False])
        assert await token.supports_authorization()


async def test_an_endpoint_that_is_away_is_no_answer(endpoint: Endpoint, views: dict[str, bytes]) -> None:
    views["name()"] = encode(["string"], ["USD Coin"])
    async with await connect(endpoint.url) as connection:
        token = Token(connection, ADDRESS)
        await endpoint.stop()
        with pytest.raises(RpcUnreachable):
            await token.supports_authorization()
        with pytest.raises(RpcUnreachable):
            await token.domain()


async def test_a_permit_is_spent_once(token: Token, sender: Any) -> None:
    permit = await token.permit(PAYER_KEY, sender.address, 500, 2**40)
    call = token._call("permit", PAYER, sender.address, *permit.to_abi())
    await sender.send(call)
    assert await token.allowance(PAYER, sender.address) == 500
    with pytest.raises(TransactionReverted, match="ERC2612InvalidSigner"):
        await sender.send(call)
