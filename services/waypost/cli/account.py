"""`waypost account`: the seed from which everything of a person follows."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from waypost.cli.nouns import examples, noun
from waypost.cli.options import DEFAULT_HOME, Home, Json, PasswordFile
from waypost.cli.output import Output
from waypost.cli.passwords import load_account, password
from waypost.cli.places import Places
from waypost.client import addresses
from waypost.client.account import Account
from waypost.errors import InvalidConfig, InvalidMnemonic

app = noun("Your account: one seed for tokens, channels and mailbox.")


@app.command()
@examples("waypost account new", "waypost account new --password-file secret.txt --json")
def new(home: Home = DEFAULT_HOME, password_file: PasswordFile = None, json: Json = False) -> None:
    """Make an account, and show its 24 words once.

    Write the words down: whoever has them has the account, and without them a lost machine is a lost account.
    """
    _save(Account.create(), Places.under(home), password_file, Output(json), reveal=True)


@app.command("import")
@examples("waypost account import", "waypost account import --words-file seed.txt")
def import_account(
    words_file: Annotated[
        Path | None, typer.Option(help="File with the 24 words; else you are asked.")
    ] = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Restore an account from its 24 words. `waypost channel recover` then finds its channels."""
    places = Places.under(home)
    _require_free(places)
    account = Account.from_mnemonic(_words(words_file))
    _save(account, places, password_file, Output(json), reveal=False)


@app.command()
@examples("waypost account show", "waypost account show --words")
def show(
    words: Annotated[bool, typer.Option("--words", help="Show the 24 words, too.")] = False,
    mailbox: Annotated[
        bool, typer.Option("--mailbox", help="Print the mailbox address and nothing else.")
    ] = False,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Show the account's addresses."""
    places, out = Places.under(home), Output(json)
    account = load_account(places.account, password_file)
    if mailbox:
        out.result({"mailbox": _mailbox(account)}, [_mailbox(account)])
    else:
        _tell(account, places, out, reveal=words)


def _save(account: Account, places: Places, password_file: Path | None, out: Output, *, reveal: bool) -> None:
    _require_free(places)
    account.save(places.account, password(str(places.account), password_file, new=True))
    _tell(account, places, out, reveal=reveal)


def _require_free(places: Places) -> None:
    if places.account.exists():
        raise InvalidConfig(
            f"There is an account at {places.account} already; another one needs another --home.",
            path=str(places.account),
        )


def _words(file: Path | None) -> str:
    if file is not None:
        try:
            return file.expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(f"{file} cannot be read.", path=str(file)) from error
    if sys.stdin.isatty():
        entered: str = typer.prompt("The 24 words", hide_input=True, err=True)
        return entered
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InvalidMnemonic("Standard input is not text.") from error


def _mailbox(account: Account) -> str:
    return addresses.encode(bytes(account.mailbox_key.public_key))


def _tell(account: Account, places: Places, out: Output, *, reveal: bool) -> None:
    mailbox = _mailbox(account)
    data = {"payer": account.payer, "mailbox": mailbox, "keystore": str(places.account)}
    lines = [
        f"payer     {account.payer}    holds your tokens",
        f"mailbox   {mailbox}    for others to write to",
        f"keystore  {places.account}",
    ]
    if reveal:
        lines += ["", "The 24 words, from which all of this can be restored. Write them down, on paper:", ""]
        listed = account.mnemonic.split()
        lines += ["  " + " ".join(listed[start : start + 6]) for start in range(0, len(listed), 6)]
        data["words"] = account.mnemonic
    out.result(data, lines)
