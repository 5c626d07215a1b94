"""Receipts: one payee, one token, one chain, one signer."""

import json

import pytest
from eth_typing import ChecksumAddress
from hypothesis import given
from tests.services.protocol.strategies import addresses, amounts, private_keys, words

from waypost.errors import AmountOutOfRange, InvalidReceipt, InvalidSignature
from waypost.protocol.eip712 import channels_domain
from waypost.protocol.receipts import Receipt, ReceiptVerifier, SignedReceipt
from waypost.protocol.signatures import Signature, address_of, checksum

KEY = b"\x07" * 32
SIGNER = address_of(KEY)
CHANNELS, PAYEE, TOKEN, OTHER = (checksum(bytes([n]) * 20) for n in (1, 2, 3, 4))
DOMAIN = channels_domain(31337, CHANNELS)
VERIFIER = ReceiptVerifier(DOMAIN, PAYEE, TOKEN)


def signed(cumulative: int) -> SignedReceipt:
    receipt = Receipt(PAYEE, TOKEN, cumulative)
    return SignedReceipt(receipt, receipt.sign(DOMAIN, KEY))


@given(addresses, addresses, addresses, amounts, private_keys)
def test_the_lean_path_equals_the_struct(
    channels: ChecksumAddress, payee: ChecksumAddress, token: ChecksumAddress, cumulative: int, key: bytes
) -> None:
    domain = channels_domain(1, channels)
    receipt = Receipt(payee, token, cumulative)
    signature = receipt.sign(domain, key)
    verifier = ReceiptVerifier(domain, receipt.payee, receipt.token)
    assert verifier.signer(cumulative, signature) == address_of(key) == receipt.recover(domain, signature)


def test_a_sound_receipt() -> None:
    receipt = signed(5)
    VERIFIER.verify(5, receipt.signature, SIGNER)
    assert receipt.cumulative == 5
    assert receipt.to_abi() == (5, receipt.signature.r, receipt.signature.vs)


@pytest.mark.parametrize(
    "verifier",
    [
        ReceiptVerifier(DOMAIN, OTHER, TOKEN),
        ReceiptVerifier(DOMAIN, PAYEE, OTHER),
        ReceiptVerifier(channels_domain(31337, OTHER), PAYEE, TOKEN),
        ReceiptVerifier(channels_domain(1, CHANNELS), PAYEE, TOKEN),
    ],
    ids=["payee", "token", "contract", "chain"],
)
def test_a_receipt_pays_nobody_else(verifier: ReceiptVerifier) -> None:
    with pytest.raises(InvalidReceipt) as caught:
        verifier.verify(5, signed(5).signature, SIGNER)
    assert caught.value.details["signer"] == SIGNER


def test_a_receipt_pays_no_other_amount() -> None:
    with pytest.raises(InvalidReceipt):
        VERIFIER.verify(6, signed(5).signature, SIGNER)


@given(words, words)
def test_an_arbitrary_signature_is_one_error(r: bytes, vs: bytes) -> None:
    with pytest.raises(InvalidReceipt):
        VERIFIER.verify(5, Signature(r, vs), SIGNER)


@pytest.mark.parametrize("cumulative", [-1, 2**128])
def test_totals_out_of_range(cumulative: int) -> None:
    with pytest.raises(AmountOutOfRange):
        VERIFIER.signer(cumulative, signed(5).signature)
    with pytest.raises(AmountOutOfRange):
        Receipt(PAYEE, TOKEN, cumulative)


@given(amounts)
def test_receipts_survive_json(cumulative: int) -> None:
    receipt = signed(cumulative)
    written = json.loads(json.dumps(receipt.to_json()))
    assert set(written) == {"cumulative", "signature"}
    assert SignedReceipt.from_json(written, PAYEE, TOKEN) == receipt


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"cumulative": 5}, InvalidReceipt),
        ({"cumulative": str(2**128)}, AmountOutOfRange),
        ({"signature": None}, InvalidReceipt),
        ({"signature": "0x00"}, InvalidSignature),
    ],
)
def test_malformed_json(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        SignedReceipt.from_json(signed(5).to_json() | change, PAYEE, TOKEN)
