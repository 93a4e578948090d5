"""The frame codec: what is sent arrives, what was not sent never does, noise passes."""

from pathlib import Path

from both_interpreters import run_both
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drybag import frame, framehost

SCRIPTS = Path(__file__).parent / "scripts"
SESSION = 0x5A17
bytes_to_board = st.binary(max_size=frame.MAX_TO_BOARD)
bytes_from_board = st.binary(max_size=frame.MAX_FROM_BOARD)
heads = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 65535))


def decode_board(decoder, data, step=64):
    """(frames, text bytes) that a handset's decoder takes out of `data`, fed in pieces."""
    frames, text = [], bytearray()
    for start in range(0, len(data), step):
        piece = data[start : start + step]
        at = 0
        while at < len(piece):
            at = decoder.feed(piece, at, len(piece))
            if decoder.event == frame.FRAME:
                frames.append(
                    (decoder.kind, decoder.ident, decoder.session, decoder.index,
                     bytes(decoder.payload))
                )  # fmt: skip
            elif decoder.event == frame.TEXT:
                text.append(decoder.byte)
    return frames, bytes(text)


def damage(draw, wire):
    """Bits flipped, bytes dropped, inserted and doubled, as drawn."""
    wire = bytearray(wire)
    for kind, place, value in draw(
        st.lists(
            st.tuples(st.sampled_from("xdia"), st.integers(0, 1 << 16), st.integers(0, 255)),
            max_size=6,
        )
    ):
        if not wire:
            break
        place %= len(wire)
        if kind == "x":
            wire[place] ^= value or 1
        elif kind == "d":
            del wire[place : place + 1 + value % 9]
        elif kind == "i":
            wire[place:place] = bytes([value])
        else:
            wire[place:place] = wire[place : place + value]
    return bytes(wire)


def test_both_interpreters_agree():
    assert len(run_both(SCRIPTS / "frame_vectors.py")) > 150


def test_golden_frames():
    """The bytes of SPEC.md."""
    assert framehost.pack_stuffed(0x81, 7, 0x1234, 0, b"\x01\x01").hex() == (
        "fefd4187b49280808280f8fd478181fcfd5dfd47a3"
    )
    assert framehost.pack(0x92, 7, 0x1234, 0, b"Hi").hex() == "fb9207341200000200b0b148699de0cca9"


@given(heads, bytes_to_board, st.integers(1, 64))
def test_towards_the_board_and_back(head, payload, step):
    wire = framehost.pack_stuffed(head[0], head[1], SESSION, head[2], payload)
    frames, text = decode_board(frame.Decoder(), b"hi" + wire + b"!", step)
    assert frames == [(head[0], head[1], SESSION, head[2], payload)]
    assert text == b"hi!"


@given(heads, bytes_to_board)
def test_nothing_on_the_line_drives_a_repl(head, payload):
    wire = framehost.pack_stuffed(head[0], head[1], SESSION, head[2], payload)
    assert min(wire) >= 32 and 127 not in wire and 255 not in wire
    assert wire.count(bytes((frame.TO_BOARD,))) == 1
    assert framehost.stuffed_size(payload) <= 2 * len(payload)


@given(bytes_to_board, st.integers(0, 240), st.integers(0, 250))
def test_fitting_is_the_most_that_fits(payload, start, limit):
    n = framehost.fitting(payload, start, limit)
    assert framehost.stuffed_size(payload[start : start + n]) <= limit
    if start + n < len(payload):
        assert framehost.stuffed_size(payload[start : start + n + 1]) > limit


@given(heads, bytes_from_board, st.integers(1, 3000))
def test_from_the_board_and_back(head, payload, step):
    wire = b"text\r\n" + framehost.pack(head[0], head[1], SESSION, head[2], payload) + b">"
    decoder = framehost.RawDecoder(SESSION)
    frames = []
    for start in range(0, len(wire), step):
        frames += decoder.feed(wire[start : start + step])
    assert frames == [(head[0], head[1], SESSION, head[2], payload)]
    assert bytes(decoder.text) == b"text\r\n>"


@settings(max_examples=300)
@given(st.data(), st.lists(bytes_to_board, min_size=1, max_size=4))
def test_noise_towards_the_board(data, payloads):
    """Nothing that was not sent comes out, and the next whole frame after noise does."""
    sent = [(1, i, SESSION, i, p) for i, p in enumerate(payloads)]
    noisy = damage(data.draw, b"".join(framehost.pack_stuffed(*f) for f in sent))
    decoder = frame.Decoder()
    frames, _ = decode_board(decoder, noisy)
    assert all(f in sent for f in frames)
    good = (2, 9, SESSION, 9, b"good")
    frames, _ = decode_board(decoder, framehost.pack_stuffed(*good))
    assert frames == [good]


@settings(max_examples=300)
@given(st.data(), st.lists(st.binary(max_size=300), min_size=1, max_size=4))
@example(None, [b"\xfb" * 40, b""])
def test_noise_from_the_board(data, payloads):
    """The same for the host; silence ends what hangs in the air."""
    sent = [(1, i, SESSION, i, p) for i, p in enumerate(payloads)]
    wire = b"".join(framehost.pack(*f) for f in sent)
    noisy = damage(data.draw, wire) if data else wire[5:]
    decoder = framehost.RawDecoder(SESSION)
    frames = decoder.feed(noisy)
    good = (2, 9, SESSION, 9, b"good")
    frames += decoder.feed(framehost.pack(*good)) + decoder.idle()
    assert all(f in [*sent, good] for f in frames)
    assert frames[-1] == good


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=200), max_size=30))
def test_arbitrary_bytes_in_bounded_memory(pieces):
    board, host = frame.Decoder(), framehost.RawDecoder()
    for piece in pieces:
        decode_board(board, piece)
        host.feed(piece * 7)
        assert len(host._buf) <= frame.MAX_FROM_BOARD + frame.OVERHEAD_BYTES
        assert len(host.text) <= 4096
    board.idle()
    assert not board.in_frame


@given(bytes_to_board, st.integers(1, 200))
def test_a_control_character_ends_a_frame(payload, cut):
    """Somebody presses Ctrl-C when a frame has stopped half way: the second press is heard."""
    wire = framehost.pack_stuffed(1, 1, SESSION, 0, payload)
    cut = min(cut, len(wire) - 1)
    _, text = decode_board(frame.Decoder(), wire[:cut] + b"\x03\x03help")
    assert text == b"\x03help"


def test_a_frame_within_a_record_is_no_frame():
    """A record holds the bytes of a frame, and the frame that carries it is damaged."""
    forged = framehost.pack(0x93, 3, 0x1111, 0, b"forged")
    carrier = bytearray(framehost.pack(0x12, 3, SESSION, 0, b"NOTE:" + forged + b"\n"))
    carrier[14] ^= 1
    decoder = framehost.RawDecoder(SESSION)
    assert decoder.feed(bytes(carrier)) + decoder.idle() == []
