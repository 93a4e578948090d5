"""Owners and their devices: who may speak to the hub, and as whom.

Passwords are kept as scrypt hashes, device secrets as SHA-256 (they are 256 random bits). Nothing
here is deleted: an owner who was removed has no password and no device that is let in.
"""

import hashlib
import hmac
import secrets
import string

from drybag.errors import BadInput, NotFound
from drybag_host.hub.refusals import Revoked, WrongSecret
from drybag_host.hub.schema import clean_text
from drybag_host.hub.storage import Stale, scan_all

__all__ = ["add_owner", "authenticate", "check_password", "devices", "enrol", "owners",
           "remove_owner", "revoke", "set_password", "update"]  # fmt: skip

SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 14, 8, 1
LEAST_PASSWORD = 8
MOST_PASSWORD = 256
OWNER_BYTES = 64
NAME_CHARS = 64
DEVICE_DIGITS = 16
SECRET_CHARS = 43
_HEX = set(string.hexdigits.lower())
_BASE64URL = set(string.ascii_letters + string.digits + "-_")
NOBODY = "scrypt$%d$%d$%d$%s$%s" % (SCRYPT_N, SCRYPT_R, SCRYPT_P, "00" * 16, "00" * 32)


def update(storage, table, key, change):
    """Read a row, `change(row)` it (in place), write it, again if somebody else wrote meanwhile.

    Returns the row. Raises NotFound.
    """
    while True:
        row = storage.get(table, [key])[0]
        if row is None:
            raise NotFound("no such %s: %s" % (table.rstrip("s"), key[0]))
        fresh = dict(row)
        change(fresh)
        try:
            storage.commit([(table, fresh)], [(table, key, "lsn", row["lsn"])])
            return fresh
        except Stale:
            continue


# --- owners ----------------------------------------------------------------------------------


def check_owner_name(name):
    """Raises BadInput for a name that handsets, files and addresses could not all bear."""
    if not 1 <= len(name.encode("utf-8", "replace")) <= OWNER_BYTES or not name.isprintable():
        raise BadInput("an owner's name has 1 to %d printable characters" % OWNER_BYTES)
    if name != name.strip() or set(name) & set("/\\"):
        raise BadInput("an owner's name has no slash, and no space at its ends")


def check_new_password(password):
    """Raises BadInput for one that is too short or too long."""
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise BadInput("a password has %d to %d characters" % (LEAST_PASSWORD, MOST_PASSWORD))


def add_owner(storage, name, password, now_ms):
    """A new owner. Raises BadInput, also where the name is taken."""
    check_owner_name(name)
    check_new_password(password)
    row = {"owner": name, "password_hash": _hash(password), "created_ms": now_ms}
    try:
        storage.commit([("owners", row)], [("owners", (name,), "owner", None)])
    except Stale as error:
        raise BadInput("there is an owner %s already" % name) from error


def set_password(storage, name, password):
    """Another password; who is logged in with the old one is logged out. Raises NotFound."""
    check_new_password(password)
    value = _hash(password)
    update(storage, "owners", (name,), lambda row: row.update(password_hash=value))


def remove_owner(storage, name, now_ms):
    """No log-in, no device. The records stay in the log, and in backups. Raises NotFound."""
    update(storage, "owners", (name,), lambda row: row.update(password_hash=""))
    for device in devices(storage, name):
        if not device["revoked_ms"]:
            revoke(storage, device["device"], now_ms)


def owners(storage):
    """Rows of all owners."""
    return list(scan_all(storage, "owners"))


def check_password(storage, name, password):
    """The owner's row. Raises WrongSecret, after the same time whoever it is."""
    row = storage.get("owners", [(name,)])[0] if "\0" not in name else None
    stored = row["password_hash"] if row else ""
    good = _matches(password[:MOST_PASSWORD], stored or NOBODY)
    if not (good and stored and len(password) <= MOST_PASSWORD):
        raise WrongSecret("wrong owner or password")
    return row


def _hash(password):
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    fields = (SCRYPT_N, SCRYPT_R, SCRYPT_P, salt.hex(), digest.hex())
    return "scrypt$%d$%d$%d$%s$%s" % fields


def _matches(password, stored):
    _, n, r, p, salt, digest = stored.split("$")
    found = _scrypt(password, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, bytes.fromhex(digest))


def _scrypt(password, salt, n, r, p):
    data = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)


# --- devices ---------------------------------------------------------------------------------


def enrol(storage, owner, name, handset, now_ms):
    """A new device of an owner: (its id, its secret, which is not kept). Raises NotFound."""
    if storage.get("owners", [(owner,)])[0] is None:
        raise NotFound("no owner %s" % owner)
    device, secret = secrets.token_hex(DEVICE_DIGITS // 2), secrets.token_urlsafe(32)
    row = {
        "device": device, "owner": owner, "name": clean_text(name, NAME_CHARS),
        "handset": clean_text(handset, NAME_CHARS), "created_ms": now_ms,
        "secret_sha256": hashlib.sha256(secret.encode()).digest(),
    }  # fmt: skip
    storage.commit([("devices", row)], [("devices", (device,), "device", None)])
    return device, secret


def revoke(storage, device, now_ms):
    """From now on this device is refused; its journal is its own. Raises NotFound."""
    return update(storage, "devices", (device,), lambda row: row.update(revoked_ms=now_ms))


def devices(storage, owner=None):
    """Rows of the devices of an owner, or of all."""
    if owner is None:
        return list(scan_all(storage, "devices"))
    return list(scan_all(storage, "devices", "owner", (owner,)))


def device_named(header):
    """The device that an Authorization header names, whether it is that one or not."""
    return _parts_of(header)[1]


def _parts_of(header):
    """(scheme, device, secret) of an Authorization header, unchecked."""
    scheme, _, rest = header.partition(" ")
    device, _, secret = rest.strip().partition(".")
    return scheme, device, secret


def authenticate(storage, header):
    """The row of the device that an Authorization header names. Raises WrongSecret, Revoked."""
    scheme, device, secret = _parts_of(header)
    wrong = WrongSecret("this hub does not know the handset: pair it again")
    if scheme.lower() != "bearer" or len(device) != DEVICE_DIGITS or len(secret) != SECRET_CHARS:
        raise wrong
    if not set(device) <= _HEX or not set(secret) <= _BASE64URL:
        raise wrong
    row = storage.get("devices", [(device,)])[0]
    stored = row["secret_sha256"] if row else bytes(32)
    good = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), stored)
    if not (row and good):
        raise wrong
    if row["revoked_ms"]:
        raise Revoked("the owner revoked this handset's access; its records are untouched")
    return row
