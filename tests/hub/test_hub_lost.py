"""A hub whose disk is gone, made anew from its off-site copy: the same handsets go on with it."""

import shutil
import threading
import time

from hub_process import HubProcess
from test_hub_serve import Handset

from drybag import syncwire
from drybag_host import cli
from drybag_host.hub import identity
from drybag_host.hub.storage import open_storage

PASSPHRASE = "correct horse battery"


def test_a_hub_whose_disk_burns_while_handsets_send(tmp_path, monkeypatch, capsys):
    """With --ack offsite what was acknowledged is there afterwards, though nothing else is."""
    monkeypatch.setenv("DRYBAG_CA_PASSPHRASE", PASSPHRASE)
    data, away = tmp_path / "hub", "dir:%s" % (tmp_path / "away")
    hub = HubProcess(data, "--offsite", away, "--ack", "offsite")
    with hub.storage() as storage:
        identity.seal(storage, str(data / "tls"), PASSPHRASE)
    handsets = [Handset(hub, "h%d" % n, "owner%d" % (n % 2)) for n in range(4)]
    acked = {h: {} for h in handsets}
    over = threading.Event()

    def work(h):
        while not over.is_set():
            items = [h.item(b"%s-%d" % (h.device.encode(), h.seq + 1), b"FN:%d\n" % h.seq)
                     for _ in range(3)]  # fmt: skip
            try:
                reply, _ = h.sync(*items, room=0)
            except Exception:  # the hub is gone
                return
            acked[h].update((i.uid, i.body) for i in items if i.number <= reply.ack)

    threads = [threading.Thread(target=work, args=(h,)) for h in handsets]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while min(map(len, acked.values())) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
    hub.kill()
    over.set()
    for thread in threads:
        thread.join(60)
    shutil.rmtree(data)

    assert cli.main(["hub", "restore", "--from", away, "--data", str(data)]) == 0
    assert "complete" in capsys.readouterr().out
    with open_storage(hub.storage_url, readonly=True) as storage:
        for h in handsets:
            assert len(acked[h]) >= 6
            owner = storage.get("devices", [(h.device,)])[0]["owner"]
            there = {r["uid"]: r["body"] for r in storage.scan("versions", "", (owner,))}
            for uid, body in acked[h].items():
                assert there[uid] == body

    before = hub.fingerprint
    hub.start()
    try:
        assert hub.fingerprint == before  # the CA the handsets trust, and their secrets
        h = handsets[0]
        h.service.connection = None
        reply, _ = h.sync(room=0)
        assert reply.flags & syncwire.ACK_RESET  # it asks for what it may have lost
    finally:
        hub.stop()
