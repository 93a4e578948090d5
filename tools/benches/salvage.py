"""Salvage: sectors of a full handset's `pim` overwritten by random bytes, and what comes back."""

import sys
from pathlib import Path

PERCENTS = (5, 10, 20, 40, 60, 80)
SEEDS = 5
SECTORS = 384  # `pim` of a board with 4 MiB


def run():
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "host"))
    from salvage_flash import full_pim

    image, journal = full_pim(SECTORS)
    shares = {str(percent): _share(image, journal, percent) for percent in PERCENTS}
    return {"sectors": SECTORS, "records": journal.count(), "share_of_unhit": shares}


def _share(image, journal, percent):
    from drybag_host.image.salvage_trial import overwrite, unhit
    from drybag_host.image.salvage_write import salvage_bytes

    expected = back = 0
    for seed in range(SEEDS):
        harmed, hit = overwrite(image, percent, seed)
        unharmed = unhit(journal, hit)
        found = {}
        for record in salvage_bytes(bytes(harmed))[1][0].versions:
            found[record.kind, record.uid] = record
        expected += len(unharmed)
        back += sum(
            1 for key, r in unharmed.items()
            if key in found and (found[key].seq, found[key].body) == (r.seq, r.body)
        )  # fmt: skip
    return round(back / expected, 6)


def table(result):
    from rich.console import Console
    from rich.table import Table

    title = "Salvage: %d records in %d sectors" % (result["records"], result["sectors"])
    out = Table("sectors overwritten", "records that were not hit: come back", title=title)
    for percent, share in result["share_of_unhit"].items():
        out.add_row(percent + " %", "%.2f %%" % (100 * share))
    Console().print(out)
