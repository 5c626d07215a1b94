"""POST /v1/receipts: raises what is paid on a channel, ahead of the requests that will spend it."""

from fastapi import APIRouter

from waypost.node.api import models
from waypost.node.api.access import NodeHere
from waypost.node.api.errors import problems
from waypost.node.api.fields import Address, Amount
from waypost.node.api.models import Accounts
from waypost.protocol.receipts import Receipt, SignedReceipt

router = APIRouter(prefix="/v1", tags=["receipts"])


class RaiseReceipt(models.GivenReceipt):
    """A receipt for this node, of the channel that is named."""

    token: Address
    signer: Address


class Raised(Accounts):
    """The books after a receipt."""

    balance: Amount


@router.post("/receipts", responses=problems(402, 404, 409, 503))
async def raise_receipt(node: NodeHere, body: RaiseReceipt) -> Raised:
    """Takes in a higher receipt. One that is not higher changes nothing, and is no error."""
    node.need_chain()
    receipt = SignedReceipt(Receipt(node.settings.payee, body.token, body.cumulative), body.signature)
    account = await node.ledger.accept(body.signer, receipt)
    return Raised(charged=0, paid=account.paid, spent=account.spent, balance=max(0, account.balance))
