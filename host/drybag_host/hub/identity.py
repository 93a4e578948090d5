"""The hub's certificate authority in its copies: sealed with a passphrase, as rows of `meta`.

Handsets trust that CA alone. A hub restored without it has to be paired with each of them again,
by cable. Sealed, its key goes wherever the rows go: off-site, into backups, to other machines.

    ca_cert         the certificate, PEM
    ca_key_sealed   scrypt$LOG2_N$R$P$SALT$TOKEN: the key's PEM in a Fernet token, whose key is the
                    base64url of scrypt(passphrase, salt), 32 bytes
"""

import base64
import hashlib
import os
import secrets

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import serialization

from drybag.errors import BadInput, NotFound
from drybag_host.backup import disk
from drybag_host.hub.certs import _write_key

__all__ = ["LEAST_PASSPHRASE", "is_sealed", "seal", "unseal"]

LEAST_PASSPHRASE = 12  # who has a copy can try as often as he likes
LOG2_N, R, P = 16, 8, 1
CERT, KEY = "ca_cert", "ca_key_sealed"


def is_sealed(storage):
    """True if this storage, and what is copied from it, holds the CA."""
    return bool(_meta(storage, CERT) and _meta(storage, KEY))


def seal(storage, folder, passphrase):
    """Put the CA of `folder` into the storage. Raises NotFound, BadInput."""
    if len(passphrase) < LEAST_PASSPHRASE:
        raise BadInput("the passphrase needs at least %d characters" % LEAST_PASSPHRASE)
    cert = disk.read_file(os.path.join(folder, "ca.pem"))
    key = disk.read_file(os.path.join(folder, "ca-key.pem"))
    if not cert or not key:
        raise NotFound("%s: the certificate authority is not there" % folder)
    salt = secrets.token_bytes(16)
    token = Fernet(_key(passphrase, salt, LOG2_N, R, P)).encrypt(key).decode()
    sealed = "scrypt$%d$%d$%d$%s$%s" % (LOG2_N, R, P, salt.hex(), token)
    storage.commit([
        ("meta", {"name": CERT, "value": cert.decode()}),
        ("meta", {"name": KEY, "value": sealed}),
    ])  # fmt: skip


def unseal(storage, folder, passphrase):
    """Put the CA of the storage into `folder`, where there is none. Raises NotFound, BadInput."""
    cert, sealed = _meta(storage, CERT), _meta(storage, KEY)
    if not cert or not sealed:
        raise NotFound("no certificate authority is sealed in this hub: drybag hub ca seal")
    if os.path.lexists(os.path.join(folder, "ca.pem")):
        raise BadInput("%s holds a certificate authority already" % folder)
    try:
        _, log2_n, r, p, salt, token = sealed.split("$")
        key = _key(passphrase, bytes.fromhex(salt), min(int(log2_n), 20), int(r), int(p))
        pem = Fernet(key).decrypt(token.encode())
        private = serialization.load_pem_private_key(pem, None)
    except InvalidToken as error:
        raise BadInput("this is not the passphrase the CA was sealed with") from error
    except ValueError as error:
        raise BadInput("the sealed CA is damaged: %s" % error) from error
    disk.make_dirs(folder)
    _write_key(os.path.join(folder, "ca-key.pem"), private)
    disk.replace_file(os.path.join(folder, "ca.pem"), cert.encode())


def _meta(storage, name):
    row = storage.get("meta", [(name,)])[0]
    return row["value"] if row else ""


def _key(passphrase, salt, log2_n, r, p):
    n = 1 << log2_n
    data = passphrase.encode("utf-8", "surrogatepass")
    found = hashlib.scrypt(data, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)
    return base64.urlsafe_b64encode(found)
