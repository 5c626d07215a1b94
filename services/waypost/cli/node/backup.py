"""`waypost node backup` and `restore`: a node's folder in one file, and back."""

from pathlib import Path
from typing import Annotated

import typer

from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DataDir, Home, Json
from waypost.cli.output import Output
from waypost.cli.places import Places
from waypost.cli.times import utc
from waypost.node import backup as archive


@examples("waypost node backup node-2026-11-25.backup")
def backup(
    file: Annotated[Path, typer.Argument(help="File to write; it must not exist.")],
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Copy settings, encrypted keys and books into one file, while the node runs or not.

    The keys stay encrypted with the folder's password: whoever has the file and the password has the node.
    The token of the operator's listener is in it as it is, so keep the file as you keep the folder.
    """
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()
    target = file.expanduser().absolute()
    manifest = archive.create(folder, target)
    out.result(
        {**manifest, "file": str(target)},
        [f"{target}: {len(manifest['files'])} files, {target.stat().st_size:,} bytes."],
    )


@examples(
    "waypost node restore node-2026-11-25.backup", "waypost node restore FILE --data-dir /var/lib/waypost"
)
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `waypost node backup` made.")],
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Make a node's folder from a backup; an existing one is not touched.

    What the chain knows is read again. Receipts taken after the backup are gone until their clients pay
    again: each receipt is a running total. What clients spent in between is forgotten, to their advantage.
    Never run two nodes from one backup.
    """
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()
    manifest = archive.restore(file.expanduser().absolute(), folder)
    out.result(
        {**manifest, "dataDir": str(folder)},
        [
            f"{folder} is the node of {manifest['operator']} as of {utc(manifest['created'])}.",
            "Next: `waypost node doctor`, then `waypost node run`.",
        ],
    )
