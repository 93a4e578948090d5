"""How often somebody may ask; who shares a batch; what a token is good for."""

import hashlib
import threading

import pytest
from hub_kit import Clock, add_owner, make_hub

from drybag.errors import BadInput, NotFound
from drybag_host.hub import accounts
from drybag_host.hub.blobstore import MemoryBlobs
from drybag_host.hub.group import Committer
from drybag_host.hub.limits import Attempts, Buckets
from drybag_host.hub.memory import MemoryStorage
from drybag_host.hub.refusals import NotThere, Revoked, WrongOffset, WrongSecret
from drybag_host.hub.sessions import Sessions
from drybag_host.hub.uploads import Uploads


def test_buckets_fill_up_again():
    clock = Clock(0)
    buckets = Buckets(2, 3, clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    clock.now = 1
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0.5]
    clock.now = 1000
    assert [bool(buckets.take("a")) for _ in range(4)] == [False, False, False, True]


def test_wrong_passwords_wait_longer_each_time():
    clock = Clock(0)
    attempts = Attempts(clock)
    keys = attempts.keys("ada", "1.2.3.4")
    waits = []
    for _ in range(9):
        waits.append(attempts.wait_s(*keys))
        clock.now += waits[-1]
        attempts.failed(*keys)
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8]
    assert attempts.wait_s(*attempts.keys("bea", "5.6.7.8")) == 0
    assert attempts.wait_s(*attempts.keys("ada", "5.6.7.8")) == 0
    for _ in range(40):
        clock.now += attempts.wait_s(*keys)
        attempts.failed(*keys)
    assert attempts.wait_s(*keys) == 900 and attempts.wait_s(*attempts.keys("bea", "1.2.3.4"))
    attempts.passed(*keys)
    assert attempts.wait_s(*keys) == 0


class Slow(MemoryStorage):
    """A storage whose disk is waited for until the test says so."""

    def __init__(self):
        super().__init__()
        self.syncs = 0
        self.go = threading.Semaphore(0)

    def _finish(self):
        self.go.acquire()
        self.syncs += 1
        super()._finish()


def test_what_waits_shares_the_next_sync_and_one_error_is_its_own():
    storage = Slow()
    committer = Committer(storage)
    done = []
    lock = threading.Lock()

    def write(n):
        if n == 5:
            raise BadInput("five")
        storage.commit([("meta", {"name": "n%d" % n, "value": "x"})])
        return n

    def finished(error, result):
        with lock:
            done.append((type(error).__name__ if error else None, result))

    committer.submit(lambda: write(0), None, finished)
    while committer.waiting():
        pass
    for n in range(1, 20):
        committer.submit(lambda n=n: write(n), lambda n: n * 10, finished)
    assert done == []
    storage.go.release()
    storage.go.release()
    committer.close()
    assert storage.syncs == 2
    assert done[0] == (None, 0) and ("BadInput", None) in done
    assert sorted(r for e, r in done[1:] if not e) == [n * 10 for n in range(1, 20) if n != 5]


def test_a_batch_that_fails_fails_for_everybody_in_it():
    class Broken(MemoryStorage):
        def _finish(self):
            raise OSError("disk")

    committer = Committer(Broken())
    done = []
    for n in range(3):
        row = {"name": "n%d" % n, "value": "x"}
        committer.submit(
            lambda row=row: committer._storage.commit([("meta", row)]), lambda r: 1 / 0,
            lambda error, result: done.append(type(error)),
        )  # fmt: skip
    committer.close()
    assert done == [OSError] * 3


# --- accounts --------------------------------------------------------------------------------


def test_secrets_are_kept_as_hashes_only():
    storage = MemoryStorage()
    accounts.add_owner(storage, "ada", "correct horse", 1)
    device, secret = accounts.enrol(storage, "ada", "x", "", 1)
    everything = repr([storage.scan(t) for t in ("owners", "devices", "local", "meta")])
    assert "correct horse" not in everything and secret not in everything
    header = "Bearer %s.%s" % (device, secret)
    assert accounts.authenticate(storage, header)["owner"] == "ada"
    with pytest.raises(WrongSecret):
        accounts.authenticate(storage, header[:-1] + "_")
    accounts.remove_owner(storage, "ada", 5)
    with pytest.raises(Revoked):
        accounts.authenticate(storage, header)
    with pytest.raises(WrongSecret):
        accounts.check_password(storage, "ada", "correct horse")


@pytest.mark.parametrize("name", ["", " a", "a/b", "a\nb", "x" * 65, "a\0"])
def test_names_that_no_owner_has(name):
    with pytest.raises(BadInput):
        accounts.add_owner(MemoryStorage(), name, "correct horse", 1)


def test_accounts_say_what_is_wrong():
    storage = MemoryStorage()
    accounts.add_owner(storage, "ada", "correct horse", 1)
    with pytest.raises(BadInput, match="already"):
        accounts.add_owner(storage, "ada", "correct horse", 1)
    with pytest.raises(BadInput, match="8 to"):
        accounts.set_password(storage, "ada", "short")
    for call in (lambda: accounts.set_password(storage, "bea", "long enough"),
                 lambda: accounts.revoke(storage, "0" * 16, 1),
                 lambda: accounts.enrol(storage, "bea", "", "", 1)):  # fmt: skip
        with pytest.raises(NotFound):
            call()


# --- sessions --------------------------------------------------------------------------------


def test_tokens_end_with_the_password_and_forms_belong_to_tokens():
    storage = MemoryStorage()
    add_owner(storage)
    accounts.set_password(storage, "ada", "correct horse")
    sessions = Sessions(storage)
    row = accounts.check_password(storage, "ada", "correct horse")
    token = sessions.issue(row)
    assert sessions.check(token)["owner"] == "ada"
    assert Sessions(storage).check(token)["owner"] == "ada"  # the hub was started again
    sessions.check_form(token, sessions.form_token(token))
    for value in ("", "x", sessions.form_token("another"), None):
        with pytest.raises(WrongSecret):
            sessions.check_form(token, value)
    for wrong in ("", "x.y.z", token[:-1], Sessions(MemoryStorage()).issue(row)):
        with pytest.raises(WrongSecret):
            sessions.check(wrong)
    accounts.set_password(storage, "ada", "battery staple")
    with pytest.raises(WrongSecret):
        sessions.check(token)


# --- photos of others ------------------------------------------------------------------------


def test_the_end_of_a_photo_gives_no_right_to_it():
    """Ada's link broke; bob knows the photo's name and how its file ends."""
    photo = bytes(range(256)) * 9
    name = hashlib.sha256(photo).digest()
    service, _, _ = make_hub()
    service.blobs = MemoryBlobs()
    uploads = Uploads(service)
    uploads.add("ada", name, len(photo), 0, photo[:-1])
    assert uploads.state("bob", name) == (0, False) and service.partial("bob", name) == 0
    with pytest.raises(WrongOffset):
        uploads.check("bob", name, len(photo), len(photo) - 1, 1)
    assert service.partial("ada", name) == len(photo) - 1
    uploads.add("ada", name, len(photo), len(photo) - 1, photo[-1:])
    with pytest.raises(NotThere):
        uploads.read("bob", name, 0)
