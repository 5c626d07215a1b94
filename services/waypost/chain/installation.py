"""Installs the deployment proxy where it is missing. Its transaction was signed once for all chains, and is
mined once on each: a chain is asked whether it takes it before the installer is given money."""

import asyncio

from waypost.chain import proxy
from waypost.chain.amounts import plain
from waypost.chain.confirming import pace
from waypost.chain.connection import Call, Connection
from waypost.chain.transactions import TIMEOUT, Persist, Sender, SignedTransaction
from waypost.errors import DeploymentProxyMissing, FeeTooHigh, InsufficientFunds, RpcFailed
from waypost.protocol.signatures import keccak

TRANSACTION = SignedTransaction(keccak(proxy.INSTALLATION), proxy.INSTALLATION, 0)


async def missing(connection: Connection) -> int:
    """What the installer lacks, in wei: somebody may have given it some before."""
    return max(0, proxy.INSTALLATION_COST - await connection.balance(proxy.INSTALLER))


async def require_possible(connection: Connection) -> None:
    """What can be told without sending anything.

    Raises DeploymentProxyMissing if the transaction can never work on this chain, FeeTooHigh if it does not
    now, RpcUnreachable, RpcFailed.
    """
    if await connection.nonce(proxy.INSTALLER):
        raise _refused("it was mined and failed, and cannot be mined again.")
    try:
        gas = await connection.estimate_creation(proxy.INSTALLER, proxy.CREATION)
    except RpcFailed:
        gas = 0  # not every endpoint estimates for strangers: sending it tells
    if gas > proxy.INSTALLATION_GAS:
        raise _refused(f"creating it takes {gas:,} gas here, and it has {proxy.INSTALLATION_GAS:,}.")
    asked = await connection.base_fee()
    if asked > proxy.INSTALLATION_PRICE:
        fee, offered = plain(asked, 9), plain(proxy.INSTALLATION_PRICE, 9)
        raise FeeTooHigh(
            f"The deployment proxy's transaction offers {offered} gwei per gas, and the chain asks {fee}: run"
            " this again when it asks less.",
            baseFee=str(asked),
            offered=str(proxy.INSTALLATION_PRICE),
        )


async def install(sender: Sender, persist: Persist) -> None:
    """Gives the installer what it lacks and sends its transaction, unless the proxy is there. `persist` is
    awaited before money is sent.

    Raises DeploymentProxyMissing, before any money is sent if the endpoint says so; else as `Sender.send`.
    """
    connection = sender.connection
    if await connection.code(proxy.ADDRESS):
        return
    try:
        await _require_taken(sender)
        lacking = await missing(connection)
        if lacking and not await connection.code(proxy.ADDRESS):
            await sender.send(
                Call(proxy.INSTALLER, b"", lacking, "Funding the deployment proxy"), persist=persist
            )
            await _require_taken(sender)
        pause = await pace(connection)
        async with asyncio.timeout(TIMEOUT):
            while not await connection.code(proxy.ADDRESS):  # noqa: ASYNC110
                await asyncio.sleep(pause)
    except TimeoutError as error:
        raise _refused(f"it was not mined within {TIMEOUT:g} s.") from error


async def _require_taken(sender: Sender) -> None:
    """Sends the transaction, which is refused for want of money at most: endpoints look at its form first."""
    try:
        await sender.broadcast(TRANSACTION)
    except InsufficientFunds:
        pass
    except RpcFailed as error:
        words = str(error.details.get("message")).lower().replace(" ", "")
        if "insufficientfunds" not in words:  # one word at Nethermind
            raise _refused(str(error)) from error


def _refused(reason: str) -> DeploymentProxyMissing:
    # Many chains refuse transactions without a chain id, or ask for more gas than this one has.
    sentence = f"The chain has no deployment proxy, and does not take its transaction: {reason}"
    return DeploymentProxyMissing(sentence, address=proxy.ADDRESS)
