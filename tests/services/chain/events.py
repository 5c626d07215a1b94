"""The events of transactions, for tests to look at."""

from collections.abc import Sequence
from typing import Any

from waypost.chain.blocks import Event, TransactionReceipt
from waypost.chain.contract import Contract


def plain(event: Event) -> dict[str, Any]:
    """An event's own fields."""
    origin = Event.__dataclass_fields__
    return {name: getattr(event, name) for name in event.__dataclass_fields__ if name not in origin}


def decoded(contract: Contract, receipt: TransactionReceipt) -> Sequence[Event]:
    """The contract's events in a transaction, each with its place checked."""
    found = [(log, contract.decode(log)) for log in receipt.logs]
    for log, event in found:
        if event is not None:
            assert event.contract == contract.address
            assert event.transaction_hash == receipt.hash
            assert (event.block_number, event.block_hash) == (receipt.block_number, receipt.block_hash)
            assert event.log_index == log.index
    return [event for _, event in found if event is not None]
