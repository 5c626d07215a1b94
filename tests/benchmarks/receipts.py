"""Measures one receipt check, and eth-account's `recover_message` on the same receipts beside it.
Run it with `python -m tests.benchmarks.receipts [--json]`."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter_ns

from eth_account import Account
from eth_account.messages import encode_typed_data

from waypost.errors import InvalidReceipt
from waypost.protocol.eip712 import channels_domain
from waypost.protocol.receipts import Receipt, ReceiptVerifier, SignedReceipt
from waypost.protocol.signatures import address_of, checksum

BUDGET_US = 60.0
KEY = b"\x07" * 32
SIGNER = address_of(KEY)
CHANNELS, PAYEE, TOKEN = (checksum(bytes([n]) * 20) for n in (1, 2, 3))
DOMAIN = channels_domain(31337, CHANNELS)
VERIFIER = ReceiptVerifier(DOMAIN, PAYEE, TOKEN)


def sign_receipts(count: int) -> list[SignedReceipt]:
    """Receipts with growing totals, as one channel signs them."""
    receipts = [Receipt(PAYEE, TOKEN, 1_000 * n) for n in range(1, count + 1)]
    return [SignedReceipt(receipt, receipt.sign(DOMAIN, KEY)) for receipt in receipts]


def check(signed: SignedReceipt) -> None:
    """What a node does for each receipt."""
    VERIFIER.verify(signed.cumulative, signed.signature, SIGNER)


def check_with_eth_account(signed: SignedReceipt) -> None:
    """The same through the general library."""
    message = encode_typed_data(full_message=signed.receipt.typed_data(DOMAIN))
    if Account.recover_message(message, signature=signed.signature.to_rsv()) != SIGNER:
        raise InvalidReceipt


def measure(work: Callable[[SignedReceipt], None], receipts: Sequence[SignedReceipt]) -> float:
    """Median microseconds of one call."""
    times = []
    for signed in receipts:
        start = perf_counter_ns()
        work(signed)
        times.append(perf_counter_ns() - start)
    return median(times) / 1_000


def main() -> int:
    """Prints the figures; fails when a check takes longer than its budget."""
    parser = argparse.ArgumentParser(description="Measure a receipt check.")
    parser.add_argument("--count", type=int, default=20_000, help="receipts to check (default 20000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    receipts = sign_receipts(arguments.count)
    ours = measure(check, receipts)
    theirs = measure(check_with_eth_account, receipts[: max(1, arguments.count // 20)])
    figures = {
        "receipts": arguments.count,
        "check_us": round(ours, 1),
        "checks_per_second": round(1e6 / ours),
        "eth_account_us": round(theirs, 1),
        "ratio": round(theirs / ours, 1),
        "budget_us": BUDGET_US,
    }
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(
            f"receipt check     {ours:8.1f} µs  ({figures['checks_per_second']}/s, budget {BUDGET_US:.0f} µs)"
        )
        print(f"eth-account       {theirs:8.1f} µs  ({figures['ratio']} times as long)")
    return int(ours > BUDGET_US)


if __name__ == "__main__":
    sys.exit(main())
