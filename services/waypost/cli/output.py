"""What a command says: its result on standard output, everything else on standard error.
With --json the result is one JSON object, and so is an error."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import typer

from waypost.errors import ConfirmationNeeded, WaypostError


class Output:
    """Where one command's words go."""

    def __init__(self, json: bool) -> None:
        self.json = json

    def progress(self, text: str) -> None:
        """Tell what is happening, on standard error."""
        typer.echo(text, err=True)

    def result(self, data: Mapping[str, Any], lines: Iterable[str]) -> None:
        """The outcome: `data` with --json, `lines` otherwise."""
        if self.json:
            typer.echo(json.dumps(data))
        else:
            for line in lines:
                typer.echo(line)
        sys.stdout.flush()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before money moves. Raises typer.Abort at a no, ConfirmationNeeded without a terminal."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise ConfirmationNeeded(f"{question} Add --yes to confirm, or --dry-run to only look.")
        if not typer.confirm(question, err=True):
            raise typer.Abort()


def error(code: str, sentence: str, details: Mapping[str, Any], *, as_json: bool) -> None:
    """One line on standard error."""
    if as_json:
        typer.echo(json.dumps({"error": {"code": code, "message": sentence, "details": details}}), err=True)
    else:
        typer.echo(f"error[{code}]: {sentence}", err=True)


def describe(fault: WaypostError) -> dict[str, Any]:
    """An error inside of a result."""
    return {"code": fault.code, "message": str(fault), "details": fault.details}
