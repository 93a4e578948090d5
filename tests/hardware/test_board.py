"""What a person does with a handset, on whatever board it is. See conftest.py."""

import secrets
import time

import pytest
from bench import content

from drybag_host import formats
from drybag_host.board import open_console
from drybag_host.errors import LinkError
from drybag_host.link import HandsetLink

RUN = secrets.token_hex(4)
CONTACTS = 30
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000") + bytes(range(256)) * 40 + (
    b"\xff\xd9"
)  # fmt: skip


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Files of an address book, a calendar and a photo that no board has yet."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "contacts.vcf").write_bytes(b"".join(
        b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:hw-%s-%d\r\nFN:Ada %s Number%d\r\nNOTE:%s\r\n"
        b"END:VCARD\r\n" % (RUN.encode(), n, RUN.encode(), n, b"n" * (17 * n % 400))
        for n in range(CONTACTS)
    ))  # fmt: skip
    (folder / "calendar.ics").write_bytes(
        b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Drybag//test//EN\r\nBEGIN:VEVENT\r\n"
        b"UID:hw-%s-e\r\nDTSTAMP:20250101T000000Z\r\nDTSTART:20250131T093000Z\r\n"
        b"SUMMARY:Dentist %s\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n" % (RUN.encode(), RUN.encode())
    )
    (folder / "photo.jpg").write_bytes(JPEG[:20] + secrets.token_bytes(9000) + JPEG[20:])
    return [folder / name for name in ("contacts.vcf", "calendar.ics", "photo.jpg")]


@pytest.fixture
def filled(bench, drybag, book):
    """The board holds the book; what import said."""
    return drybag("import", bench.target, *book)


def reconnected(bench, boot):
    """Wait until the board has started again: its boot number is another than `boot`."""
    deadline = time.monotonic() + 90 * bench.pace
    while time.monotonic() < deadline:
        try:
            with HandsetLink(open_console(bench.target)) as link:
                if link.hello()["boot"] != boot:
                    return
        except LinkError:
            time.sleep(0.1)
    pytest.fail("the board did not start again")


def test_it_is_a_handset(bench, drybag):
    told = drybag("status", bench.target)
    assert told["handset"]["id"] == bench.info["id"]
    major, minor = told["handset"]["versions"]["micropython"].split(".")[:2]
    assert (1, 20) <= (int(major), int(minor)) < (1, 30)
    assert told["stats"]["writable"]


def test_doctor_reaches_all_of_it(bench, capsys):
    code, told, err = bench.command(capsys, "doctor", bench.target)
    assert code in (0, 9), err
    names = {finding["what"] for finding in told["findings"]}
    assert {"chip", "partition table", "firmware", "MicroPython", "clock", "memory", "journal",
            "file system", "last sync", "last verified backup"} <= names  # fmt: skip
    assert all(f["do"] for f in told["findings"] if not f["ok"])


def test_import_is_idempotent(bench, drybag, filled, book):
    again = drybag("import", bench.target, *book)
    assert again["added"] == again["updated"] == 0 and again["unchanged"] >= CONTACTS + 2


def test_find_show_delete_undelete(bench, drybag, filled):
    (hit,) = drybag("find", bench.target, "%s Number7" % RUN)["records"]
    uid = hit["uid"]
    drybag("show", bench.target, uid)
    drybag("delete", bench.target, uid, "--yes")
    assert drybag("find", bench.target, "%s Number7" % RUN)["records"] == []
    drybag("undelete", bench.target, uid)
    assert len(drybag("find", bench.target, "%s Number7" % RUN)["records"]) == 1


def test_pull_is_verified_and_incremental(bench, drybag, filled, tmp_path):
    first = drybag("pull", bench.target, tmp_path / "backup")
    assert first["verified"] and first["added"] >= CONTACTS + 2
    second = drybag("pull", bench.target, tmp_path / "backup")
    assert second["verified"] and not (second["added"] or second["changed"] or second["full"])
    drybag("verify", tmp_path / "backup")


def test_what_went_in_comes_out(bench, drybag, filled, book, tmp_path):
    drybag("pull", bench.target, tmp_path / "backup")
    drybag("export", tmp_path / "backup", tmp_path / "out", "--vcard", "as-is")
    for path in book[:2]:
        found = formats.compare_files(path, tmp_path / "out")
        assert [d for d in found if d.what != "added"] == []  # the board may hold more


def test_restore_brings_a_deleted_record_back(bench, drybag, filled, tmp_path):
    drybag("pull", bench.target, tmp_path / "backup")
    before = bench.records()
    key = (1, b"hw-%s-3" % RUN.encode())
    drybag("delete", bench.target, key[1].decode(), "--yes")
    assert key not in bench.records()
    drybag("restore", tmp_path / "backup", bench.target, "--deleted", "--yes")
    after = bench.records()
    assert set(after) == set(before)
    assert content(after[key]) == content(before[key])


def test_a_reset_keeps_everything(bench, filled):
    before = {key: content(record) for key, record in bench.records().items()}
    console = open_console(bench.target)
    try:
        with HandsetLink(console) as link:
            boot = link.hello()["boot"]
            try:
                console.reset()
            except LinkError as error:
                pytest.skip(str(error))
    except LinkError:
        pass  # it was reset
    reconnected(bench, boot)
    assert {key: content(record) for key, record in bench.records().items()} == before


def test_a_person_types_between_the_frames(bench, filled):
    with HandsetLink(open_console(bench.target)) as link:
        link.hello()
        link.console.write(b"find %s number7\r" % RUN.encode())
        said, deadline = b"", time.monotonic() + 10 * bench.pace
        while b"Number7" not in said.split(b"\n", 1)[-1] and time.monotonic() < deadline:
            said += link.console.read(0.1)
        assert b"Number7" in said
        assert link.digest()[0] >= CONTACTS


def test_the_flash_can_be_read_and_means_the_same(bench, drybag, filled, tmp_path):
    drybag("dump", bench.target, tmp_path / "pim.bin")
    told = drybag("show", tmp_path / "pim.bin")
    mine = {record["uid"] for record in told["records"] if record["uid"].startswith("hw-" + RUN)}
    assert len(mine) == CONTACTS + 1
    assert drybag("scrub", bench.target)["summary"]["damaged"] == 0


def test_power_cuts_lose_nothing(bench, drybag, filled, tmp_path):
    if not bench.power:
        pytest.skip("needs a power switch: --power NAME (drybag rig switches)")
    before = {key: content(record) for key, record in bench.records().items()}
    told = drybag("rig", "run", "--target", bench.target, *bench.power_words,
                  "--report", tmp_path / "report")  # fmt: skip
    assert told["failures"] == [] and told["exit_code"] == 0
    assert {key: content(record) for key, record in bench.records().items()} == before


def test_new_firmware_keeps_every_record(bench, drybag, filled):
    if not bench.flash_ok:
        pytest.skip("writes the firmware anew: --flash-ok --board B allows it")
    before = {key: content(record) for key, record in bench.records().items()}
    drybag("flash", bench.target, *bench.flash_words)
    assert {key: content(record) for key, record in bench.records().items()} == before


def test_a_restore_onto_an_erased_board_is_complete(bench, drybag, filled, tmp_path):
    if not bench.erase_ok:
        pytest.skip("erases ALL RECORDS, and restores them: --erase-ok --board B allows it")
    before = {key: content(record) for key, record in bench.records().items()}
    assert drybag("pull", bench.target, tmp_path / "backup")["verified"]
    drybag("flash", bench.target, *bench.flash_words, "--erase-pim", bench.info["name"])
    assert bench.records() == {}
    drybag("restore", tmp_path / "backup", bench.target, "--yes")
    assert {key: content(record) for key, record in bench.records().items()} == before
