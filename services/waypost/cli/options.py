"""Options that several commands share, each explained once."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_HOME = Path("~/.waypost")
DEFAULT_RPC_URL = "http://127.0.0.1:8545"

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]

Home = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="WAYPOST_HOME",
        help="Folder of the account and all state.",
        show_default="~/.waypost",
    ),
]
RpcUrl = Annotated[
    str, typer.Option("--rpc-url", envvar="WAYPOST_RPC_URL", help="JSON-RPC endpoint of the chain.")
]
ManifestPath = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        envvar="WAYPOST_MANIFEST",
        help="Where the contracts are; made by `waypost deploy`.",
        show_default="HOME/deployments/CHAIN-ID.json",
    ),
]
NetworkFile = Annotated[
    Path | None,
    typer.Option(
        help="A TOML file of your own instead of a bundled preset; see docs/deploying.md.",
        show_default="the bundled preset",
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file", help="File with the password; else WAYPOST_PASSWORD, else you are asked."
    ),
]
Keystore = Annotated[
    Path | None,
    typer.Option(
        "--keystore", help="Key file that signs and pays the gas: a wallet's keystore, or an account."
    ),
]
DevAccount = Annotated[
    int | None,
    typer.Option(
        "--dev-account",
        min=0,
        max=9,
        help="Use this funded account of the embedded chain instead of a key file.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", envvar="WAYPOST_DATA_DIR", help="The node's folder.", show_default="HOME/node"
    ),
]
RlnKeys = Annotated[
    Path | None,
    typer.Option(
        "--rln-keys",
        envvar="WAYPOST_RLN_KEYS",
        help="Folder with the proving key, a .zkey file that is found by its hash.",
        show_default="HOME/rln-keys",
    ),
]
OneNode = Annotated[
    str | None,
    typer.Option("--node", help="Operator address of a node.", show_default="chosen from the registry"),
]
Operators = Annotated[
    list[str] | None,
    typer.Option(
        "--node", help="Operator address of a node; repeatable.", show_default="chosen from the registry"
    ),
]
