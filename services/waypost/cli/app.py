"""The `waypost` command: puts the nouns together and turns every error into one line and an exit code.
0: done. 1: refused or failed, with an error code. 2: the command line makes no sense."""

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from waypost import __version__
from waypost.cli import output
from waypost.errors import FileUnusable, WaypostError

# Imported when they are used: some of them take seconds.
PARTS = {
    "demo": ("demo", "demo"),
    "chain": ("chain", "chain"),
    "deploy": ("deploy", "deploy"),
    "verify": ("verify", "verify"),
    "account": ("account", "app"),
    "token": ("token", "app"),
    "node": ("node", "app"),
    "channel": ("channel", "app"),
    "rln": ("rln", "app"),
    "mailbox": ("relay", "app"),
    "send": ("mailbox", "send"),
    "fetch": ("mailbox", "fetch"),
}


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"waypost {__version__}")
        raise typer.Exit


def root(
    ctx: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an unexpected error. Goes anywhere.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Paid, private store nodes.

    To see it all at work:  waypost demo

    To try it by hand:

    \b
      waypost chain &                                        a chain of your own
      waypost deploy --dev-account 0 --yes                   the contracts
      waypost node init --dev-account 1                      a node's folder and keys
      waypost token mint 100 --to OPERATOR --dev-account 1   test tokens for its stake
      waypost node register --yes                            its entry, and its stake
      waypost node fund 1 --yes && waypost node run &        ETH for its gas
      waypost account new                                    an account and its mailbox
      waypost token mint 100 --dev-account 0                 test tokens for it
      waypost channel open --amount 5 --yes
      waypost send MAILBOX "hello"
      waypost fetch
      waypost rln join --rate 10 --yes                       a membership
      waypost mailbox publish /chat/1/lobby/plain "hello"
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def assemble(wanted: str | None) -> typer.Typer:
    """The command line: with the one command or noun that is wanted, or with all of them, to list them."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True)(root)
    for name in [wanted] if wanted in PARTS else PARTS:
        module, attribute = PARTS[name]
        part = getattr(importlib.import_module(f"waypost.cli.{module}"), attribute)
        if isinstance(part, typer.Typer):
            app.add_typer(part, name=name)
        else:
            app.command(name)(part)
    return app


def _assemble_for_good(wanted: str | None) -> typer.Typer:
    """For a process that runs one command: looking for garbage in what is imported, on the way and at the
    exit, would take a third of its time."""
    gc.disable()
    app = assemble(wanted)
    gc.freeze()
    gc.enable()
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. Bad input never shows a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    end = words.index("--") if "--" in words else len(words)
    as_json = "--json" in words[:end]
    debug = "--debug" in words[:end] or bool(os.environ.get("WAYPOST_DEBUG"))
    words = [word for word in words[:end] if word != "--debug"] + words[end:]
    try:
        app = (_assemble_for_good if arguments is None else assemble)(words[0] if words else None)
        return int(app(args=words, prog_name="waypost", standalone_mode=False) or 0)
    except WaypostError as fault:
        return _fail(fault, as_json=as_json, debug=debug)
    except typer.TyperException as fault:  # the command line itself
        output.error("usage", _usage(fault), {}, as_json=as_json)
        return fault.exit_code
    except typer.Abort:
        output.error("aborted", "Nothing was done.", {}, as_json=as_json)
        return 1
    except ExceptionGroup as group:  # a node's parallel tasks
        return _fail(_first_leaf(group), as_json=as_json, debug=debug)
    except BrokenPipeError:  # `waypost ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as fault:
        if fault.filename is None:
            return _fail(fault, as_json=as_json, debug=debug)
        unusable = FileUnusable(f"{fault.filename}: {fault.strerror}.", path=str(fault.filename))
        return _fail(unusable, as_json=as_json, debug=debug)
    except Exception as fault:
        return _fail(fault, as_json=as_json, debug=debug)


def _fail(fault: BaseException, *, as_json: bool, debug: bool) -> int:
    if debug:
        traceback.print_exception(fault)
    if isinstance(fault, WaypostError):
        output.error(fault.code, str(fault), fault.details, as_json=as_json)
    else:
        sentence = f"{type(fault).__name__}: {fault}. This is a bug: please report it"
        sentence += "." if debug else ", with what --debug shows."
        output.error("unexpected", " ".join(sentence.split()), {}, as_json=as_json)
    return 1


def _first_leaf(group: "ExceptionGroup[Exception]") -> Exception:
    first = group.exceptions[0]
    return _first_leaf(first) if isinstance(first, ExceptionGroup) else first


def _usage(fault: typer.TyperException) -> str:
    context = getattr(fault, "ctx", None)
    sentence = fault.format_message()
    stop = "" if sentence.endswith((".", "?")) else "."
    return f"{sentence}{stop} Try: {context.command_path if context else 'waypost'} --help"
