"""How every noun of the command line is set up: short help, examples kept as they are written."""

import inspect
from collections.abc import Callable
from typing import Any

import typer


def noun(help: str) -> typer.Typer:
    """A group of commands; without one of them it shows its help."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)

    @app.callback(invoke_without_command=True)
    def show_help(ctx: typer.Context) -> None:
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help())

    show_help.__doc__ = help
    return app


def examples(*lines: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Append examples to a command's help, one on each line."""

    def extend(command: Callable[..., Any]) -> Callable[..., Any]:
        shown = "\n".join(f"  {line}" for line in lines)
        command.__doc__ = f"{inspect.getdoc(command)}\n\n\b\nExamples:\n{shown}"
        return command

    return extend
