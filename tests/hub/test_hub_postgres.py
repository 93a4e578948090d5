"""The whole hub on PostgreSQL: two processes on one database, and a kill; nothing lost."""

import threading

from hub_process import HubProcess
from hub_servers import postgres_url
from test_hub_serve import CARD, Handset

from drybag_host.hub.storage import open_storage


class PostgresHub(HubProcess):
    """A hub whose storage is elsewhere."""

    def __init__(self, data, url):
        self._url = url
        data.parent.mkdir(exist_ok=True)
        super().__init__(data, "--storage", url)

    @property
    def storage_url(self):
        return self._url


def work(handset, failed):
    try:
        for n in range(6):
            mine = handset.item(b"%s-%d" % (handset.device.encode(), n), CARD)
            handset.sync(mine, handset.item(b"shared", CARD))
    except Exception as error:
        failed.append(error)


def test_handsets_side_by_side_and_a_kill(tmp_path, postgres):
    with postgres_url(postgres) as url:
        hubs = [PostgresHub(tmp_path / name / "hub", url) for name in "ab"]
        try:
            handsets = [Handset(hubs[n % 2], "h%d" % n, "ada") for n in range(6)]
            failed = []
            threads = [threading.Thread(target=work, args=(h, failed)) for h in handsets]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert not failed
            hubs[0].kill()
            for h in handsets:  # whoever lost its hub goes on at the other
                h.service.hub, h.service.connection = hubs[1], None
                assert h.sync()[0].ack == 12
                h.sync()
        finally:
            for hub in hubs:
                hub.stop()
        with open_storage(url) as storage:
            assert storage.get("owners", [("ada",)])[0]["live"] == 37
            rows = storage.scan("versions", "", ("ada",))
            assert [row["pos"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(handsets[0].records) == 37
        assert all(h.records == handsets[0].records for h in handsets)
