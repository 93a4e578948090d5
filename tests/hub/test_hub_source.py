"""hub:URL and the hub's data as sources: the commands that read a backup read them as well."""

import json

import pytest
from hub_kit import STAMP, Device, sha256
from hub_process import PASSWORD, HubProcess

from drybag.layout import CONTACT, PHOTO, content_id
from drybag_host import cli
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.hub import accounts
from drybag_host.hub.blobstore import open_blobs
from drybag_host.hub.service import Service

CARD = b"VERSION:3.0\nFN:Ada Lovelace\nTEL:+44 20 7946 0000\n"
OLD = CARD.replace(b"7946", b"1234")
GONE = CARD.replace(b"Ada", b"Gone")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
LONG = b"VERSION:3.0\nFN:Long\nNOTE:" + b"x" * 3000 + b"\n"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A running hub that holds a contact with a history, a long one, a photo, a deletion."""
    process = HubProcess(tmp_path_factory.mktemp("source") / "hub")
    with process.storage() as storage, open_blobs("dir:%s" % (process.data / "blobs")) as blobs:
        accounts.add_owner(storage, "ada", PASSWORD, 1)
        sha = sha256(PNG)
        blobs.append(sha, len(PNG), 0, [PNG])
        storage.commit([("blobs", {"owner": "ada", "sha": sha, "size": len(PNG)})])
        long = sha256(LONG)
        blobs.append(long, len(LONG), 0, [LONG])
        storage.commit([("blobs", {"owner": "ada", "sha": long, "size": len(LONG)})])
        one = Device(Service(storage, blobs))
        picture = b"FN:a.png\nMEDIATYPE:image/png\nIMAGE:drybag:blob/" + sha.hex().encode() + b"\n"
        one.sync(
            one.item(b"u1", OLD), one.item(b"u2", GONE),
            one.item(b"p1", picture, kind=PHOTO, blobs=(sha,)),
            one.item(b"u3", b"", big=(long, len(LONG))),
        )  # fmt: skip
        one.sync(
            one.item(b"u1", CARD, content_id(0, (), OLD), STAMP + 1),
            one.item(b"u2", None, content_id(0, (), GONE), STAMP + 1),
        )
    yield process
    process.stop()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DRYBAG_HUB_PASSWORD", PASSWORD)
    monkeypatch.setenv("DRYBAG_HUB_OWNER", "ada")
    return tmp_path / "home"


def address(hub):
    return "hub:%s/#sha256=%s" % (hub.url, hub.fingerprint)


def run(capsys, *words):
    """(exit code, JSON) of a command."""
    code = cli.main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_commands_that_read(hub, capsys, tmp_path):
    code, said = run(capsys, "show", address(hub))
    assert code == 0
    assert sorted(r["title"] for r in said["records"]) == ["Ada Lovelace", "Long", "a.png"]
    code, said = run(capsys, "show", address(hub), "u1", "--history")
    assert code == 0 and "7946" in said["details"]
    assert ["1234" in r["details"] for r in said["history"]] == [True]
    code, said = run(capsys, "find", address(hub), "lovelace")
    assert code == 0 and [r["uid"] for r in said["records"]] == ["u1"]
    code, said = run(capsys, "status", address(hub))
    assert code == 0 and said["summary"]["counts"]["contact"] == 2


def test_one_export_whatever_the_source(hub, capsys, tmp_path):
    """The same files of the running hub and of its data; then as it stood before anything."""
    assert run(capsys, "export", address(hub), tmp_path / "a")[0] == 0
    assert run(capsys, "hub", "export", "ada", tmp_path / "b", "--data", hub.data)[0] == 0
    names = sorted(p.name for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert "contacts.vcf" in names and "a.png" in names
    for name in ("contacts.vcf", "photos/a.png", "contacts.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "photos" / "a.png").read_bytes() == PNG
    cards = (tmp_path / "a" / "contacts.vcf").read_bytes()
    assert b"+44 20 7946 0000" in cards and b"Gone" not in cards
    code, said = run(capsys, "hub", "export", "ada", tmp_path / "c", "--data", hub.data, "--at",
                     "2020-01-01")  # fmt: skip
    assert code == 0 and not any(said["counts"].values())


def test_a_new_handset_like_the_lost_one(hub, capsys, home):
    """`restore hub:URL TARGET` onto a real, empty board; read back by the command itself."""
    board = EmulatedBoard.create("new", "esp32-generic", home=home)
    board.start()
    try:
        code, said = run(capsys, "restore", address(hub), "emu:new")
        assert (code, said["restored"], said["compared"]) == (0, 3, 3)
        code, said = run(capsys, "show", "emu:new", "u3")
        assert code == 0 and said["title"] == "Long"
        code, said = run(capsys, "restore", address(hub), "emu:new", "--deleted", "--dry-run")
        assert code == 0 and said["new"] == 1  # what was deleted comes only when asked for
    finally:
        board.stop()


@pytest.mark.parametrize("words, code", [
    (("--owner", "nobody"), 65),
    (("--ca", "/nonexistent/ca.pem"), 66),
])  # fmt: skip
def test_what_a_hub_refuses(hub, capsys, words, code):
    got, said = run(capsys, "show", address(hub), *words)
    assert got == code and said["error"]["message"]


def test_a_hub_that_is_not_there(capsys, monkeypatch):
    code, said = run(capsys, "show", "hub:https://127.0.0.1:1/#sha256=" + "0" * 64)
    assert code == 64 and said["error"]["hint"]
    monkeypatch.delenv("DRYBAG_HUB_OWNER")
    assert run(capsys, "show", "hub:https://127.0.0.1:1")[0] == 2
    assert run(capsys, "show", "hub:ftp://x")[0] == 2


def test_the_past(hub):
    """OwnerRecords as of a moment: between the first sync and the second."""
    from drybag_host.hub.owner_records import OwnerRecords

    with hub.storage() as storage, open_blobs("dir:%s" % (hub.data / "blobs")) as blobs:
        first = storage.get("versions", [("ada", 4)])[0]["received_ms"]
        second = storage.get("versions", [("ada", 5)])[0]["received_ms"]
        assert first < second
        then = {r.uid: r.body for r in OwnerRecords(storage, blobs, "ada", second - 1).records()}
        assert then[b"u1"] == OLD and then[b"u2"] == GONE and len(then) == 4
        source = OwnerRecords(storage, blobs, "ada")
        assert {r.uid for r in source.records()} == {b"u1", b"u3", b"p1"}
        assert [r.body for r in source.history(CONTACT, b"u1")] == [OLD]
        assert source.counts()[PHOTO] == 1
