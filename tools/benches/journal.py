"""Flash cost, memory and boot of the journal: the MicroPython workloads beside this file."""

import json
import subprocess
import tempfile
from pathlib import Path

from drybag_host.image.firmware import compile_module
from drybag_host.resources import firmware_dir

HERE = Path(__file__).parent
ROM = HERE.parents[1] / "host" / "drybag_host" / "emulator" / "rom"
LIMITS = {
    "W1": {"erases_per_record": 0.036, "programmed_bytes_per_record": 150,
           "modelled_ms_per_record": 2.2, "worst_put_ms": 250},
    "W2": {"erases_per_record": 0.12, "modelled_ms_per_record": 7, "worst_put_ms": 250},
    "W3": {"modelled_ms_per_record": 2},
    "memory": {"heap_bytes_per_record": 32, "boot_read_bytes": 131072},
}  # fmt: skip


def micropython(script, *args, heap):
    """Run a workload under real MicroPython; its one JSON line."""
    command = ["micropython", "-X", "heapsize=" + heap, str(HERE / script), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit("%s failed:\n%s%s" % (script, done.stdout, done.stderr))
    return json.loads(done.stdout)


def compiled(sources, target):
    """Bytecode of `sources` in the folder `target`, as on the handset."""
    target.mkdir()
    for source in sources:
        (target / (source.stem + ".mpy")).write_bytes(compile_module(source, source.name))


def memory():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        (scratch / "lib").mkdir()
        compiled((firmware_dir() / "lib" / "drybag").glob("*.py"), scratch / "lib" / "drybag")
        compiled([ROM / "nor.py", ROM / "prng.py"], scratch / "rom")
        image = scratch / "pim.bin"
        image.write_bytes(b"\xff" * (1 << 20))
        args = (scratch / "rom", scratch / "lib", image)
        result = micropython("journal_memory.py", *args, "fill", heap="240K")
        cut = micropython("journal_memory.py", *args, "boot", heap="240K")
        clean = micropython("journal_memory.py", *args, "boot", heap="240K")
    result["boot_read_bytes"] = max(cut["boot_read_bytes"], clean["boot_read_bytes"])
    result["after_cut"] = cut
    result["after_clean_shutdown"] = clean
    return result


def run():
    result = micropython(
        "journal_workloads.py", ROM, firmware_dir() / "lib", heap="16M"
    )
    ordered = {name: result[name] for name in ("W1", "W2", "W3")}
    ordered["memory"] = memory()
    return ordered


def table(result):
    from rich.console import Console
    from rich.table import Table

    console = Console()
    columns = ("modelled_ms_per_record", "programmed_bytes_per_record", "erases_per_record",
               "worst_put_ms")  # fmt: skip
    for name in ("W1", "W2", "W3"):
        rows = Table("way", "ms a record", "bytes", "erases", "worst put, ms", title=name)
        rows.add_row("drybag", *(_cell(name, key, result[name][key]) for key in columns))
        for way in ("append_flush", "file_per_record", "json_rewrite", "raw_limit"):
            rows.add_row(way, *(str(result[name][way][key]) for key in columns))
        console.print(rows)
    for key in LIMITS["memory"]:
        console.print("%s: %s" % (key, _cell("memory", key, result["memory"][key])))


def _cell(workload, key, value):
    limit = LIMITS[workload].get(key)
    if limit is None:
        return str(value)
    return "%s (%s %s)" % (value, "<=" if value <= limit else "MORE THAN", limit)
