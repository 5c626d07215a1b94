"""`waypost node run`: the node itself, until it is stopped."""

from typing import Annotated

import typer

from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DataDir, Home, Json, PasswordFile
from waypost.cli.output import Output
from waypost.cli.passwords import password
from waypost.cli.places import Places
from waypost.errors import InvalidConfig
from waypost.node import logs, server, settings
from waypost.node.server import Listening

LEVELS = ("debug", "info", "warning", "error")


@examples("waypost node run", "WAYPOST_PASSWORD=… waypost node run --data-dir /var/lib/waypost")
def run(
    data_dir: DataDir = None,
    log_level: Annotated[str, typer.Option(help=f"One of {', '.join(LEVELS)}.")] = "info",
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Run the node until Ctrl-C or SIGTERM.

    It stores and delivers messages, books receipts, and claims by itself. Logs go to standard error.
    """
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()
    if log_level not in LEVELS:
        raise InvalidConfig(f"There is no log level {log_level[:20]!r}; there are {', '.join(LEVELS)}.")
    settings.read_config(folder)  # names a missing folder before anybody is asked for a password
    settings.renew_admin_token(folder)
    loaded = settings.load(folder, password(str(folder), password_file))

    def started(listening: Listening) -> None:
        out.result(
            {"endpoint": loaded.endpoint, "port": listening.port, "adminPort": listening.admin_port},
            [f"{loaded.endpoint} answers (port {listening.port}, operator's port {listening.admin_port})"],
        )

    logs.configure(log_level)
    server.run(loaded, started)
