"""Untrusted JSON: whatever is in it, each reader answers a value or its own error."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.protocol.strategies import damaged, json_values

from waypost.errors import (
    AmountOutOfRange,
    InvalidAddress,
    InvalidAuthorization,
    InvalidDescriptor,
    InvalidEndpoint,
    InvalidMessage,
    InvalidOpening,
    InvalidPayment,
    InvalidPriceList,
    InvalidReceipt,
    InvalidSession,
    InvalidSignature,
    InvalidTopic,
    MessageTooLarge,
    ProtocolError,
)
from waypost.protocol.eip712 import channels_domain, node_domain
from waypost.protocol.fields import Fields, camel_case, in_range, parse_address
from waypost.protocol.messages import Message
from waypost.protocol.nodes import NodeDescriptor
from waypost.protocol.openings import Authorization, Close, Opening, SignedOpening, TopUp, authorize
from waypost.protocol.payments import (
    PaymentPayload,
    PaymentRequired,
    PaymentRequirements,
    PaymentResponse,
)
from waypost.protocol.prices import PriceList
from waypost.protocol.receipts import Receipt, SignedReceipt
from waypost.protocol.sessions import Session
from waypost.protocol.signatures import address_of, checksum

VECTORS = Path(__file__).parents[2] / "vectors"
KEY = b"\x07" * 32
A, B, C = (checksum(bytes([n]) * 20) for n in (0xAB, 0xBC, 0xCD))
DOMAIN = channels_domain(31337, A)
OPENING = Opening(A, B, C, address_of(KEY), 60, 5_000_000, b"\x09" * 32, 2_000_000_000)
TOP_UP = TopUp(A, B, C, address_of(KEY), 1, bytes(32), 1)
RECEIPT = SignedReceipt(Receipt(B, C, 1_000), Receipt(B, C, 1_000).sign(DOMAIN, KEY))
WAY = PaymentRequirements(31337, 1_000, C, B, 60, {"channels": A})
PAYLOAD = PaymentPayload(WAY, address_of(KEY), 1_000, RECEIPT.signature)
DESCRIPTOR = next(v for v in json.loads((VECTORS / "nodes.json").read_text()) if "descriptor" in v)
ANSWER = DESCRIPTOR["descriptor"] | {"signature": DESCRIPTOR["r"] + DESCRIPTOR["vs"][2:]}

Reader = Callable[[object], object]
READERS: dict[str, tuple[Reader, Any, set[type[ProtocolError]]]] = {
    "receipt": (Receipt.from_json, RECEIPT.receipt.to_json(), {InvalidReceipt}),
    "signed receipt": (lambda v: SignedReceipt.from_json(v, B, C), RECEIPT.to_json(), {InvalidReceipt}),
    "opening": (Opening.from_json, OPENING.to_json(), {InvalidOpening}),
    "top-up": (TopUp.from_json, TOP_UP.to_json(), {InvalidOpening}),
    "close": (Close.from_json, Close(A, B, C, 1, 1).to_json(), {InvalidOpening}),
    "signed opening": (
        SignedOpening.from_json,
        SignedOpening(OPENING, OPENING.sign(DOMAIN, KEY)).to_json(),
        {InvalidOpening},
    ),
    "authorization": (
        lambda v: Authorization.from_json(v, OPENING, A),
        authorize(OPENING, A, DOMAIN, KEY, 1).to_json(),
        {InvalidAuthorization},
    ),
    "session": (Session.from_json, Session(A, 1, 1).to_json(), {InvalidSession}),
    "prices": (PriceList.from_json, ANSWER["prices"], {InvalidPriceList}),
    "descriptor": (
        lambda v: NodeDescriptor.verify(v, node_domain(31337, ANSWER["contracts"]["registry"])),
        ANSWER,
        {InvalidDescriptor, InvalidPriceList, InvalidEndpoint},
    ),
    "message": (
        Message.from_json,
        Message("/waypost/1/lobby/raw", b"payload", 1, b"meta").to_json(),
        {InvalidMessage, InvalidTopic, MessageTooLarge},
    ),
    "payment required": (
        PaymentRequired.from_json,
        PaymentRequired("", "", (WAY, WAY)).to_json(),
        {InvalidPayment},
    ),
    "payment payload": (PaymentPayload.from_json, PAYLOAD.to_json(), {InvalidPayment}),
    "payment response": (PaymentResponse.from_json, PaymentResponse(True, 1, A).to_json(), {InvalidPayment}),
}
COMMON: set[type[ProtocolError]] = {AmountOutOfRange, InvalidAddress, InvalidSignature}


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_damaged_objects_are_one_error(name: str, data: st.DataObject) -> None:
    read, sound, errors = READERS[name]
    value = data.draw(damaged(sound))
    with suppress(*errors, *COMMON):
        read(value)


@pytest.mark.parametrize("name", READERS)
@given(value=json_values)
def test_arbitrary_json_is_one_error(name: str, value: object) -> None:
    read, _, errors = READERS[name]
    with pytest.raises(tuple(errors)):
        read(value)


@pytest.mark.parametrize("name", READERS)
def test_sound_objects_are_read(name: str) -> None:
    read, sound, _ = READERS[name]
    assert read(json.loads(json.dumps(sound))) is not None


@pytest.mark.parametrize("name", READERS)
def test_every_error_can_be_sent(name: str) -> None:
    """Half a surrogate pair must not come back out in a sentence or in details."""
    read, sound, _ = READERS[name]
    for field in sound:
        with pytest.raises(ProtocolError) as caught:
            read(sound | {field: "\ud800"})
        json.dumps({"detail": str(caught.value), **caught.value.details}, ensure_ascii=False).encode()


def test_a_fault_names_the_field() -> None:
    fields = Fields({"a": 1, "b": None}, InvalidMessage)
    assert "a" in fields
    assert "b" not in fields
    for name, sentence in (("a", "Field a must be a string."), ("b", "Field b is missing.")):
        with pytest.raises(InvalidMessage, match=sentence) as caught:
            fields.text(name)
        assert caught.value.details == {"field": name}


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        (A, True),
        (A.lower(), True),
        ("0x" + A[2:].upper(), True),
        (A.swapcase().replace("X", "x"), False),
        (A[2:], False),
        (A + "00", False),
        ("0X" + A[2:], False),
        (A[:-2] + "\n\n", False),
        ("", False),
    ],
)
def test_addresses(text: str, understood: bool) -> None:
    if understood:
        assert parse_address(text) == A
    else:
        with pytest.raises(InvalidAddress):
            parse_address(text)


@pytest.mark.parametrize(
    ("attribute", "name"),
    [("close_delay", "closeDelay"), ("from_", "from"), ("store_per_kib_hour", "storePerKibHour"), ("v", "v")],
)
def test_names_in_json(attribute: str, name: str) -> None:
    assert camel_case(attribute) == name


def test_range_errors_give_both_numbers() -> None:
    assert in_range("amount", 255, 8) == 255
    with pytest.raises(AmountOutOfRange) as caught:
        in_range("amount", 256, 8)
    assert caught.value.details == {"field": "amount", "given": "256", "maximum": "255"}
