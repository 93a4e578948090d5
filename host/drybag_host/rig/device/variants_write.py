"""Known-bad variants of how the journal writes: units, CRCs, columns, batches, blobs.

Each function takes a Patch and changes the journal in memory. The docstring says what is wrong;
variants.py says which workloads show it.
"""

from drybag import layout, log, segment
from drybag.blobs import Blobs
from drybag.device import Device
from drybag.journal import Journal
from drybag.layout import UNIT, Entry


def ack_before_flush(patch):
    """The last unit of each write stays in RAM until the next one comes."""
    program, read, erase = Device.program, Device.read, Device.erase

    def send(device):
        kept, device.held = getattr(device, "held", None), None
        return not kept or program(device, *kept)

    def held_program(device, sector, offset, buf):
        done = send(device)
        last = len(buf) - UNIT
        if last:
            done = program(device, sector, offset, memoryview(buf)[:last]) and done
        device.held = sector, offset + last, bytes(buf[last:])
        return done

    def held_read(device, sector, offset, buf):
        read(device, sector, offset, buf)
        kept = getattr(device, "held", None)
        if kept and kept[0] == sector and offset <= kept[1] < offset + len(buf):
            at = kept[1] - offset
            n = min(UNIT, len(buf) - at)
            buf[at : at + n] = kept[2][:n]

    def held_erase(device, sector):
        send(device)
        return erase(device, sector)

    patch.set(Device, "program", held_program)
    patch.set(Device, "read", held_read)
    patch.set(Device, "erase", held_erase)


def no_crc(patch):
    """An entry is taken for whole wherever its first byte is right."""

    def parse(entry, buf):
        head = bytearray(buf[: layout.ENTRY_BYTES])
        crc = layout._header_crc(memoryview(head), layout.ENTRY_BYTES, entry.epoch) & 0xFFFF
        head[2:4] = crc.to_bytes(2, "little")
        return checked(entry, head)

    checked = patch.set(Entry, "parse", parse)
    patch.set(Entry, "intact", lambda entry, buf: True)


def crc_over_header_only(patch):
    """The payload's CRC is never looked at; the header's is."""
    patch.set(Entry, "intact", lambda entry, buf: True)


def units_in_sequence(patch):
    """Units go to flash front to back: commits share a page with what the next cut may harm."""

    def unit_offset(position):
        return position * UNIT

    for module in (layout, log, segment):
        patch.set(module, "unit_offset", unit_offset)


def no_parity(patch):
    """Columns, but the parity of a finished one is never written."""
    program = Device.program

    def skip_parity(device, sector, offset, buf):
        if offset >> 8 == 15 and offset & 0xFF < 3 * UNIT and len(buf) == UNIT:
            return True
        return program(device, sector, offset, buf)

    patch.set(Device, "program", skip_parity)


def parity_never_used(patch):
    """Parity is written, and recovery reads a harmed page as it is."""
    patch.set(segment, "heal", lambda image, scratch, entry: False)
    patch.set(segment, "repair_entry", lambda image, position, scratch, entry: False)


def no_read_back(patch):
    """What was programmed is not read again: a worn-out sector swallows records."""

    def program(device, sector, offset, buf):
        view = memoryview(buf)
        for at in range(0, len(view), UNIT):
            if device.bdev.writeblocks(sector, view[at : at + UNIT], offset + at):
                return False
        return True

    patch.set(Device, "program", program)


def batch_without_commit(patch):
    """A batch's entries count one by one: no flag, and so no need of the commit behind them."""
    put, delete = Journal._put, Journal._delete

    def plain_put(self, kind, uid, body, blobs, parent, big, flags):
        return put(self, kind, uid, body, blobs, parent, big, 0)

    def plain_delete(self, kind, uid, flags):
        return delete(self, kind, uid, 0)

    patch.set(Journal, "_put", plain_put)
    patch.set(Journal, "_delete", plain_delete)


def delete_in_ram(patch):
    """A delete changes the index; its tombstone would come with the next checkpoint."""

    def delete(self, kind, uid, flags):
        j = self._log
        _, salt, _ = j.lookup(kind, uid)
        j.next_seq += 1
        return log.key_hash(kind, uid, salt) | kind, j.next_seq - 1, 0

    patch.set(Journal, "_delete", delete)


def blob_after_entry(patch):
    """A blob waits in RAM until the entry that names it is on flash."""

    def store_later(blobs, blob, index, head, data):
        blobs.later = getattr(blobs, "later", []) + [(blob, index, head, bytes(data))]

    def has_or_waits(blobs, sha):
        return has(blobs, sha) or any(
            sha == piece[2][16:48] for piece in getattr(blobs, "later", ())
        )

    def write_then_store(self, function, *args):
        result = guarded(self, function, *args)
        waiting, self._blobs.later = getattr(self._blobs, "later", []), []
        for piece in waiting:
            store(self._blobs, *piece)
        return result

    store = patch.set(Blobs, "store", store_later)
    has = patch.set(Blobs, "has", has_or_waits)
    guarded = patch.set(Journal, "_guarded", write_then_store)
