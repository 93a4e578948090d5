"""The name in every hub's certificate, and how people compare its CA."""

import hashlib

__all__ = ["SERVER_NAME", "fingerprint"]

SERVER_NAME = "drybag-hub"


def fingerprint(der):
    """SHA-256 of a certificate's DER bytes, in hex."""
    return hashlib.sha256(der).hexdigest()
