"""What Brownie needs to be quick and repeatable on anvil."""

import gc
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from brownie import chain, web3
from requests import Session
from web3 import HTTPProvider
from web3.middleware import Web3Middleware

Request = Callable[[str, Any], Any]


class AnswerWhenMined(Web3Middleware):
    """Sends by anvil's synchronous methods. The usual ones answer while a large transaction is still being
    mined, and Brownie then sleeps for a second, or takes the transaction for dropped."""

    def wrap_make_request(self, make_request: Request) -> Request:
        def request(method: str, params: Any) -> Any:
            if method not in ("eth_sendTransaction", "eth_sendRawTransaction"):
                return make_request(method, params)
            answer = make_request(f"{method}Sync", params)
            if "result" in answer:
                answer["result"] = answer["result"]["transactionHash"]
            return answer

        return request


def prepare() -> None:
    """Call once a session, when Brownie is connected."""
    if AnswerWhenMined in web3.middleware_onion:
        return
    web3.middleware_onion.add(AnswerWhenMined)
    # One connection for all threads, and no search for proxies before every request.
    session = Session()
    session.trust_env = False
    web3.provider = HTTPProvider(web3.provider.endpoint_uri, session=session)
    # Whenever it saves or reverts the chain, Brownie looks up the source of every function on the stack, to
    # warn of callers other than its chain.
    caller = SimpleNamespace(frame=SimpleNamespace(f_locals={"self": chain}))
    sys.modules["brownie.network.rpc"].inspect = SimpleNamespace(stack=lambda: (None, caller))
    # Brownie collects garbage whenever it reverts the chain, and what is loaded by now is none.
    gc.freeze()


def next_block_at(timestamp: int) -> None:
    """The next transaction happens at exactly this time."""
    answer = web3.provider.make_request("evm_setNextBlockTimestamp", [timestamp])
    assert "error" not in answer, answer


def mine(blocks: int) -> None:
    """So many empty blocks, a second apart, by one request; Brownie sends one for each."""
    answer = web3.provider.make_request("anvil_mine", [hex(blocks)])
    assert "error" not in answer, answer


def in_one_block(timestamp: int, *transactions: tuple[Any, Any, str]) -> list[Any]:
    """The receipts of (sender, contract, calldata), mined together, in this order, at exactly this time."""
    request = web3.provider.make_request
    request("evm_setAutomine", [False])
    try:
        hashes = []
        for sender, contract, data in transactions:
            fields = {"from": str(sender), "to": contract.address, "data": data, "gas": hex(10**6)}
            hashes.append(request("eth_sendTransaction", [fields])["result"])
        next_block_at(timestamp)
        request("evm_mine", [])
    finally:
        request("evm_setAutomine", [True])
    return [web3.eth.get_transaction_receipt(each) for each in hashes]
