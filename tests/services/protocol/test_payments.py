"""x402 v2 on the wire, read and paid by the stock client with a scheme plug-in."""

import base64
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.protocol.strategies import addresses, amounts, signatures
from x402.client import x402Client
from x402.http.clients.httpx import x402AsyncTransport
from x402.http.utils import decode_payment_required_header, decode_payment_response_header
from x402.schemas import PaymentRequirements as StockRequirements

from waypost.errors import AmountOutOfRange, InvalidAddress, InvalidPayment, InvalidSignature
from waypost.protocol.eip712 import channels_domain
from waypost.protocol.payments import (
    PaymentPayload,
    PaymentRequired,
    PaymentRequirements,
    PaymentResponse,
    network,
)
from waypost.protocol.receipts import Receipt, ReceiptVerifier
from waypost.protocol.signatures import Signature, address_of, checksum

KEY = b"\x07" * 32
SIGNER = address_of(KEY)
CHANNELS, PAYEE, TOKEN = (checksum(bytes([n]) * 20) for n in (1, 2, 3))
WAY = PaymentRequirements(31337, 1_000, TOKEN, PAYEE, 60, {"channels": CHANNELS, "closeDelay": 60})
REQUIRED = PaymentRequired("A receipt is required.", "http://node.test/v1/messages", (WAY,))
PAYLOAD = PaymentPayload(WAY, SIGNER, 1_000, Signature(bytes(32), bytes(32)))
RESPONSE = PaymentResponse(True, 31337, SIGNER)

# The example of the x402 v2 HTTP transport: a server that takes the scheme "exact" only.
FOREIGN = {
    "x402Version": 2,
    "error": "PAYMENT-SIGNATURE header is required",
    "resource": {
        "url": "https://api.example.com/premium-data",
        "description": "Access to premium market data",
        "mimeType": "application/json",
    },
    "accepts": [
        {
            "scheme": "exact",
            "network": "eip155:84532",
            "amount": "10000",
            "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
            "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
            "maxTimeoutSeconds": 60,
            "extra": {"name": "USDC", "version": "2"},
        }
    ],
}

ways = st.builds(
    PaymentRequirements, st.integers(1, 10**15), amounts, addresses, addresses, st.integers(0, 10**6)
)


class WaypostScheme:
    """What a stock client needs to pay a waypost: a signer and its running total."""

    scheme = "waypost-channel"

    def __init__(self) -> None:
        self.total = 0

    def create_payment_payload(self, requirements: StockRequirements, *_: Any) -> dict[str, Any]:
        self.total += int(requirements.amount)
        chain_id = int(requirements.network.removeprefix("eip155:"))
        receipt = Receipt(checksum_of(requirements.pay_to), checksum_of(requirements.asset), self.total)
        domain = channels_domain(chain_id, requirements.extra["channels"])
        signature = receipt.sign(domain, KEY).to_hex()
        return {"signer": SIGNER, "cumulative": str(self.total), "signature": signature}


def checksum_of(address: str) -> Any:
    return checksum(bytes.fromhex(address[2:]))


def node(request: httpx.Request) -> httpx.Response:
    """Asks for payment, and answers with what was paid."""
    header = request.headers.get(PaymentPayload.header)
    if header is None:
        return httpx.Response(402, headers={PaymentRequired.header: REQUIRED.to_header()})
    payload = PaymentPayload.from_header(header)
    verifier = ReceiptVerifier(channels_domain(31337, CHANNELS), PAYEE, TOKEN)
    verifier.verify(payload.cumulative, payload.signature, payload.signer)
    headers = {PaymentResponse.header: PaymentResponse(True, 31337, payload.signer).to_header()}
    return httpx.Response(200, headers=headers, json={"paid": payload.cumulative})


async def test_a_stock_client_pays() -> None:
    client = x402Client().set_spend_controls(False)
    client.register(network(31337), WaypostScheme())
    transport = x402AsyncTransport(client, httpx.MockTransport(node))
    async with httpx.AsyncClient(transport=transport) as http:
        answers = [await http.post("http://node.test/v1/messages", json={}) for _ in range(2)]
    assert [answer.json() for answer in answers] == [{"paid": 1_000}, {"paid": 2_000}]
    settled = decode_payment_response_header(answers[0].headers["PAYMENT-RESPONSE"])
    assert (settled.success, settled.payer, settled.network) == (True, SIGNER, "eip155:31337")


def test_a_stock_client_reads_the_402() -> None:
    stock = decode_payment_required_header(REQUIRED.to_header())
    assert stock.model_dump(by_alias=True, exclude_none=True) == REQUIRED.to_json()


def test_the_headers_are_named_as_in_the_transport() -> None:
    names = [kind.header for kind in (PaymentRequired, PaymentPayload, PaymentResponse)]
    assert names == ["PAYMENT-REQUIRED", "PAYMENT-SIGNATURE", "PAYMENT-RESPONSE"]


def test_ways_of_other_schemes_are_passed_over() -> None:
    found = PaymentRequired.from_json(FOREIGN)
    assert found.accepts == ()
    assert found.resource == "https://api.example.com/premium-data"
    both = FOREIGN | {"accepts": [*FOREIGN["accepts"], WAY.to_json()]}  # type: ignore[misc]
    assert PaymentRequired.from_json(both).accepts == (WAY,)


@given(st.builds(PaymentRequired, st.text(), st.text(), st.lists(ways).map(tuple)))
def test_requirements_survive_the_header(required: PaymentRequired) -> None:
    assert PaymentRequired.from_header(required.to_header()) == required


@given(st.builds(PaymentPayload, ways, addresses, amounts, signatures))
def test_payloads_survive_the_header(payload: PaymentPayload) -> None:
    assert PaymentPayload.from_header(payload.to_header()) == payload


@given(st.builds(PaymentResponse, st.booleans(), st.integers(1, 10**15), addresses, st.text(), st.text()))
def test_responses_survive_the_header(response: PaymentResponse) -> None:
    assert PaymentResponse.from_header(response.to_header()) == response


@given(st.text())
def test_any_text_is_one_error(text: str) -> None:
    with pytest.raises(InvalidPayment):
        PaymentPayload.from_header(text)


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"x402Version":' + b"9" * 5_000 + b"}"]
)
def test_malformed_headers(content: bytes) -> None:
    with pytest.raises(InvalidPayment):
        PaymentPayload.from_header(base64.b64encode(content).decode())


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("x402Version", 1, InvalidPayment),
        ("x402Version", "2", InvalidPayment),
        ("accepted", None, InvalidPayment),
        ("accepted.scheme", "exact", InvalidPayment),
        ("accepted.network", "eip155:0", InvalidPayment),
        ("accepted.network", "eip155:01", InvalidPayment),
        ("accepted.network", "eip155:1\n", InvalidPayment),
        ("accepted.network", "solana:1", InvalidPayment),
        ("accepted.amount", 1000, InvalidPayment),
        ("accepted.amount", str(2**128), AmountOutOfRange),
        ("accepted.asset", "USD", InvalidAddress),
        ("accepted.payTo", "merchant", InvalidAddress),
        ("accepted.maxTimeoutSeconds", -1, InvalidPayment),
        ("accepted.extra", [], InvalidPayment),
        ("payload", "", InvalidPayment),
        ("payload.signer", "0x00", InvalidAddress),
        ("payload.cumulative", "-1", InvalidPayment),
        ("payload.cumulative", str(2**128), AmountOutOfRange),
        ("payload.signature", "0x" + "00" * 65, InvalidSignature),
    ],
)
def test_malformed_payloads(path: str, value: object, error: type[Exception]) -> None:
    written = json.loads(json.dumps(PAYLOAD.to_json()))
    *outer, name = path.split(".")
    part = written[outer[0]] if outer else written
    part[name] = value
    with pytest.raises(error) as caught:
        PaymentPayload.from_json(written)
    assert caught.type is error


@pytest.mark.parametrize("change", [{"success": 1}, {"success": None}, {"transaction": None}, {"network": 1}])
def test_malformed_responses(change: dict[str, object]) -> None:
    with pytest.raises(InvalidPayment):
        PaymentResponse.from_json(RESPONSE.to_json() | change)


def test_optional_parts_may_be_left_out() -> None:
    bare = {name: part for name, part in WAY.to_json().items() if name != "extra"}
    assert PaymentRequirements.from_json(bare).extra == {}
    silent = {name: part for name, part in REQUIRED.to_json().items() if name != "error"}
    assert PaymentRequired.from_json(silent).error == ""
