"""The drill as one HTML page: each record's whereabouts over time, drawn."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape

from drybag_host.output import count_text

from .whereabouts import PLACES

_TEMPLATES = Path(__file__).parent / "templates"
_STYLE = Path(__file__).parent.parent / "rig" / "templates" / "report.css"
_ROW = 4
_COLUMN = 100
_SHOWN = 200


def write_page(drill, path, facts):
    """Write the page; `facts`: the drill's document, see commands/drill.py. Raises OSError."""
    Path(path).write_text(html(drill, facts), encoding="utf-8")


def html(drill, facts):
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape(("html",)),
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    timeline = drill.timeline
    keys = sorted(timeline.rows, key=lambda key: (key[2], key[1], key[0]))
    return environment.get_template("drill.html").render(
        facts=facts,
        style=_STYLE.read_text(encoding="utf-8"),
        own_style=(_TEMPLATES / "drill.css").read_text(encoding="utf-8"),
        moments=timeline.moments,
        places=PLACES,
        ours=picture(timeline, timeline.rows, keys),
        cached=picture(timeline, timeline.cached, keys),
        counts=[
            (moment, timeline.count(timeline.rows, at), timeline.count(timeline.cached, at))
            for at, moment in enumerate(timeline.moments)
        ],
        cache_lost=[key[1].decode(errors="replace") for key in timeline.lost_by_cache()],
        lost=facts["lost"],
        wrong=facts["wrong"],
        shown=_SHOWN,
        words=count_text,
    )


def picture(timeline, rows, keys):
    """{"width", "height", "bars": [(place, x, y, width)], "owners": [(y, height)]} of an SVG.

    A bar is a run of moments during which the record was in places of one kind.
    """
    bars, bands, owner, start = [], [], None, 0
    for number, key in enumerate(keys):
        y = number * _ROW
        if key[2] != owner:
            if owner is not None:
                bands.append((start, y - start))
            owner, start = key[2], y
        row = rows[key]
        at = 0
        while at < len(row):
            end = at
            while end < len(row) and row[end] == row[at]:
                end += 1
            if row[at] != "none":
                bars.append((row[at], at * _COLUMN, y, (end - at) * _COLUMN))
            at = end
    height = len(keys) * _ROW
    if owner is not None:
        bands.append((start, height - start))
    return {
        "width": len(timeline.moments) * _COLUMN, "height": height, "bars": bars,
        "owners": bands[1::2], "row": _ROW, "column": _COLUMN,
    }  # fmt: skip
