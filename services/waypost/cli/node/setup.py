"""`waypost node init` and `register`: a folder with keys and settings, then an entry and a stake."""

import asyncio
import secrets
from pathlib import Path
from typing import Annotated

import typer
from eth_typing import ChecksumAddress
from pydantic import ValidationError

from waypost.chain.presets import LOCAL
from waypost.chain.presets import read as read_network
from waypost.chain.verification import examine
from waypost.cli.node import rln
from waypost.cli.node.registration import Registration
from waypost.cli.nouns import examples
from waypost.cli.options import (
    DEFAULT_HOME,
    DEFAULT_RPC_URL,
    DataDir,
    DevAccount,
    DryRun,
    Home,
    Json,
    Keystore,
    ManifestPath,
    NetworkFile,
    PasswordFile,
    RpcUrl,
    Yes,
)
from waypost.cli.output import Output
from waypost.cli.passwords import password, signing_key
from waypost.cli.places import Deployed, Places, deployed
from waypost.errors import InvalidConfig
from waypost.node import settings
from waypost.protocol.fields import parse_address
from waypost.protocol.signatures import address_of

LOCAL_POLL_SECONDS = 0.5

Price = Annotated[str | None, typer.Option(help="In whole tokens, such as 0.00001.")]


@examples(
    "waypost node init --dev-account 1",
    "waypost node init --keystore wallet.json --endpoint https://node.example --host 0.0.0.0 --port 443"
    " --tls-cert cert.pem --tls-key key.pem",
    "waypost node init --keystore wallet.json --endpoint https://node.example --trusted-proxy",
)
def init(
    data_dir: DataDir = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Public URL of the node.", show_default="http://127.0.0.1:PORT")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8400,
    admin_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port for the operator's own requests.", show_default="PORT + 1"),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="TLS private key (PEM).")] = None,
    trusted_proxy: Annotated[
        bool, typer.Option("--trusted-proxy", help="A proxy in front of the node ends TLS.")
    ] = False,
    payee: Annotated[
        str | None, typer.Option(help="Address that is paid.", show_default="the operator")
    ] = None,
    store_price: Price = None,
    fetch_price: Price = None,
    relay_price: Price = None,
    opening_price: Price = None,
    min_deposit: Price = None,
    with_rln: Annotated[
        bool | None,
        typer.Option(
            "--rln/--no-rln", help="Follow RLN's members.", show_default="if the manifest has the contract"
        ),
    ] = None,
    rln_verifying_key: Annotated[
        Path | None, typer.Option(help="Verifying key of the RLN network, a .json file; it is copied.")
    ] = None,
    keystore: Keystore = None,
    dev_account: DevAccount = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    network_file: NetworkFile = None,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Make a node's folder: settings, keys and the admin token.

    The deployment is verified first, as `waypost verify` does it: one on a network of its own kind needs
    --network-file. The operator's key is that of --keystore or --dev-account, or a new one. The node's own
    key and its gas account's are always new. Prices are per KiB and hour kept, per KiB fetched, per KiB
    relayed, and per channel opened. All settings can be changed in node.json later.
    """
    out, places = Output(json), Places.under(home)
    folder = (data_dir or places.node).expanduser().absolute()
    network = None if network_file is None else read_network(network_file)

    async def run() -> None:
        async with deployed(places, rpc_url, manifest) as there:
            (await examine(there.connection, there.manifest, network)).require()
            chain_id = there.connection.chain_id
            key = rln.read_verifying_key(rln_verifying_key, chain_id)
            operator_key = signing_key(keystore, dev_account, password_file, chain_id) or secrets.token_bytes(
                32
            )
            node_key, gas_key = secrets.token_bytes(32), secrets.token_bytes(32)
            operator = address_of(operator_key)
            config = _config(
                {
                    **_chain_part(there, rpc_url),
                    **rln.section(there, with_rln, key),
                    "operator": operator,
                    "payee": operator if payee is None else parse_address(payee, "payee"),
                    "endpoint": endpoint or f"http://127.0.0.1:{port}",
                    "host": host,
                    "port": port,
                    "admin_port": port + 1 if admin_port is None else admin_port,
                    "tls_cert": tls_cert,
                    "tls_key": tls_key,
                    "trusted_proxy": trusted_proxy,
                    "prices": _prices(
                        there,
                        store_per_kib_hour=store_price,
                        fetch_per_kib=fetch_price,
                        relay_per_kib=relay_price,
                        opening=opening_price,
                        min_deposit=min_deposit,
                    ),
                }
            )
            if not config.reachable:
                out.progress(
                    f"Warning: the node would listen on {config.host} alone, where nobody reaches "
                    f"{config.endpoint}: give --host 0.0.0.0, or --trusted-proxy behind a proxy."
                )
            keys = {"operator": operator_key, "node": node_key, "gas": gas_key}
            rln.keep_verifying_key(folder, key)  # before the settings that name it
            settings.initialise(folder, config, keys, password(str(folder), password_file, new=True))
            if config.rln is not None:
                out.progress(f"The node follows RLN's members in {config.rln.contract}.")
            _tell(out, folder, operator, address_of(gas_key), config.endpoint)

    asyncio.run(run())


@examples("waypost node register --dry-run", "waypost node register --stake 50 --yes")
def register(
    stake: Annotated[
        str | None, typer.Option(help="Stake in whole tokens.", show_default="the registry's minimum")
    ] = None,
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Put the node into the registry and stake tokens on it, or bring its entry up to date.

    What is done already is not done again. The operator pays the gas and the stake; `waypost node exit` gets
    the stake back.
    """
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()

    async def run() -> None:
        config = settings.read_config(folder)
        async with Registration.open(config) as registration:
            plan = await registration.plan(stake)
            if dry_run:
                out.result({**plan.to_json(), "dryRun": True}, plan.lines())
                return
            for line in plan.lines():
                out.progress(line)
            if plan.steps:
                registration.require_tokens(plan)
                out.confirm("Send these transactions?", yes=yes)
                secret = password(str(folder), password_file)
                keys = {role: settings.read_key(folder, role, secret) for role in ("operator", "node")}
                if keys["operator"] is None or keys["node"] is None:
                    raise InvalidConfig(f"{folder} lacks the operator's or the node's key.", path=str(folder))
                await registration.carry_out(plan, keys["operator"], keys["node"], out.progress)
            done = await registration.plan(stake)
            out.result(done.to_json(), [f"{config.operator} is registered with {done.staked}."])

    asyncio.run(run())


def _config(values: dict[str, object]) -> settings.NodeConfig:
    try:
        return settings.NodeConfig.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = " ".join(str(part) for part in problem["loc"])
        raise InvalidConfig(
            f"The node cannot be set up so: {where} {problem['msg']}.".replace("  ", " ")
        ) from error


def _chain_part(there: Deployed, rpc_url: str) -> dict[str, object]:
    local = there.manifest.preset == LOCAL.name
    timing: dict[str, object] = {"poll_seconds": LOCAL_POLL_SECONDS} if local else {}
    return {
        "rpc_url": rpc_url,
        "chain_id": there.manifest.chain_id,
        "channels": there.manifest.channels,
        "registry": there.manifest.registry,
        "token": there.manifest.token,
        "start_block": there.manifest.start_block,
        "confirmations": there.manifest.confirmations,
        "min_close_delay": there.manifest.contracts["Channels"].constructor_arguments[0],
        **timing,
    }


def _prices(there: Deployed, **given: str | None) -> dict[str, int]:
    return {name: there.unit.parse(text, "price") for name, text in given.items() if text is not None}


def _tell(
    out: Output, folder: Path, operator: ChecksumAddress, gas_account: ChecksumAddress, endpoint: str
) -> None:
    out.result(
        {
            "dataDir": str(folder),
            "operator": operator,
            "gasAccount": gas_account,
            "endpoint": endpoint,
            "config": str(folder / "node.json"),
        },
        [
            f"folder       {folder}",
            f"operator     {operator}    needs tokens for the stake, and ETH to register",
            f"gas account  {gas_account}    needs ETH for openings and claims: fund it",
            f"endpoint     {endpoint}",
            "Next: `waypost node register`, `waypost node fund`, then `waypost node run`.",
        ],
    )
