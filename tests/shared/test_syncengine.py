"""The handset's engine against a scripted hub: whatever comes back, nothing is lost."""

import pytest
from pim_flash import bodies, store_blob, text
from sync_handset import NOW, Handset, changed, posts, same

from drybag import layout, syncwirehost
from drybag import syncwire as w
from drybag.layout import CONTACT, NOTE, PHOTO
from drybag.syncoutcome import BROKEN, BUSY, REFUSED, SYNCED, UNREACHABLE, Outcome


@pytest.fixture
def h():
    return Handset()


# --- the plain way -----------------------------------------------------------------------------


def test_two_hundred_records_are_one_round_trip(h):
    for n in range(200):
        h.j.put(CONTACT, b"uid%d" % n, b"VERSION:3.0\nUID:uid%d\nFN:Name %d\n" % (n, n))
    h.synced()
    assert posts(h) == 1 and h.engine.unsent() == 0
    same(h)


def test_an_idle_poll_writes_nothing_and_is_small(h):
    h.j.put(CONTACT, b"a", b"FN:A\n")
    h.synced()
    h.synced()
    seq, commands = h.j.last_seq, h.flash.nor.commands
    sizes = []
    h.answering(lambda action, answer: sizes.append(len(answer[2])) or answer)
    h.synced()
    assert (h.j.last_seq, h.flash.nor.commands) == (seq, commands)
    assert sizes == [w.REPLY_BYTES + 2]
    size = len(h.driver.seen) and w.REQUEST_BYTES
    head = len("POST /v1/sync HTTP/1.1\r\nHost: drybag-hub\r\nAuthorization: Bearer \r\n"
               "Content-Length: 54\r\n\r\n") + 60  # fmt: skip
    assert size + head + 29 < 400


def test_a_photo_and_a_long_body_travel_as_blobs(h):
    sha = store_blob(h.j, text(5, 9000))
    h.j.put(PHOTO, b"photo", b"FN:x\n", (sha,))
    h.j.put(NOTE, b"long", text(1, 5000))
    h.j.put(NOTE, b"inline", text(1, 1450))
    h.j.put(NOTE, b"short", text(1, 1400))
    h.synced()
    same(h)
    assert [h.hub.head(NOTE, uid).big is None for uid in (b"long", b"inline", b"short")] == [
        False, False, True,
    ]  # fmt: skip
    assert h.hub.blobs[sha] == text(5, 9000)


def test_changes_come_with_their_blobs_and_are_not_sent_back(h):
    h.j.put(CONTACT, b"mine", b"FN:M\n")
    h.synced()
    sha = h.hub.blob(text(9, 7000))
    big = h.hub.blob(text(8, 3000))
    h.hub.edit(PHOTO, b"p", b"FN:p\n", blobs=(sha,), stamp=77)
    h.hub.edit(NOTE, b"b", big=(big, 3000))
    h.hub.edit(CONTACT, b"mine", b"FN:from elsewhere\n", stamp=NOW + 5)
    h.synced()
    same(h)
    assert h.engine.unsent() == 0
    assert h.j.get(PHOTO, b"p").stamp == 77
    requests = h.hub.requests
    h.boot().synced()
    assert h.hub.requests == requests + 1 and h.engine.unsent() == 0
    h.j.put(CONTACT, b"mine", b"FN:back\n")
    assert [r.base for r in h.j.unsent(h.engine.state.agreed, 9)] == [
        layout.content_id(0, (), b"FN:from elsewhere\n")
    ]


def test_many_changes_come_page_by_page(h):
    for n in range(400):
        h.hub.edit(CONTACT, b"uid%d" % n, text(n, 100))
    h.synced()
    same(h)
    assert posts(h) > 3


def test_a_change_that_is_there_already_is_not_written(h):
    h.j.put(CONTACT, b"a", b"FN:A\n")
    h.synced()
    h.hub.edit(CONTACT, b"a", b"FN:A\n")
    seq = h.j.seq_of(CONTACT, b"a")
    h.synced()
    assert h.j.seq_of(CONTACT, b"a") == seq


def test_a_deletion_goes_up_and_comes_down(h):
    h.j.put(CONTACT, b"a", b"FN:A\n")
    h.j.put(CONTACT, b"b", b"FN:B\n")
    h.synced()
    h.j.delete(CONTACT, b"a")
    h.boot().synced()
    assert h.hub.head(CONTACT, b"a").deleted
    h.hub.edit(CONTACT, b"b", deleted=True)
    h.synced()
    assert not h.j.count() and not h.engine.unsent()


# --- what the network does ---------------------------------------------------------------------


def test_a_lost_reply_costs_nothing(h):
    h.j.put(CONTACT, b"a", b"FN:A\n")
    h.answering(lambda action, answer: (0, {}, "the link broke"))
    assert h.synced(UNREACHABLE).reason == "the link broke"
    h.answering(lambda action, answer: answer)
    h.boot().synced()
    same(h)
    assert len(h.hub.log) == 1 and not h.hub.quarantined


def test_a_photo_goes_on_where_the_link_broke(h):
    sha = store_blob(h.j, text(5, 9000))
    h.j.put(PHOTO, b"photo", b"FN:x\n", (sha,))
    h.hub.partial[sha] = text(5, 9000)[:4500]
    h.synced()
    assert ("put", "/v1/blobs/%s?size=9000&offset=4500" % sha.hex()) in h.driver.seen
    other = h.hub.blob(text(6, 9000))
    h.hub.edit(PHOTO, b"other", b"FN:y\n", blobs=(other,))
    left = [5]

    def breaks(action, answer):
        left[0] -= action[0] == "more"
        return None if action[0] == "more" and left[0] == 0 else answer

    h.answering(breaks)
    h.synced(UNREACHABLE)
    h.synced()
    assert h.driver.seen[-1] == ("get", "/v1/blobs/" + other.hex())
    same(h)


def test_a_damaged_photo_is_told_and_fetched_anew(h):
    sha = h.hub.blob(text(6, 5000))
    h.hub.edit(PHOTO, b"p", b"FN:y\n", blobs=(sha,))
    h.answering(lambda a, answer: b"x" * len(answer) if a[0] == "more" else answer)
    assert "damaged" in h.synced(BROKEN).reason
    h.answering(lambda action, answer: answer)
    h.synced()
    same(h)


def test_a_hub_that_forgets_what_it_took_of_a_photo(h):
    """409 says where to go on; 422: anew."""
    sha = store_blob(h.j, text(5, 9000))
    h.j.put(PHOTO, b"photo", b"FN:x\n", (sha,))
    h.hub.partial[sha] = b"other bytes" * 100

    def loses(action, answer):
        if action[0] == "put" and "offset=1100" in action[1]:
            h.hub.partial.pop(sha, None)
        return answer

    h.answering(loses)
    h.synced()
    assert h.hub.blobs[sha] == text(5, 9000)


@pytest.mark.parametrize("at", range(1, 5))
def test_the_person_writes_during_a_sync(h, at):
    for n in range(20):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 100))
    h.hub.edit(CONTACT, b"uid3", b"FN:hub\n", stamp=1)
    for n in range(12):
        h.hub.edit(CONTACT, b"far%d" % n, text(n, 50))

    def write():
        h.j.put(CONTACT, b"uid3", b"FN:meanwhile\n")
        h.j.put(CONTACT, b"far1", b"FN:mine\n")
        h.j.delete(CONTACT, b"uid4")

    h.meanwhile(write, at)
    h.synced()
    same(h)
    assert h.j.get(CONTACT, b"uid3").body == b"FN:meanwhile\n"
    assert h.j.get(CONTACT, b"far1").body == b"FN:mine\n"
    assert not h.j.find_uid(CONTACT, b"uid4") and not h.engine.unsent()


def test_the_person_writes_while_a_poll_without_news_is_answered(h):
    """What has come by then is no "the hub takes nothing and gives nothing"."""
    h.synced()
    h.synced()
    h.meanwhile(lambda: h.j.put(CONTACT, b"just now", b"FN:Ada\n"))
    h.synced()
    same(h)


# --- what a hub may say ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        changed(nonce=1),
        changed(ack=0),
        changed(cursor=0),
        changed(hub=b"another!"),
        changed(w.ACK_RESET, hub=b"another!"),
        changed(w.CURSOR_RESET, hub=b"another!"),
        changed(w.HELD, n=5, wanted=((bytes(32), 0),) * 17),
        lambda action, answer: (200, {}, b"<html>hotel wifi: please log in</html>"),
        lambda action, answer: (200, {}, answer[2] + b"\0"),
        lambda action, answer: (200, {}, answer[2][:-1]),
        lambda action, answer: (500, {}, b""),
        lambda action, answer: (302, {}, b""),
        changed(wanted=((b"q" * 32, 0),)),
    ],
)
def test_a_reply_that_makes_no_sense_is_not_used(h, change):
    for n in range(9):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 100))
    h.synced()
    h.hub.edit(CONTACT, b"uid3", deleted=True)
    h.hub.edit(CONTACT, b"new", b"FN:N\n")
    before, state = bodies(h.j), h.state.pack()
    h.answering(change)
    outcome = h.synced(BROKEN)
    assert outcome.reason and 2 <= outcome.wait_s <= 8
    assert bodies(h.j) == before and h.state.pack() == state
    h.answering(lambda action, answer: answer)
    h.synced()
    same(h)


def test_an_old_reply_played_again_is_not_used(h):
    old = []
    h.answering(lambda action, answer: old.append(answer) or answer)
    h.hub.edit(CONTACT, b"a", b"FN:A\n")
    h.synced()
    h.hub.edit(CONTACT, b"a", b"FN:B\n")
    h.answering(lambda action, answer: old[0])
    assert "old reply" in h.synced(BROKEN).reason


def test_a_page_longer_than_asked_for_is_not_used(h):
    for n in range(200):
        h.hub.edit(CONTACT, b"uid%d" % n, text(n, 100))

    def all_of_it(action, answer):
        request, _ = syncwirehost.parse_request(bytes(action[2]))
        request.room = 60000
        return 200, {}, h.hub.post("d0", syncwirehost.pack_request(request, []))[1]

    h.answering(all_of_it)
    assert "longer" in h.synced(BROKEN).reason
    assert not h.j.count()


def test_a_hub_that_never_moves_is_left_alone(h):
    h.j.put(CONTACT, b"a", b"FN:A\n")
    h.answering(changed(ack=0, ack_check=w.NO_CHECK))
    assert h.synced(BROKEN).reason == "the hub takes nothing and gives nothing"
    h.answering(changed(w.MORE, cursor=0, cursor_check=w.NO_CHECK, n=0))
    h.synced(BROKEN)


@pytest.mark.parametrize(
    "status,said,state",
    [
        (401, "WrongSecret", REFUSED), (403, "Revoked", REFUSED), (426, "VersionNewer", REFUSED),
        (429, "Busy", BUSY), (503, "Busy", BUSY), (400, "BadRequest", BROKEN),
    ],
)  # fmt: skip
def test_a_refusal_is_shown_with_its_reason(h, status, said, state):
    h.j.put(CONTACT, b"a", b"FN:A\n")
    body = b'{"class": "%s", "message": "because\\u0007 of it", "wait_s": 4000}' % said.encode()
    h.answering(lambda action, answer: (status, {}, body))
    outcome = h.synced(state)
    assert "because? of it" in outcome.reason
    assert outcome.wait_s == 4000
    assert h.engine.unsent() == 1


def test_a_hub_that_takes_less_at_once_gets_less(h):
    for n in range(200):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 100))

    def small(action, answer):
        if action[0] == "post" and len(action[2]) > 10000:
            return 413, {}, b'{"class": "TooLarge", "message": ""}'
        return answer

    h.answering(small)
    h.synced()
    same(h)


def test_backing_off(h):
    h.answering(lambda action, answer: (0, {}, "no"))
    waits = [h.sync().wait_s for _ in range(14)]
    for n, wait_s in enumerate(waits):
        right = min(1800, 5 << n)
        assert right // 2 <= wait_s <= right * 3 // 2
    assert len(set(waits[10:])) > 1
    h.answering(lambda action, answer: answer)
    assert h.synced().wait_s == 300


@pytest.mark.parametrize(
    ("wait_s", "free_bytes", "kept"),
    [(300, 60000, True), (600, 200000, True), (601, 200000, False), (300, 59999, False)],
)
def test_a_connection_is_kept_where_it_is_of_use_and_leaves_room(wait_s, free_bytes, kept):
    assert Outcome(SYNCED, "", wait_s).keeps_connection(free_bytes) is kept


def test_a_connection_is_kept_between_idle_polls(h):
    h.sync()
    assert h.sync().keeps_connection(200000)
