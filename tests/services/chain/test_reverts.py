"""Revert data in people's words, whatever the data."""

import pytest
from eth_abi import encode
from hypothesis import given
from hypothesis import strategies as st

from waypost.chain import artifacts
from waypost.chain.reverts import explain, reverted
from waypost.protocol.signatures import checksum, keccak

ADDRESS = checksum(b"\xab" * 20)


def data(signature: str, *values: object) -> bytes:
    """The revert data of an error."""
    inner = signature[signature.index("(") + 1 : -1]
    return keccak(signature.encode())[:4] + encode(inner.split(",") if inner else [], values)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (data("TooEarly(uint256,uint256)", 5, 9), "TooEarly(timestamp=5, closesAt=9)"),
        (data("NotPayer(address,address)", ADDRESS, ADDRESS), f"NotPayer(caller={ADDRESS}, payer={ADDRESS})"),
        (data("AlreadyUsed(bytes32)", b"\7" * 32), f"AlreadyUsed(digest=0x{'07' * 32})"),
        (data("AmountOutOfRange(uint256,uint256)", 2**96, 5), f"AmountOutOfRange(given={2**96}, max=5)"),
        (data("ZeroAmount()"), "ZeroAmount()"),
        (data("Error(string)", "because"), "because"),
        (data("Panic(uint256)", 17), "Panic(panicCode=17)"),
        (data("Unheard(uint256)", 17), "0x" + keccak(b"Unheard(uint256)")[:4].hex() + "()"),
        (data("TooEarly(uint256,uint256)", 5, 9)[:40], "TooEarly()"),
        (b"\x01", "0x01()"),
    ],
)
def test_explained(given: bytes, words: str) -> None:
    assert str(explain(given, "Channels")) == words
    assert str(reverted("0x" + given.hex(), "Channels.open")) == f"Channels.open reverted: {words}."


def test_an_error_that_contracts_share_is_told_in_each_ones_words() -> None:
    shared = data("TooEarly(uint256,uint256)", 5, 9)
    assert str(explain(shared, "NodeRegistry")) == "TooEarly(timestamp=5, thawedAt=9)"


def test_sums_beyond_what_json_holds_are_text() -> None:
    error = reverted("0x" + data("AmountOutOfRange(uint256,uint256)", 2**96, 5).hex(), "Thing.do")
    assert error.details["arguments"] == {"given": str(2**96), "max": 5}


@pytest.mark.parametrize("nothing", [None, "", "0x", "0xzz", 5, [], {}, {"data": None}])
def test_no_reason(nothing: object) -> None:
    error = reverted(nothing, "Thing.do")
    assert str(error) == "Thing.do reverted without a reason."
    assert error.details == {"reason": None}


@given(st.binary(max_size=100))
def test_any_data_is_explained_somehow(raw: bytes) -> None:
    assert (explain(raw) is None) == (raw == b"")


@given(
    st.sampled_from([e for n in artifacts.CONTRACTS for e in artifacts.load(n).abi if e["type"] == "error"]),
    st.binary(),
)
def test_any_arguments_of_a_known_error_are_explained(error: dict[str, object], raw: bytes) -> None:
    inputs = error["inputs"]
    assert isinstance(inputs, list)
    selector = keccak(f"{error['name']}({','.join(field['type'] for field in inputs)})".encode())[:4]
    assert str(explain(selector + raw)).startswith(str(error["name"]))
