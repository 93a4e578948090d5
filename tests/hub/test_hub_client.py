"""An owner's client of a running hub: trust, log-in, paging, conflicts, blobs."""

import hashlib
import random

import pytest
from hub_process import PASSWORD, HubProcess
from test_hub_serve import CARD, Handset

from drybag.errors import NotFound
from drybag.layout import content_id
from drybag_host.errors import Usage
from drybag_host.hub import accounts, trust
from drybag_host.hub.client import HubClient, HubRefused, body_of, uid_of
from drybag_host.hub.trust import HubNotTrusted, HubUnreachable, parse_url, trusted


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    process = HubProcess(tmp_path_factory.mktemp("client") / "hub")
    yield process
    process.stop()


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))


def place_of(hub):
    return parse_url(hub.url + "/#sha256=" + hub.fingerprint)


def log_in(hub, owner):
    client = HubClient(place_of(hub), trusted(place_of(hub)))
    client.login(owner, PASSWORD)
    return client


# --- trust -----------------------------------------------------------------------------------


def test_addresses():
    place = parse_url("https://hub.example:8443/#sha256=" + "AB" * 32)
    assert (place.url, place.wanted) == ("https://hub.example:8443", "ab" * 32)
    assert parse_url("[::1]:99").url == "https://[::1]:99"
    assert parse_url("hub.example").port == 8443
    for text in ("", "ftp://x", "https://x/path", "https://u:p@x", "https://x#sha256=12",
                 "http://hub.example", "https://x:99999999", "https://x?a=b"):  # fmt: skip
        with pytest.raises(Usage):
            parse_url(text)


def test_who_is_trusted(hub, tmp_path):
    place = place_of(hub)
    der = trusted(place)
    wrong = parse_url(hub.url + "#sha256=" + "00" * 32)
    with pytest.raises(HubNotTrusted, match="another CA"):
        trusted(wrong)
    bare = parse_url(hub.url)
    with pytest.raises(HubNotTrusted, match="not known here"):
        trusted(bare)
    asked = []
    assert trusted(bare, ask=asked.append) == der and asked == [hub.fingerprint]
    assert trusted(bare, ca_file=str(hub.data / "tls" / "ca.pem")) == der
    trust.keep(bare, der)
    assert trusted(bare) == der
    (tmp_path / "rubbish").write_text("rubbish")
    with pytest.raises(HubNotTrusted):
        trusted(bare, ca_file=str(tmp_path / "rubbish"))
    with pytest.raises(HubUnreachable):
        trusted(parse_url("https://127.0.0.1:1/#sha256=" + "00" * 32))


def test_another_hub_at_the_same_address_is_refused(hub, tmp_path):
    from drybag_host.hub.certs import Certificates

    other = Certificates(str(tmp_path / "tls"), ["127.0.0.1"])
    with HubClient(place_of(hub), other.ca_der) as client:
        with pytest.raises(HubNotTrusted, match="not the one that was trusted"):
            client.health()


# --- log-in ----------------------------------------------------------------------------------


def test_passwords(hub):
    hub.enrol("carol")
    with log_in(hub, "carol") as client:
        assert client.summary()["owner"] == "carol"
        for owner, password in (("carol", "wrong"), ("nobody", PASSWORD), ("carol", "x" * 5000)):
            with pytest.raises(HubRefused, match="wrong owner or password"):
                client.login(owner, password)
        with hub.storage() as storage:
            accounts.set_password(storage, "carol", "another one")
        with pytest.raises(HubRefused, match="log in again"):
            client.summary()
    with HubClient(place_of(hub), trusted(place_of(hub))) as client:
        with pytest.raises(HubRefused, match="log in first"):
            client.summary()
        client.token = "rubbish"
        with pytest.raises(HubRefused, match="log in again"):
            client.summary()


def test_guessing_gets_slower(hub):
    hub.enrol("dora")
    with HubClient(place_of(hub), trusted(place_of(hub))) as client:
        said = []
        for _ in range(7):
            with pytest.raises(HubRefused) as found:
                client.login("dora", "guess")
            said.append(str(found.value))
        assert "too many" in said[-1]


# --- records ---------------------------------------------------------------------------------


def test_records_page_by_page(hub):
    a = Handset(hub, "a", "many")
    items = [a.item(b"u%04d" % n, CARD + b"NOTE:%d\n" % n) for n in range(450)]
    for start in range(0, 450, 150):
        a.sync(*items[start : start + 150])
    odd = CARD + b"NOTE:\xff\xfe\n"
    a.sync(a.item(b"\xff\xfe", odd, kind=2), a.item(b"u0000", None))
    with log_in(hub, "many") as client:
        found = {uid_of(r): body_of(r) for r in client.records(bodies=True)}
        assert found == {uid: body for (_, uid), body in a.records.items() if body is not None}
        assert [r["title"] for r in client.records("contact")] == ["Ada"] * 449
        assert len(list(client.records(deleted=True))) == 451
        assert client.summary()["counts"]["contact"] == 449
        one = client.record("event", b"\xff\xfe")
        assert body_of(one) == odd and one["places"]["hub"]
        with pytest.raises(NotFound):
            client.record("note", b"u0001")
        assert client.restore("contact", b"u0000") and client.summary()["live"] == 451
        assert [v["deleted"] for v in client.history("contact", b"u0000")] == [False, True, False]


def test_conflicts_and_held_deletions(hub):
    a, b = Handset(hub, "a", "pair"), Handset(hub, "b", "pair")
    a.sync(a.item(b"u", CARD), *[a.item(b"w%d" % n, CARD) for n in range(9)])
    b.sync()
    a.sync(a.item(b"u", CARD.replace(b"Ada", b"Bea"), stamp=900))
    b.sync(b.item(b"u", CARD.replace(b"Ada", b"Cid"), base=content_id(0, (), CARD), stamp=800))
    b.sync(*[b.item(b"w%d" % n, None, base=content_id(0, (), CARD)) for n in range(9)])
    with log_in(hub, "pair") as client:
        (conflict,) = client.conflicts()
        assert conflict["properties"] == ["N"]
        client.resolve("contact", b"u", conflict["pos"], show=True)
        assert client.conflicts() == []
        a.sync()
        assert b"Cid" in a.records[1, b"u"]
        waiting = client.held()
        assert [uid_of(h) for h in waiting] == [b"w5", b"w6", b"w7", b"w8"]
        assert client.decide_held(True, [waiting[0]["pos"]]) == 1
        assert client.decide_held(False) == 3 and client.held() == []
        with pytest.raises(NotFound):
            client.decide_held(True, [waiting[0]["pos"]])
    reply, changes = b.sync()
    assert reply.flags == 0 and b.records[1, b"w5"] is None
    assert {b.records[1, b"w%d" % n] for n in (6, 7, 8)} == {CARD}
    a.sync()
    assert a.records == b.records


def test_devices(hub):
    hub.enrol("erin")
    with log_in(hub, "erin") as client:
        new = client.enrol("T-Deck", "abc")
        (found,) = [d for d in client.devices() if d["device"] == new["device"]]
        assert found["name"] == "T-Deck" and found["seen_ms"] is None
        handset = Handset(hub, "other", "erin")
        handset.sync(handset.item(b"u", CARD))
        view = client.device(handset.device)
        assert view["seen_ms"] and view["streams"][0]["ack"] == 1
        assert client.revoke(new["device"])["revoked_ms"]
        stranger, _ = hub.enrol("mallory")
        for call in (client.device, client.revoke):
            with pytest.raises(NotFound):
                call(stranger)


def test_a_blob_in_pieces(hub):
    from hub_process import ask

    a = Handset(hub, "a", "blob")
    picture = random.Random(3).randbytes(900_000)
    name = hashlib.sha256(picture).digest()
    path = "/v1/blobs/%s?size=%d&offset=0" % (name.hex(), len(picture))
    assert ask(hub.connect(), "PUT", path, picture, a.headers)[0] == 200
    with log_in(hub, "blob") as client:
        assert b"".join(client.blob(name)) == picture
        assert b"".join(client.blob(name, 899_000)) == picture[899_000:]
        with pytest.raises(NotFound):
            list(client.blob(bytes(32)))
