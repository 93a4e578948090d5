"""This computer's client of a hub: an owner's records, history, photos and devices over HTTPS.

    with HubClient(parse_url(url), ca_der) as hub:
        hub.login("ada", password)
        for record in hub.records(bodies=True):
            ...

Lists are read page by page, blobs piece by piece. Raises HubUnreachable, HubRefused, NotFound,
HubNotTrusted.
"""

import base64
import contextlib
import re
import ssl

import httpx

from drybag.errors import BadInput, NotFound
from drybag_host.errors import HostError
from drybag_host.hub.fingerprints import SERVER_NAME
from drybag_host.hub.ownerviews import uid_bytes, uid_text
from drybag_host.hub.trust import HubNotTrusted, HubUnreachable, tls_context

__all__ = ["HubClient", "HubRefused", "body_of", "uid_of"]

TIMEOUT = httpx.Timeout(30, connect=10)
PAGE = 200
TRIES = 3
HINTS = {
    "WrongSecret": "the owner is named with --owner; `drybag hub users password OWNER`, at the "
    "hub, sets another password",
}


class HubRefused(HostError):
    """The hub says no: wrong password, too often, or what was asked makes no sense there."""

    exit_code = 65


def body_of(view):
    """The body of a version as the hub tells it, as bytes."""
    return _octets(view, "body")


def uid_of(view):
    """The uid of a version or record as the hub tells it, as bytes."""
    return _octets(view, "uid")


def _octets(view, name):
    if name in view:
        return view[name].encode()
    return base64.b64decode(view[name + "_base64"])


class HubClient:
    """One owner's view of a hub. place: of trust.parse_url; ca_der: of trust.trusted."""

    def __init__(self, place, ca_der, token=None):
        self.place = place
        verify = tls_context(ca_der) if ca_der else False
        self._client = httpx.Client(
            base_url=place.url, verify=verify, timeout=TIMEOUT, trust_env=False,
            headers={"accept-encoding": "identity"},
        )  # fmt: skip
        self.token = token

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
        return False

    def close(self):
        self._client.close()

    # --- who ---

    def login(self, owner, password):
        """Log in as an owner, for twelve hours."""
        said = self._ask("POST", "/v1/owner/login", {"owner": owner, "password": password})
        self.token = said["token"]
        return said

    def health(self):
        return self._ask("GET", "/v1/health")

    def summary(self):
        """What the owner has here: counts by kind, held deletions, conflicts."""
        return self._ask("GET", "/v1/owner/summary")

    # --- devices ---

    def devices(self):
        return self._ask("GET", "/v1/owner/devices")["devices"]

    def device(self, device):
        return self._ask("GET", "/v1/owner/devices/" + device)

    def enrol(self, name, handset=""):
        """A new device: its `device`, `secret`, `owner`, `ca` (DER, base64)."""
        return self._ask("POST", "/v1/owner/devices", {"name": name, "handset": handset})

    def revoke(self, device):
        return self._ask("POST", "/v1/owner/devices/%s/revoke" % device, {})

    # --- records ---

    def records(self, kind=None, bodies=False, deleted=False):
        """Yields an owner's records by kind and uid; with `bodies` as whole versions."""
        query = {"limit": PAGE, "bodies": int(bodies), "deleted": int(deleted)}
        if kind:
            query["kind"] = kind
        while True:
            page = self._ask("GET", "/v1/owner/records", query=query)
            yield from page["records"]
            if not page["next"]:
                return
            query["after"] = page["next"]

    def record(self, kind, uid):
        """One record: body, title, where it is safe, its conflicts. Raises NotFound."""
        return self._ask("GET", self._path(kind, uid))

    def history(self, kind, uid):
        """Yields a record's versions, newest first. Raises NotFound."""
        query = {"limit": PAGE}
        while True:
            page = self._ask("GET", self._path(kind, uid) + "/history", query=query)
            yield from page["versions"]
            if page["next"] is None:
                return
            query["before"] = page["next"]

    def restore(self, kind, uid, pos=None):
        """Show an older version again; without a position: undelete. The new position."""
        body = {} if pos is None else {"pos": pos}
        return self._ask("POST", self._path(kind, uid) + "/restore", body)["pos"]

    def conflicts(self):
        return self._ask("GET", "/v1/owner/conflicts")["conflicts"]

    def resolve(self, kind, uid, pos, show=False):
        body = {"pos": pos, "show": show}
        return self._ask("POST", self._path(kind, uid) + "/resolve", body)["pos"]

    def held(self):
        """Deletions that wait for the owner's word."""
        return self._ask("GET", "/v1/owner/held")["held"]

    def decide_held(self, accept, positions=None):
        """How many were accepted or refused."""
        body = {"accept": accept}
        if positions is not None:
            body["positions"] = list(positions)
        return self._ask("POST", "/v1/owner/held", body)["decided"]

    def _path(self, kind, uid):
        return "/v1/owner/records/%s/%s" % (kind, uid_text(uid))

    # --- blobs ---

    def blob(self, sha, offset=0):
        """Yields the bytes of a blob (32-byte name) from `offset` on; goes on where a connection
        broke. Raises NotFound."""
        failures = 0
        path = "/v1/owner/blobs/" + bytes(sha).hex()
        while True:
            request = self._request("GET", path, headers={"range": "bytes=%d-" % offset})
            try:
                with contextlib.closing(self._sent(request, stream=True)) as answer:
                    if answer.status_code not in (200, 206):
                        answer.read()
                        self._refuse(answer)
                    for piece in answer.iter_raw():
                        offset += len(piece)
                        failures = 0
                        yield piece
                    return
            except (httpx.TransportError, HubUnreachable) as error:
                failures += 1
                if failures == TRIES:
                    raise self._unreachable(error) from error

    def blob_size(self, sha):
        """Bytes of a blob. Raises NotFound."""
        answer = self._sent(self._request("HEAD", "/v1/owner/blobs/" + bytes(sha).hex()))
        if answer.status_code == 404:
            raise NotFound("the hub has no blob %s" % bytes(sha).hex())
        if answer.status_code >= 400:
            self._refuse(answer)
        return int(answer.headers["content-length"])

    # --- one request ---

    def _request(self, method, path, json=None, query=None, headers=None):
        headers = dict(headers or {})
        if self.token:
            headers["authorization"] = "Bearer " + self.token
        try:
            return self._client.build_request(
                method, path, json=json, params=query, headers=headers,
                extensions={"sni_hostname": SERVER_NAME},
            )  # fmt: skip
        except UnicodeEncodeError as error:
            raise BadInput("a name or password holds bytes that are no text") from error

    def _sent(self, request, stream=False):
        try:
            return self._client.send(request, stream=stream)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _ask(self, method, path, json=None, query=None):
        """The JSON of an answer."""
        answer = self._sent(self._request(method, path, json, query))
        if answer.status_code >= 400:
            self._refuse(answer)
        try:
            return answer.json()
        except ValueError as error:
            raise HubRefused("what answers at %s is no Drybag hub" % self.place.url) from error

    def _refuse(self, answer):
        try:
            said = answer.json()
            text, name = str(said["message"]), str(said["class"])
        except (ValueError, KeyError, TypeError):
            text, name = "it answered with status %d" % answer.status_code, ""
        if answer.status_code == 404:
            raise NotFound("the hub says: %s" % text)
        wait_s = said.get("wait_s") if name else None
        hint = "try again in %d s" % wait_s if isinstance(wait_s, int) else HINTS.get(name, "")
        raise HubRefused("the hub says: %s" % text, hint)

    def _unreachable(self, error):
        reason = error
        while reason is not None:
            if isinstance(reason, ssl.SSLCertVerificationError):
                return HubNotTrusted(
                    "the hub at %s is not the one that was trusted: %s"
                    % (self.place.url, reason.verify_message),
                    "if it was set up anew, name its new CA: #sha256=... or --ca FILE",
                )
            reason = reason.__cause__ or reason.__context__
        text = str(error) or type(error).__name__
        text = re.sub(r"^\[Errno -?[0-9]+\] ", "", text)
        return HubUnreachable("no hub answers at %s: %s" % (self.place.url, text))


def uid_from_key(text):
    """The uid (bytes) of a `key` as the hub tells it."""
    return uid_bytes(text)
