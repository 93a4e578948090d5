"""Who is logged in: tokens that the hub signs and does not store.

A token is good for twelve hours, for one owner, and until the password changes. It travels as
`Authorization: Bearer`, which no other web page can make a browser send; a page of the hub's own
that keeps it in a cookie needs form_token() in each form besides.
"""

import hashlib
import hmac
import secrets

from itsdangerous import BadSignature, URLSafeTimedSerializer

from drybag_host.hub.refusals import WrongSecret
from drybag_host.hub.storage import Stale

__all__ = ["LIFETIME_S", "Sessions"]

LIFETIME_S = 12 * 3600
KEY = "session_key"


class Sessions:
    """Tokens of one hub; its key is drawn at the first start and never copied elsewhere."""

    def __init__(self, storage):
        self._storage = storage
        self._key = _key(storage)
        self._serializer = URLSafeTimedSerializer(self._key, salt="drybag-owner")

    def issue(self, owner_row):
        """A token for this owner, as text."""
        return self._serializer.dumps([owner_row["owner"], self._mark(owner_row)])

    def check(self, token):
        """The owner's row. Raises WrongSecret."""
        expired = WrongSecret("log in again: this session has ended")
        try:
            owner, mark = self._serializer.loads(token, max_age=LIFETIME_S)
        except (BadSignature, ValueError, TypeError) as error:
            raise expired from error
        row = self._storage.get("owners", [(owner,)])[0]
        if not row or not row["password_hash"] or not _same(mark, self._mark(row)):
            raise expired
        return row

    def form_token(self, token):
        """What a form of this session must bring along, so that no other page can send it."""
        return hmac.new(self._key.encode(), b"form" + token.encode(), hashlib.sha256).hexdigest()

    def check_form(self, token, value):
        """Raises WrongSecret."""
        if not _same(value, self.form_token(token)):
            raise WrongSecret("this form has expired: go back, reload the page, try again")

    def _mark(self, row):
        text = self._key + row["password_hash"]
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _same(one, other):
    return isinstance(one, str) and hmac.compare_digest(one.encode(), other.encode())


def _key(storage):
    while True:
        row = storage.get("local", [(KEY,)])[0]
        if row:
            return row["value"]
        try:
            fresh = {"name": KEY, "value": secrets.token_hex(32)}
            storage.commit([("local", fresh)], [("local", (KEY,), "value", None)])
        except Stale:
            continue
