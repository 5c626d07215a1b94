"""`waypost node collect`, which is `waypost rln collect`, too. What it needs of a node is imported when it
runs: members' commands come without, and should not wait for it."""

import asyncio
from typing import Annotated

import typer

from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DataDir, DryRun, Home, Json, PasswordFile, Yes
from waypost.cli.output import Output
from waypost.cli.places import Places


@examples(
    "waypost node collect --dry-run", "waypost node collect --yes", "waypost rln collect --expire --yes"
)
def collect(
    expire: Annotated[
        bool,
        typer.Option(
            "--expire", help="Also remove members that nobody pays for any more; the gas account is rewarded."
        ),
    ] = False,
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Collect the fees of RLN members whose home node this is; the node pays the gas.

    Four fifths go to the payee, a fifth is burned. What waits is not lost: collect when it is worth its gas.
    """
    from waypost.cli.node import collecting

    folder = (data_dir or Places.under(home).node).expanduser().absolute()
    asyncio.run(collecting.run(Output(json), folder, password_file, expire=expire, dry_run=dry_run, yes=yes))
