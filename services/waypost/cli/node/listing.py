"""`waypost node list`: the registry's nodes as a client sees them."""

import asyncio
import time

from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DEFAULT_RPC_URL, Home, Json, ManifestPath, RpcUrl
from waypost.cli.output import Output, describe
from waypost.cli.places import Places, deployed
from waypost.client.deployment import Deployment
from waypost.client.nodes import Node, Nodes
from waypost.client.transport import http_client
from waypost.errors import WaypostError


@examples("waypost node list", "waypost node list --json | jq .nodes[].operator")
def list_nodes(
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    json: Json = False,
) -> None:
    """List the registry's staked nodes: prices, and what is wrong with those that cannot be used."""
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with deployed(places, rpc_url, manifest) as there, http_client() as http:
            deployment = await Deployment.open(there.connection, there.manifest)
            found = await Nodes(deployment, http, time.time).survey()
            lines = [line for operator, node in found.items() for line in _as_text(operator, node)]
            listed = [{"operator": operator, **_as_json(node)} for operator, node in found.items()]
            out.result({"nodes": listed}, lines or ["The registry lists no staked node."])

    asyncio.run(run())


def _as_json(node: Node | WaypostError) -> dict[str, object]:
    if isinstance(node, WaypostError):
        return {"usable": False, "error": describe(node)}
    descriptor = node.descriptor
    return {
        "usable": True,
        "endpoint": descriptor.endpoint,
        "payee": descriptor.payee,
        "stake": str(node.registered.stake),
        "prices": descriptor.prices.to_json(),
    }


def _as_text(operator: str, node: Node | WaypostError) -> list[str]:
    if isinstance(node, WaypostError):
        return [f"{operator}  unusable: {node}"]
    prices = node.descriptor.prices
    return [
        f"{operator}  {node.descriptor.endpoint}",
        f"    in base units: {prices.store_per_kib_hour} per KiB and hour kept, {prices.fetch_per_kib}"
        f" per KiB fetched, {prices.relay_per_kib} per KiB relayed,",
        f"    {prices.opening} per channel opened, with at least {prices.min_deposit} in it",
    ]
