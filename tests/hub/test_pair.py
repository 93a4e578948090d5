"""`drybag pair`: an emulated handset, a real hub, TLS, and Wi-Fi that is there or not."""

import json

import pytest
from hub_process import PASSWORD, HubProcess

from drybag.layout import CONTACT
from drybag_host import cli
from drybag_host.emulator.boards import EmulatedBoard

CARD = b"VERSION:3.0\nUID:one\nFN:Ada Lovelace\nTEL:1\n"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    process = HubProcess(tmp_path_factory.mktemp("pair") / "hub")
    process.enrol("ada")
    yield process
    process.stop()


@pytest.fixture
def board(tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DRYBAG_HUB_PASSWORD", PASSWORD)
    monkeypatch.setenv("DRYBAG_WIFI_PASSWORD", "secret of the air")
    made = EmulatedBoard.create("phone", "lilygo-t-deck")
    made.start()
    made.wifi(True)
    yield made
    if made.is_running:
        made.stop()


@pytest.fixture
def run(capsys):
    def run_it(*words):
        code = cli.main([*words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run_it


def place(hub):
    return "%s/#sha256=%s" % (hub.url, hub.fingerprint)


def test_pair_sync_unpair(run, board, hub, tmp_path):
    (tmp_path / "a.vcf").write_bytes(
        b"BEGIN:VCARD\r\n" + CARD.replace(b"\n", b"\r\n") + b"END:VCARD\r\n"
    )
    assert run("import", "emu:phone", str(tmp_path / "a.vcf"))[0] == 0
    code, said = run("pair", "emu:phone", "--hub", place(hub), "--wifi", "drybag",
                     "--owner", "ada", "--name", "my phone")  # fmt: skip
    assert code == 0, said
    assert said["sync"]["contact"] and said["owner"] == "ada"
    text = json.dumps(said)
    assert PASSWORD not in text and "secret of the air" not in text
    with hub.storage() as storage:
        (device,) = [d for d in storage.scan("devices") if d["device"] == said["device"]]
        assert device["name"] == "my phone" and device["seen_ms"]
        (head,) = storage.scan("heads", "", ("ada", CONTACT))
        assert storage.get("versions", [("ada", head["pos"])])[0]["body"] == CARD
    assert run("unpair", "emu:phone", "--forget-wifi", "drybag")[0] == 0
    assert run("status", "emu:phone")[1]["handset"]["sync"] == {"paired": False}
    assert run("unpair", "emu:phone", "--forget-wifi", "drybag")[0] == 4


def test_what_is_wrong_is_said(run, board, hub, monkeypatch):
    words = ("pair", "emu:phone", "--wifi", "drybag", "--owner", "ada", "--contact", "30")
    code, said = run(*words, "--hub", "https://127.0.0.1:1/#sha256=" + "00" * 32)
    assert code == 64 and "no hub answers" in said["error"]["message"]
    code, said = run(*words, "--hub", hub.url + "/#sha256=" + "00" * 32)
    assert code == 66 and "another CA" in said["error"]["message"]
    assert run(*words, "--hub", hub.url)[0] == 24  # a fingerprint that nobody can look at
    board.wifi(False)
    code, said = run(*words, "--hub", place(hub))
    assert code == 67 and "network" in said["error"]["message"] + said["error"]["hint"]
    monkeypatch.setenv("DRYBAG_HUB_PASSWORD", "not it, I think")
    code, said = run(*words, "--hub", place(hub))
    assert code == 65 and "wrong owner or password" in said["error"]["message"]


def test_any_bytes_are_the_name_of_a_network(run, board, hub):
    """As they come from the terminal; too many are refused before anything is enrolled."""
    name = b"caf\xe9 \xf0".decode("utf-8", "surrogateescape")
    words = ("pair", "emu:phone", "--hub", place(hub), "--wifi")
    code, said = run(*words, name, "--owner", "ada")
    assert code == 0 and said["sync"]["contact"], said
    assert run("unpair", "emu:phone", "--forget-wifi", name)[0] == 0
    for wrong in ("", "x" * 33):
        code, said = run(*words, wrong, "--owner", "ada")
        assert code == 3 and "32 bytes" in said["error"]["message"]
    code, said = run(*words, "drybag", "--owner", name)
    assert code == 3 and "no text" in said["error"]["message"]


def test_a_handset_that_is_not_there_leaves_no_device(run, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DRYBAG_HUB_PASSWORD", PASSWORD)
    with hub.storage() as storage:
        before = storage.counts("devices")
    assert run("pair", "emu:nobody", "--hub", place(hub), "--owner", "ada")[0] == 15
    with hub.storage() as storage:
        assert storage.counts("devices") == before
