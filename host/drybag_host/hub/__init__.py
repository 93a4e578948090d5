"""The hub: the host-side service that handsets sync with, and what it keeps. SPEC.md, "Sync"."""
