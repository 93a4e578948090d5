"""What a handset has not sent yet, as the hub tells it."""

from hub_kit import Device, make_hub

CARD = b"VERSION:3.0\nFN:Ada\n"


def stream_of(storage, device):
    return next(s for s in storage.scan("streams") if s["device"] == device)


def test_what_a_handset_notes_for_itself_is_not_unsent():
    service, storage, _ = make_hub()
    a, b = Device(service, "a"), Device(service, "b")
    b.sync(b.item(b"x", CARD))
    a.sync(a.item(b"y", CARD))
    a.seq = 3  # how far it has come is a record too
    a.sync(upto=1)
    stream = stream_of(storage, "a")
    assert stream["cursor"] and (stream["ack"], stream["last_seq"]) == (1, 1)


def test_what_did_not_fit_into_a_request_is_unsent():
    service, storage, _ = make_hub()
    a = Device(service, "a")
    item = a.item(b"y", CARD)
    a.seq = 4
    a.sync(item, upto=1, room=0)
    stream = stream_of(storage, "a")
    assert (stream["ack"], stream["last_seq"]) == (1, 4)
