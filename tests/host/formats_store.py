"""Records in memory, for tests of import and export, and where the corpus is."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from drybag.errors import NotFound
from drybag_host import formats

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(os.environ.get("DRYBAG_CORPUS") or ROOT.parent / "shared" / "corpus")
CORPUS_FILES = sorted(p for p in CORPUS.glob("*/*") if p.suffix in (".vcf", ".ics"))


def corpus_files():
    """All corpus files; skips the test without them."""
    if not CORPUS_FILES:
        pytest.skip("needs the corpus: set DRYBAG_CORPUS to its folder")
    return CORPUS_FILES


def corpus_params():
    """One test a file; one that skips without the corpus."""
    reason = "needs the corpus: set DRYBAG_CORPUS to its folder"
    if not CORPUS_FILES:
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(p, id=p.name) for p in CORPUS_FILES]


class Store:
    """A source for export: what a handset or a backup would be."""

    def __init__(self, *paths):
        self.by_key = {}
        self.blobs = {}
        for path in paths:
            self.add(formats.read_file(path).records)

    def add(self, drafts):
        for d in drafts:
            self.put(d.kind, d.uid, d.body, dict(d.blobs), d.parent)
        return self

    def put(self, kind, uid, body, blobs=None, parent=0):
        self.by_key[kind, uid] = SimpleNamespace(
            kind=kind, uid=uid, body=body, blobs=tuple(blobs or ()), parent=parent,
            seq=len(self.by_key) + 1, stamp=0, rev=1, deleted=False,
        )  # fmt: skip
        self.blobs.update(blobs or {})
        return self

    def records(self):
        return iter(self.by_key.values())

    def read_blob(self, sha):
        if sha not in self.blobs:
            raise NotFound("no blob %s" % sha.hex()[:12])
        return self.blobs[sha]

    def contents(self):
        return {k: (r.body, r.blobs, r.parent) for k, r in self.by_key.items()}


def reimported(folder):
    """A store with everything in an exported folder."""
    found = [p for p in sorted(Path(folder).rglob("*")) if p.suffix in (".vcf", ".ics")]
    found += sorted(Path(folder).glob("photos/*.*"))
    return Store(*found)
