"""The published x402 client, unchanged, pays a node: all it needs is a scheme of a dozen lines."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
from tests.services.node.api.served import ENDPOINT, Customer, Served, message, price_of
from x402 import x402Client
from x402.http.clients.httpx import x402AsyncTransport
from x402.http.utils import decode_payment_response_header
from x402.schemas import PaymentRequirements


@dataclass
class WaypostChannel:
    """Raises the channel's total by what is missing on its balance."""

    customer: Customer
    scheme: str = "waypost-channel"

    def create_payment_payload(self, requirements: PaymentRequirements, _: Any = None) -> dict[str, Any]:
        missing = int(requirements.amount) - int(requirements.extra["balance"])
        self.customer.total += max(missing, int(requirements.extra["minReceipt"]))
        return {
            "signer": self.customer.signer,
            "cumulative": str(self.customer.total),
            "signature": self.customer.receipt(self.customer.total).to_hex(),
        }


async def test_a_stock_x402_client_pays_a_node(api: Served) -> None:
    customer = await api.customer()
    client = x402Client().register(f"eip155:{api.settings.chain_id}", WaypostChannel(customer))
    client.set_spend_controls(False)  # it knows no test tokens
    transport = x402AsyncTransport(client, httpx.ASGITransport(api.app))
    spent = 0
    async with httpx.AsyncClient(transport=transport, base_url=ENDPOINT) as http:
        for text in ("a", "b" * 2000, "c"):
            body = message(text)
            answer = await http.post("/v1/messages", json=body)
            spent += price_of(body)
            assert (answer.status_code, answer.json()["spent"]) == (201, str(spent)), answer.text
            settled = decode_payment_response_header(answer.headers["PAYMENT-RESPONSE"])
            assert (settled.success, settled.payer) == (True, customer.signer)
    assert json.loads(answer.text)["paid"] == str(customer.total)
