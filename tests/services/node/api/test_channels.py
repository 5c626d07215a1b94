"""Opening, showing and closing channels over HTTP."""

from typing import Any

from eth_utils.address import to_normalized_address
from tests.services.node.api.served import (
    Customer,
    Served,
    message,
    price_of,
    refused,
)

from waypost.chain.channels import ChannelStatus
from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.transactions import Sender
from waypost.protocol.eip712 import channels_domain
from waypost.protocol.openings import Close
from waypost.protocol.receipts import SignedReceipt
from waypost.protocol.signatures import Signature


async def test_opening_a_channel_without_ether(api: Served) -> None:
    customer = Customer(api.settings)
    request = await api.opening_request(customer, fee=100_000)
    answer = await api.http.post("/v1/channels", json=request)
    assert answer.status_code == 201, answer.text
    opened = answer.json()
    assert (opened["charged"], opened["paid"], opened["spent"]) == ("100000",) * 3
    assert opened["channel"]["signer"] == customer.signer
    state = await api.channels.channel(api.settings.payee, api.settings.token, customer.signer)
    assert (state.status, state.deposited) == (ChannelStatus.OPEN, int(opened["channel"]["deposited"]))
    repeated = await api.http.post("/v1/channels", json=request)
    assert (repeated.status_code, repeated.json()["transaction"]) == (201, opened["transaction"])


async def test_openings_that_the_node_does_not_send(api: Served) -> None:
    customer = Customer(api.settings)
    good = await api.opening_request(customer, fee=100_000)
    stranger = Customer(api.settings)
    before = await api.books()
    cases: list[tuple[dict[str, Any], int, str]] = [
        (
            {"receipt": {"cumulative": "99999", "signature": customer.receipt(99_999).to_hex()}},
            402,
            "receipt_too_small",
        ),
        (
            {"receipt": {"cumulative": "100000", "signature": stranger.receipt(100_000).to_hex()}},
            402,
            "invalid_receipt",
        ),
        ({"signerSignature": "0x" + "11" * 64}, 400, "invalid_signature"),
        ({"opening": {**good["opening"], "payee": stranger.signer}}, 422, "opening_refused"),
        ({"opening": {**good["opening"], "amount": "6000000"}}, 400, "invalid_signature"),
        ({"authorization": {**good["authorization"], "v": 0}}, 422, "opening_refused"),
    ]
    for change, status, code in cases:
        refused(await api.http.post("/v1/channels", json={**good, **change}), status, code)
    assert await api.books() == before
    assert (await api.http.post("/v1/channels", json=good)).status_code == 201


async def test_a_channel_shows_its_books_to_its_own_session_only(api: Served) -> None:
    one, two = await api.open(2)
    session = await api.session(one)
    await api.http.post("/v1/receipts", json=one.raised(500))
    shown = (await api.http.get(one.path, headers=session)).json()
    assert shown["receipt"] == {"cumulative": "500", "signature": one.receipt(500).to_hex()}
    assert (shown["paid"], shown["spent"], shown["balance"], shown["status"]) == ("500", "0", "500", "open")
    lower = to_normalized_address(one.path.split("/")[-1])
    assert (await api.http.get(one.path.replace(one.signer, lower), headers=session)).json() == shown
    refused(await api.http.get(one.path), 401, "session_invalid")
    refused(await api.http.get(two.path, headers=session), 404, "channel_unknown")
    refused(await api.http.get(one.path[:-1] + "z", headers=session), 400, "invalid_address")


async def test_the_consent_to_close_closes_the_channel_on_chain(api: Served) -> None:
    customer = await api.customer()
    session = await api.session(customer)
    await api.http.post("/v1/receipts", json=customer.raised(90_000))
    await api.http.post("/v1/messages", json=message("x" * 5000), headers=session)
    consent = (await api.http.post(customer.path + "/close", headers=session)).json()
    assert consent["close"]["finalCumulative"] == str(price_of(message("x" * 5000)))
    refused(await api.http.post("/v1/messages", json=message(), headers=session), 409, "channel_closing")
    settings = api.settings
    close = Close(
        settings.payee,
        settings.token,
        customer.signer,
        int(consent["close"]["finalCumulative"]),
        consent["close"]["deadline"],
    )
    signature = Signature.from_hex(consent["signature"])
    assert close.recover(channels_domain(settings.chain_id, settings.channels), signature) == settings.payee
    receipt = SignedReceipt.from_json(consent["receipt"], settings.payee, settings.token)
    sender = Sender(api.connection, FUNDED_KEYS[6])
    await sender.send(api.channels.close(close, signature, receipt))
    state = await api.channels.channel(settings.payee, settings.token, customer.signer)
    assert (state.status, state.claimed) == (ChannelStatus.CLOSED, close.final_cumulative)
