"""JSON from a device on the local network, with a password if need be (Basic, SHA-256 digest)."""

import hashlib
import http.client
import json
import re
import secrets
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode

from drybag_host.power_errors import SwitchFailed

_MOST_BYTES = 65536


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A plug does not send us elsewhere with its password."""

    def redirect_request(self, *args):
        return None


# no proxy stands between us and a device in the house
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def get(base, path, query, user, password, timeout_s, hint):
    """The JSON object at `base` + `path`. Raises SwitchFailed, which names no query."""
    path += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
    try:
        answer = json.loads(_fetch(base, path, user, password, timeout_s))
        if isinstance(answer, dict):
            return answer
        why = "an answer that is no JSON object"
    except urllib.error.HTTPError as error:
        why = "HTTP %d" % error.code
        if error.code in (401, 403):
            why += ", it wants another password"
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = str(getattr(error, "reason", error)) or type(error).__name__
    raise SwitchFailed("%s: %s" % (base, why), hint)


def _fetch(base, path, user, password, timeout_s):
    """The body of the reply. Answers a device that asks who we are."""
    try:
        return _open(base + path, None, timeout_s)
    except urllib.error.HTTPError as error:
        challenge = error.headers.get("WWW-Authenticate", "")
        scheme = challenge.split(" ")[0].lower()
        if error.code != 401 or not password or scheme not in ("basic", "digest"):
            raise
    if scheme == "basic":
        word = "Basic " + b64encode(("%s:%s" % (user, password)).encode()).decode()
    else:
        word = _digest(challenge, path, user, password)
    return _open(base + path, word, timeout_s)


def _open(url, authorization, timeout_s):
    headers = {"Authorization": authorization} if authorization else {}
    request = urllib.request.Request(url, headers=headers)
    with _opener.open(request, timeout=timeout_s) as reply:
        return reply.read(_MOST_BYTES)


def _digest(challenge, path, user, password):
    """RFC 7616 with SHA-256, which urllib does not know before Python 3.14. Raises ValueError."""
    found = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge))
    if found.get("algorithm", "").upper() != "SHA-256":
        raise ValueError("it asks for a digest with %s" % found.get("algorithm", "MD5"))
    realm, nonce, cnonce = found.get("realm", ""), found.get("nonce", ""), secrets.token_hex(8)
    a1 = _sha("%s:%s:%s" % (user, realm, password))
    a2 = _sha("GET:" + path)
    response = _sha(":".join((a1, nonce, "00000001", cnonce, "auth", a2)))
    return (
        'Digest username="%s", realm="%s", nonce="%s", uri="%s", algorithm=SHA-256, '
        'qop=auth, nc=00000001, cnonce="%s", response="%s"'
        % (user, realm, nonce, path, cnonce, response)
    )


def _sha(text):
    return hashlib.sha256(text.encode()).hexdigest()
