"""Descriptions of boards: `boards/*.toml`, one file a board, and their check."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from drybag_host.board_errors import BoardFileError
from drybag_host.image import partitions
from drybag_host.resources import boards_dir

# chip: bootloader offset, largest flash MiB, clock MHz, heap KiB without PSRAM
CHIPS = {
    "esp32": (0x1000, 16, (80, 160, 240), (80, 300)),
    "esp32s2": (0x1000, 16, (80, 160, 240), (80, 240)),
    "esp32s3": (0x0, 32, (80, 160, 240), (80, 360)),
    "esp32c3": (0x0, 16, (80, 160), (80, 300)),
}
_FLASH_MIB = (2, 4, 8, 16, 32)
_FIELDS = {
    "title": str,
    "machine": str,
    "chip": str,
    "flash_mib": int,
    "psram_kib": int,
    "heap_kib": int,
    "freq_mhz": int,
    "bootloader_offset": int,
    "partitions": str,
    "usb": list,
}
_OPTIONAL = {"micropython": str}
_GENERIC = {
    "esp32": "ESP32_GENERIC",
    "esp32s2": "ESP32_GENERIC_S2",
    "esp32s3": "ESP32_GENERIC_S3",
    "esp32c3": "ESP32_GENERIC_C3",
}


@dataclass(frozen=True)
class BoardModel:
    """One board. `heap_kib` is what MicroPython has on the real chip (32-bit words).

    `micropython` is how micropython.org calls the firmware for it ("ESP32_GENERIC").
    """

    name: str
    file: Path
    title: str
    machine: str
    chip: str
    flash_mib: int
    psram_kib: int
    heap_kib: int
    freq_mhz: int
    bootloader_offset: int
    usb: tuple
    partitions_file: str
    partitions_csv: str
    partitions: tuple
    micropython: str

    @property
    def flash_bytes(self):
        return self.flash_mib * 1024 * 1024


def load_file(path):
    """The board a TOML file describes. Raises BoardFileError with the file's name."""
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text())
    except OSError as error:
        raise BoardFileError("%s: %s" % (path, error.strerror)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BoardFileError("%s: %s" % (path, error)) from None
    raw = {"micropython": _GENERIC.get(str(raw.get("chip")), "ESP32_GENERIC"), **raw}
    for field, kind in {**_FIELDS, **_OPTIONAL}.items():
        if field not in raw:
            raise BoardFileError("%s: '%s' is missing" % (path, field))
        if not isinstance(raw[field], kind) or isinstance(raw[field], bool):
            raise BoardFileError("%s: '%s' must be of type %s" % (path, field, kind.__name__))
    unknown = sorted(set(raw) - set(_FIELDS) - set(_OPTIONAL))
    if unknown:
        raise BoardFileError("%s: unknown field '%s'" % (path, unknown[0]))
    csv_text, csv_name = raw["partitions"], "%s (partitions)" % path
    if "," not in csv_text:
        csv_file = path.parent / csv_text
        csv_name = str(csv_file)
        try:
            csv_text = csv_file.read_text()
        except OSError as error:
            raise BoardFileError("%s: partitions: %s" % (path, error)) from None
    rows = tuple(partitions.parse_csv(csv_text, csv_name))
    fields = {name: raw[name] for name in _FIELDS if name not in ("usb", "partitions")}
    return BoardModel(
        name=path.stem,
        file=path,
        usb=tuple(_usb(path, entry) for entry in raw["usb"]),
        partitions_file=csv_name,
        partitions_csv=csv_text,
        partitions=rows,
        micropython=raw["micropython"],
        **fields,
    )


def _usb(path, entry):
    try:
        vid, pid, name = int(entry["vid"]), int(entry["pid"]), str(entry["name"])
    except (TypeError, KeyError, ValueError):
        raise BoardFileError("%s: a [[usb]] entry has vid, pid and name" % path) from None
    return (vid, pid, name)


def problems(model):
    """Everything wrong with a description, as sentences that begin with the file's name."""
    found = []
    chip = CHIPS.get(model.chip)
    if chip is None:
        found.append("chip '%s' is none of %s" % (model.chip, ", ".join(sorted(CHIPS))))
    else:
        offset, most_mib, clocks, heap = chip
        if model.bootloader_offset != offset:
            found.append(
                "bootloader_offset 0x%x: an %s boots from 0x%x"
                % (model.bootloader_offset, model.chip, offset)
            )
        if model.flash_mib > most_mib:
            found.append(
                "flash_mib %d: an %s has at most %d" % (model.flash_mib, model.chip, most_mib)
            )
        if model.freq_mhz not in clocks:
            found.append("freq_mhz %d is none of %s" % (model.freq_mhz, clocks))
        most_heap = model.psram_kib or heap[1]
        if not heap[0] <= model.heap_kib <= most_heap:
            found.append(
                "heap_kib %d is not between %d and %d" % (model.heap_kib, heap[0], most_heap)
            )
    if model.flash_mib not in _FLASH_MIB:
        found.append("flash_mib %d is none of %s" % (model.flash_mib, _FLASH_MIB))
    found = ["%s: %s" % (model.file, text) for text in found]
    table = partitions.problems(model.partitions, model.flash_bytes)
    return found + ["%s: %s" % (model.partitions_file, text) for text in table]


def board_files(folder=None):
    """The board files, sorted by name."""
    return sorted(Path(folder or boards_dir()).glob("*.toml"))


def load(name, folder=None):
    """The board of that name (or the TOML file of that path), checked. Raises BoardFileError."""
    path = Path(name)
    if path.suffix != ".toml":
        path = Path(folder or boards_dir()) / (name + ".toml")
    if not path.exists():
        known = ", ".join(file.stem for file in board_files(folder))
        raise BoardFileError("no board '%s'; there are: %s" % (name, known))
    model = load_file(path)
    found = problems(model)
    if found:
        raise BoardFileError("\n".join(found))
    return model
