"""Raw transactions and tiny contracts, for tests of the chain itself."""

from typing import Any

from eth_account.signers.local import LocalAccount
from web3 import AsyncWeb3

from waypost.chain.embedded import CHAIN_ID

GWEI = 10**9
FRIEND: Any = "0x1111111111111111111111111111111111111111"
# Runtime code by hand: what it stores or returns is what the test asks about.
RETURN_TIMESTAMP = "425f5260205ff3"
RETURN_NUMBER = "435f5260205ff3"
REVERT_TWO_WORDS = "60015f5260026020525f604090fd"
LOG_CALLDATA = "365f5f375f35365fa100"  # LOG1(topic = first word, data = calldata)
SPIN = "5b5f56"
INVALID = "fe"  # burns all gas


def signed(account: LocalAccount, **fields: Any) -> bytes:
    defaults: dict[str, Any] = {"chainId": CHAIN_ID, "nonce": 0, "gas": 100_000, "value": 0, "to": FRIEND}
    if "gasPrice" not in fields:
        defaults |= {"type": 2, "maxFeePerGas": 3 * GWEI, "maxPriorityFeePerGas": GWEI}
    return bytes(account.sign_transaction(defaults | fields).raw_transaction)


async def create(web3: AsyncWeb3[Any], account: LocalAccount, runtime: str) -> Any:
    """Deploys runtime code; its address."""
    size = len(runtime) // 2
    init = f"60{size:02x}80600a5f395ff3" + "00" + runtime
    nonce = await web3.eth.get_transaction_count(account.address)
    sent = await web3.eth.send_raw_transaction(
        signed(account, nonce=nonce, to=None, data="0x" + init, gas=500_000)
    )
    return (await web3.eth.get_transaction_receipt(sent))["contractAddress"]
