"""State files: durable, of one deployment, written by one process at a time."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from eth_typing import ChecksumAddress

from waypost.client.books import Books
from waypost.client.records import AgreedPrices, ChannelRecord, MailboxRecord, OpeningRecord
from waypost.client.store import Identity, Store
from waypost.errors import DataInUse, DataOfAnotherChain, InvalidConfig
from waypost.protocol.signatures import checksum

ADDRESSES = [checksum(bytes([digit] * 20)) for digit in range(1, 10)]
PAYER = ADDRESSES[0]
IDENTITY = Identity(31337, ADDRESSES[1], ADDRESSES[2], ADDRESSES[3], "0x" + "ab" * 32)


def record(signer: ChecksumAddress = ADDRESSES[7], index: int = 0) -> ChannelRecord:
    return ChannelRecord(
        operator=ADDRESSES[4],
        payee=ADDRESSES[5],
        token=ADDRESSES[3],
        signer=signer,
        index=index,
        payer=PAYER,
        close_delay=3600,
        status="opening",
        agreed=AgreedPrices(store_per_kib_hour=10, fetch_per_kib=5, relay_per_kib=5, min_receipt=1),
        opening=OpeningRecord(request={"opening": {"amount": "7"}}, fee=3, deadline=99),
        books=Books(deposited=2**90, limit=2**89, signed=3, interrupted=3, stopped="it lied"),
    )


async def test_records_come_back_whole(tmp_path: Path) -> None:
    store = await Store.open(tmp_path, IDENTITY, PAYER)
    second, first = record(ADDRESSES[6], 1), record()
    for entry in (second, first):
        store.save_channel(entry)
    mailbox = MailboxRecord(cursors={PAYER: {"/a/1/b/raw": "x"}}, seen={"0x00": 5})
    store.save_mailbox(mailbox)
    store.close()
    again = await Store.open(tmp_path, IDENTITY, PAYER)
    assert again.channels() == [first, second]
    assert again.mailbox() == mailbox
    again.drop_channel(first)
    assert again.channels() == [second]
    again.close()


async def test_amounts_are_decimal_strings_and_files_are_private(tmp_path: Path) -> None:
    store = await Store.open(tmp_path, IDENTITY, PAYER)
    store.save_channel(record())
    (path,) = (store.folder / "channels").iterdir()
    assert json.loads(path.read_text())["books"]["deposited"] == str(2**90)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.close()


async def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    first = await Store.open(tmp_path, IDENTITY, PAYER)
    with pytest.raises(DataInUse):
        await Store.open(tmp_path, IDENTITY, PAYER, wait=0)
    await Store.open(tmp_path, IDENTITY, ADDRESSES[8], wait=0)  # another account is no rival
    reader = await Store.open(tmp_path, IDENTITY, PAYER, exclusive=False)
    first.save_channel(record())
    assert reader.channels() == [record()]
    with pytest.raises(DataInUse, match="reading only"):
        reader.save_channel(record())
    with pytest.raises(DataInUse):
        reader.drop_channel(record())
    first.close()
    (await Store.open(tmp_path, IDENTITY, PAYER, wait=0)).close()


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, chain_id=1),
        replace(IDENTITY, channels=PAYER),
        replace(IDENTITY, genesis="0x" + "cd" * 32),  # a development chain that was started anew
    ],
)
async def test_each_deployment_has_its_own_state(tmp_path: Path, other: Identity) -> None:
    store = await Store.open(tmp_path, IDENTITY, PAYER)
    store.save_channel(record())
    elsewhere = await Store.open(tmp_path, other, PAYER)
    assert elsewhere.channels() == []
    store.close()
    elsewhere.close()


async def test_a_folder_of_another_deployment_is_refused(tmp_path: Path) -> None:
    (await Store.open(tmp_path, IDENTITY, PAYER)).close()
    other = replace(IDENTITY, chain_id=1)
    (tmp_path / "chains" / IDENTITY.folder).rename(tmp_path / "chains" / other.folder)
    with pytest.raises(DataOfAnotherChain):
        await Store.open(tmp_path, other, PAYER)


@pytest.mark.parametrize("content", ["", "{}", "[]", "nonsense", '{"operator": "0x1"}'])
async def test_damaged_files_are_named(tmp_path: Path, content: str) -> None:
    store = await Store.open(tmp_path, IDENTITY, PAYER)
    store.save_channel(record())
    (path,) = (store.folder / "channels").iterdir()
    path.write_text(content)
    with pytest.raises(InvalidConfig, match="is damaged"):
        store.channels()
    store.close()


async def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(InvalidConfig):
        await Store.open(tmp_path / "home", IDENTITY, PAYER)
