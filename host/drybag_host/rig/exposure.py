"""How long each place on the flash is exposed to a cut: time by the datasheet model.

A cut hits a command in proportion to the time the command takes, not to how many there are.
"""

# typical W25Q32JV figures; the maxima are 3 ms a page and 400 ms an erase
PROGRAM_MS = 0.03
PROGRAM_MS_A_BYTE = 0.00145
ERASE_MS = 45.0
MODEL = "page program 0.03 ms + 0.00145 ms a byte, sector erase 45 ms (W25Q32JV, typical)"


def exposure(places):
    """`places`: {name: {"programs", "programmed_bytes", "erases"}}. Times in ms, shares 0 to 1.

    {"model", "total_ms", "program_share", "erase_share", "places": [{"place", "program_ms",
    "erase_ms", "share"}], the longest first}; {} where nothing was written.
    """
    rows = []
    for name, counts in places.items():
        program_ms = (
            PROGRAM_MS * counts.get("programs", 0)
            + PROGRAM_MS_A_BYTE * counts.get("programmed_bytes", 0)
        )
        rows.append([name, program_ms, ERASE_MS * counts.get("erases", 0)])
    total_ms = sum(row[1] + row[2] for row in rows)
    if not total_ms:
        return {}
    rows.sort(key=lambda row: (-row[1] - row[2], row[0]))
    return {
        "model": MODEL,
        "total_ms": round(total_ms, 3),
        "program_share": sum(row[1] for row in rows) / total_ms,
        "erase_share": sum(row[2] for row in rows) / total_ms,
        "places": [
            {
                "place": name,
                "program_ms": round(program_ms, 3),
                "erase_ms": round(erase_ms, 3),
                "share": (program_ms + erase_ms) / total_ms,
            }
            for name, program_ms, erase_ms in rows
        ],
    }
