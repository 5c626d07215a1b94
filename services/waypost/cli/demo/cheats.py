"""The act in which Mallory cheats. She speaks HTTP by hand, since the SDK would not do any of this."""

import asyncio
import secrets
import time
from dataclasses import replace

from waypost.chain.channels import Claimed
from waypost.cli.demo.stage import DOLLAR, Stage, Waypost, close
from waypost.client.channel import Channel
from waypost.errors import DemoFailed
from waypost.protocol import mailboxes
from waypost.protocol.messages import Message
from waypost.protocol.payments import PaymentPayload, PaymentRequired, PaymentRequirements
from waypost.protocol.receipts import Receipt

DEPOSIT = 1 * DOLLAR
RETENTION_SECONDS = 24 * 3600
CLAIM_SECONDS = 30.0
"""How long the play waits for a claim before it gives up."""


async def cheat(stage: Stage) -> None:
    """Six ways to take what was not paid for, or to take payment back."""
    victim, other = stage.wayposts[:2]
    mallory = await stage.meet("Mallory", 2 * DEPOSIT)
    node = await mallory.nodes.get(victim.operator)
    channel = await mallory.channels.open(node, await mallory.channels.terms(node, DEPOSIT))
    # One honest message, so that there is a paid receipt to abuse.
    await mallory.mailbox.send(
        mallory.mailbox.address, b"Dear me, this one is paid for.", retention=RETENTION_SECONDS
    )
    signed, deposited = channel.books.signed, channel.books.deposited

    price = await _refused(stage, "unpaid_request", victim, None, "payment_required")
    honest = Receipt(channel.payee, channel.token, signed)
    fresh = replace(honest, cumulative=signed + price.amount)
    stranger = secrets.token_bytes(32)
    elsewhere, too_much = replace(fresh, payee=other.operator), replace(honest, cumulative=deposited + 1)
    for name, receipt, key, reason in (
        ("stale_receipt", honest, channel.key, "stale_receipt"),
        ("receipt_for_another_node", elsewhere, channel.key, "receipt_for_another_node"),
        ("forged_signature", fresh, stranger, "invalid_receipt"),
        ("receipt_above_deposit", too_much, channel.key, "receipt_exceeds_deposit"),
    ):
        payment = PaymentPayload(
            replace(price, pay_to=receipt.payee),
            channel.signer,
            receipt.cumulative,
            receipt.sign(stage.deployed.channels.domain(), key),
        )
        await _refused(stage, name, victim, payment, reason)
    await channel.reconcile()  # raises if any of it was charged after all
    await _close_before_the_claim(stage, channel)


async def _refused(
    stage: Stage, name: str, victim: Waypost, payment: PaymentPayload | None, reason: str
) -> PaymentRequirements:
    """Asks the node to keep a message; returns what it wants to be paid."""
    topic = mailboxes.topic(secrets.token_bytes(32), mailboxes.day_of(int(time.time())))
    message = Message(topic, secrets.token_bytes(200), time.time_ns())
    answer = await stage.http.post(
        victim.endpoint + "/v1/messages",
        json={**message.to_json(), "retention": RETENTION_SECONDS},
        headers={PaymentPayload.header: payment.to_header()} if payment else {},
    )
    problem = answer.json()
    stage.cheats[name] = answer.is_client_error and problem.get("code") == reason
    tell = stage.narrator.fact if stage.cheats[name] else stage.narrator.failure
    tell(f"{name}: {answer.status_code} {problem.get('code')}. {problem.get('detail', '')}")
    if payment is not None:
        return payment.accepted
    return PaymentRequired.from_header(answer.headers[PaymentRequired.header]).accepts[0]


async def _close_before_the_claim(stage: Stage, channel: Channel) -> None:
    """Mallory starts closing in the hope of a full refund; the node's claim must come first."""
    mallory, owed = stage.people["Mallory"], channel.books.signed
    if any(channel.signer in dict(claim.entries) for claim in await stage.claims()):
        raise DemoFailed("The node claimed before the closing began, so this shows nothing.")
    await mallory.channels.close(channel, stage.bank, consent=False)
    claim = await _claim_of(stage, channel)
    await close(mallory, channel, stage.bank, consent=False)
    state = await stage.deployed.channels.channel(channel.payee, channel.token, channel.signer)
    stage.cheats["close_before_claim"] = claim is not None and state.claimed == owed
    if claim is not None and state.claimed == owed:
        stage.narrator.fact(
            f"close_before_claim: the node claimed its {owed / DOLLAR:.6f} in block {claim.block_number}, "
            "before the channel could close"
        )
    else:
        stage.narrator.failure(f"close_before_claim: {state.claimed} of {owed} was claimed")


async def _claim_of(stage: Stage, channel: Channel) -> Claimed | None:
    give_up = time.monotonic() + CLAIM_SECONDS
    while time.monotonic() < give_up:
        for claim in await stage.claims():
            if channel.signer in dict(claim.entries):
                return claim
        await asyncio.sleep(0.1)
    return None
