"""The owner's pages: rendered on the server, without JavaScript, behind a password.

`routes(hub)` gives Starlette routes. `hub` has: storage, blobs, clock() in seconds, offsite_lsn()
(None without an off-site copy), check_password(owner, password) -> bool, decide_held(owner,
through, accept), restore_version(owner, pos), resolve_conflict(owner, pos), cookie_key (bytes).
"""

import hashlib
import hmac
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from itsdangerous import BadSignature, TimestampSigner
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from drybag.errors import DrybagError, NotFound
from drybag.layout import KIND_NAMES
from drybag_host.formats.pages import link
from drybag_host.formats.source import image_type
from drybag_host.hub import web_views as views
from drybag_host.hub.owner_records import OwnerRecords, record_of

COOKIE = "__Host-drybag"
SESSION_S = 14 * 86400
MAX_FORM_BYTES = 16384
SEARCH_ROWS = 300
_TEMPLATES = Path(__file__).parent / "templates"
_EXPORT_CSS = Path(__file__).parent.parent / "formats" / "templates" / "page.css"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}
_BLOB_HEADERS = {**_HEADERS, "Cache-Control": "private, max-age=31536000, immutable"}


def routes(hub):
    """The pages as a list of Route."""
    pages = _Pages(hub)
    return [
        Route("/static/hub.css", pages.style),
        Route("/login", pages.login_form, methods=["GET"]),
        Route("/login", pages.login, methods=["POST"]),
        Route("/logout", pages.posted(pages.logout), methods=["POST"]),
        Route("/", pages.signed_in(pages.overview)),
        Route("/records/{kind}", pages.signed_in(pages.listing)),
        Route("/search", pages.signed_in(pages.search)),
        Route("/record/{kind}/{key}", pages.signed_in(pages.record)),
        Route("/version/{pos:int}", pages.signed_in(pages.version)),
        Route("/blob/{sha}", pages.signed_in(pages.blob)),
        Route("/download", pages.signed_in(pages.download)),
        Route("/version/{pos:int}/restore", pages.posted(pages.restore), methods=["POST"]),
        Route("/conflict/{pos:int}/resolve", pages.posted(pages.resolve), methods=["POST"]),
        Route("/held/{verdict}", pages.posted(pages.held), methods=["POST"]),
    ]


class _Visit:
    """One signed-in request: the owner, their records, the secret of their session."""

    def __init__(self, hub, request, owner, session):
        self.request = request
        self.owner = owner
        self.session = session
        self.records = OwnerRecords(hub.storage, hub.blobs, owner)
        self.now_ms = int(hub.clock() * 1000)


class _Pages:
    def __init__(self, hub):
        self.hub = hub
        self._env = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=select_autoescape(default=True, default_for_string=True),
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.filters["link"] = link
        self._css = b"".join(
            path.read_bytes() for path in (_EXPORT_CSS, _TEMPLATES / "hub.css")
        )

    # --- sessions ----------------------------------------------------------------------------

    def _signer(self, owner):
        """Signs for one owner and one password: changing it signs everybody out."""
        row = self.hub.storage.get("owners", [(owner,)])[0]
        if row is None:
            return None
        salt = hashlib.sha256(row["password_hash"].encode()).hexdigest()
        return TimestampSigner(self.hub.cookie_key, salt="owner page " + salt)

    def _visit(self, request):
        """The _Visit of a request with a good cookie, or None."""
        owner, _, rest = request.cookies.get(COOKIE, "").partition("/")
        with suppress(ValueError):
            owner = views.key_bytes(owner).decode()
            signer = self._signer(owner) if owner and "\0" not in owner else None
            if signer is not None:
                with suppress(BadSignature):
                    session = signer.unsign(rest, max_age=SESSION_S).decode()
                    return _Visit(self.hub, request, owner, session)
        return None

    def _guard(self, visit):
        """The value that a form of this session must bring back."""
        key = hashlib.sha256(b"form " + self.hub.cookie_key).digest()
        return hmac.new(key, visit.session.encode(), "sha256").hexdigest()

    def signed_in(self, page):
        """`page(visit)` for those who are signed in; the others come to the login page."""

        def endpoint(request):
            visit = self._visit(request)
            if visit is None:
                target = request.url.path
                if request.url.query:
                    target += "?" + request.url.query
                return RedirectResponse("/login?next=" + quote(target), 303, _HEADERS)
            return self._answer(visit, page, visit)

        return endpoint

    def posted(self, page):
        """`page(visit, form)` for a form of the same session."""

        async def endpoint(request):
            from starlette.concurrency import run_in_threadpool

            form = await _form(request)
            visit = await run_in_threadpool(self._visit, request)
            if visit is None:
                return RedirectResponse("/login", 303, _HEADERS)
            if form is None or not secrets.compare_digest(
                form.get("guard", "").encode(), self._guard(visit).encode()
            ):
                return self._message(
                    visit, 403, "Not done", "That form is too old: go back, reload, try again."
                )
            return await run_in_threadpool(self._answer, visit, page, visit, form)

        return endpoint

    def _answer(self, visit, page, *args):
        try:
            return page(*args)
        except (NotFound, KeyError, ValueError):
            return self._message(visit, 404, "Not found", "There is no such record here.")
        except DrybagError as error:
            return self._message(visit, 500, "That did not work", str(error))

    # --- making pages ------------------------------------------------------------------------

    def _render(self, name, status=200, visit=None, **values):
        if visit is not None:
            counts = visit.records.counts()
            guard = self._guard(visit)
            field = '<input type="hidden" name="guard" value="%s">' % guard
            values.update(
                owner=visit.owner,
                counts=[(n, counts[k]) for n, k in views.KINDS.items() if counts[k]],
                plurals=views.PLURALS,
                guard=lambda: _markup(field),
                total=sum(counts[k] for k in views.KINDS.values()),
            )
        html = self._env.get_template(name).render(**values)
        body = html.encode("utf-8", "replace")
        return Response(body, status, _HEADERS, "text/html; charset=utf-8")

    def _message(self, visit, status, title, text):
        return self._render("message.html", status, visit, title=title, message=text)

    def style(self, request):
        return Response(self._css, 200, {"Cache-Control": "max-age=3600"}, "text/css")

    # --- signing in and out ------------------------------------------------------------------

    def login_form(self, request):
        if self._visit(request) is not None:
            return RedirectResponse("/", 303, _HEADERS)
        target = _inside(request.query_params.get("next", "/"))
        return self._render("login.html", title="Sign in", next=target, name="", wrong="")

    async def login(self, request):
        from starlette.concurrency import run_in_threadpool

        form = await _form(request) or {}
        return await run_in_threadpool(self._login, form)

    def _login(self, form):
        owner, target = form.get("owner", "").strip(), _inside(form.get("next", "/"))
        wrong = ""
        try:
            good = "\0" not in owner and self.hub.check_password(owner, form.get("password", ""))
        except DrybagError as error:
            good, wrong = False, str(error)
        if not good:
            return self._render(
                "login.html", 403, title="Sign in", next=target, name=owner,
                wrong=wrong or "There is no such owner, or the password is another one.",
            )  # fmt: skip
        session = secrets.token_urlsafe(16)
        signed = self._signer(owner).sign(session.encode()).decode()
        response = RedirectResponse(target, 303, _HEADERS)
        response.set_cookie(
            COOKIE, views.key_text(owner.encode()) + "/" + signed, max_age=SESSION_S, path="/",
            secure=True, httponly=True, samesite="lax",
        )  # fmt: skip
        return response

    def logout(self, visit, form):
        response = RedirectResponse("/login", 303, _HEADERS)
        response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return response

    # --- pages -------------------------------------------------------------------------------

    def _whereabouts(self, visit):
        return views.Whereabouts(self.hub.storage, visit.owner, self.hub.offsite_lsn())

    def overview(self, visit):
        storage, records = self.hub.storage, visit.records
        where = self._whereabouts(visit)
        owner = storage.get("owners", [(visit.owner,)])[0]
        return self._render(
            "overview.html", visit=visit, title="Overview",
            said=_SAID.get(visit.request.query_params.get("said", "")),
            handsets=where.handsets(storage, owner["pos"], visit.now_ms),
            held=views.held_rows(records),
            conflicts=views.conflict_rows(records),
            changes=views.recent(records, where, visit.now_ms),
            offsite=views.offsite_state(storage, where.offsite_lsn),
            backup=views.backup_state(storage, visit.now_ms),
        )  # fmt: skip

    def listing(self, visit):
        name = visit.request.path_params["kind"]
        kind = views.KINDS[name]
        after = visit.request.query_params.get("after", "")
        cards, more = views.page_of(visit.records, kind, after)
        plural = views.PLURALS[name]
        return self._render(
            "list.html", visit=visit, title=plural.capitalize(), heading=plural.capitalize(),
            here=name, cards=cards, more=more, note="", mixed=False,
            nothing="No %s here." % plural,
        )  # fmt: skip

    def search(self, visit):
        text = visit.request.query_params.get("q", "").strip()[:200]
        found = visit.records.find(text, 0) if text else []
        found = [r for r in found if KIND_NAMES[r.kind] in views.KINDS]
        note = "%d found" % len(found)
        if len(found) > SEARCH_ROWS:
            note += ", the first %d shown" % SEARCH_ROWS
        cards = [views.card(r) for r in found[:SEARCH_ROWS]]
        return self._render(
            "list.html", visit=visit, title="Search", heading=text or "Search", q=text,
            cards=cards, more="", note=note if text else "", mixed=True,
            nothing="Nothing found." if text else "Type a name, a number or a title above.",
        )  # fmt: skip

    def record(self, visit):
        path, records = visit.request.path_params, visit.records
        kind, uid = views.KINDS[path["kind"]], views.key_bytes(path["key"])
        storage = self.hub.storage
        head = storage.get("heads", [(visit.owner, kind, uid)])[0]
        if head is None:
            raise NotFound("no such record")
        row = storage.get("versions", [(visit.owner, head["pos"])])[0]
        shown = None if row["deleted"] else record_of(row)
        where = self._whereabouts(visit)
        conflicts = storage.scan("conflicts", "", (visit.owner, kind, uid))
        return self._render(
            "record.html", visit=visit, title=views.title_at(records, kind, uid),
            heading=views.title_at(records, kind, uid), kind=path["kind"], here=path["kind"],
            said=_SAID.get(visit.request.query_params.get("said", "")),
            deleted=shown is None,
            image=views.image_of(shown) if shown else "",
            facts=views.facts(shown) if shown else [],
            where=where.of(row),
            version={"received": views.time_text(row["received_ms"])},
            versions=views.version_rows(records, kind, uid, where, conflicts),
        )  # fmt: skip

    def _version_row(self, visit):
        pos = visit.request.path_params["pos"]
        row = self.hub.storage.get("versions", [(visit.owner, pos)])[0]
        if row is None or KIND_NAMES.get(row["kind"]) not in views.KINDS:
            raise NotFound("no such version")
        return row

    def version(self, visit):
        row = self._version_row(visit)
        record = record_of(row)
        title = "Deleted" if row["deleted"] else views.card(record)["title"]
        return self._render(
            "version.html", visit=visit, title=title, heading=title,
            kind=KIND_NAMES[row["kind"]], key=views.key_text(row["uid"]),
            version={"pos": row["pos"], "received": views.time_text(row["received_ms"])},
            lines=views.lines(record),
        )  # fmt: skip

    def blob(self, visit):
        sha = bytes.fromhex(visit.request.path_params["sha"])
        pieces = iter(visit.records.open_blob(sha))
        first = next(pieces, b"")
        kind = image_type(bytes(first[:16]))
        headers = dict(_BLOB_HEADERS)
        if not kind:
            headers["Content-Disposition"] = 'attachment; filename="%s.bin"' % sha.hex()[:16]
        return StreamingResponse(
            _chain(first, pieces), 200, headers, kind or "application/octet-stream"
        )

    def download(self, visit):
        """Everything, as `drybag export` writes it, in a .zip."""
        from drybag_host.formats.export import export

        folder = tempfile.mkdtemp(prefix="drybag-download-")
        try:
            export(visit.records, os.path.join(folder, "drybag"), title=visit.owner)
            path = shutil.make_archive(
                os.path.join(folder, "all"), "zip", folder, base_dir="drybag"
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return FileResponse(
            path, headers=_HEADERS, filename="drybag-%s.zip" % views.day_text(visit.now_ms),
            background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
        )  # fmt: skip

    # --- what an owner decides ---------------------------------------------------------------

    def restore(self, visit, form):
        row = self._version_row(visit)
        self.hub.restore_version(visit.owner, row["pos"])
        return _to_record(row, "restored")

    def resolve(self, visit, form):
        row = self._version_row(visit)
        self.hub.resolve_conflict(visit.owner, row["pos"])
        return _to_record(row, "resolved")

    def held(self, visit, form):
        verdict = visit.request.path_params["verdict"]
        if verdict not in ("accept", "refuse"):
            raise NotFound("no such page")
        self.hub.decide_held(visit.owner, int(form.get("through", "")), verdict == "accept")
        return RedirectResponse("/?said=" + verdict, 303, _HEADERS)


_SAID = {
    "accept": "Deleted. Every version is kept: open a record to bring it back.",
    "refuse": "Kept. The handset gets the records back at its next sync.",
    "restored": "Done: this version is shown now, and goes to the handsets at their next sync.",
    "resolved": "Done: it stays as it is shown. The other edit remains in the history.",
}


def _to_record(row, said):
    place = "/record/%s/%s?said=%s" % (KIND_NAMES[row["kind"]], views.key_text(row["uid"]), said)
    return RedirectResponse(place, 303, _HEADERS)


def _inside(target):
    """A path of these pages; anything that leads elsewhere becomes the overview."""
    return target if target.startswith("/") and target[1:2] not in ("/", "\\") else "/"


def _markup(text):
    from markupsafe import Markup

    return Markup(text)


def _chain(first, rest):
    yield bytes(first)
    for piece in rest:
        yield bytes(piece)


async def _form(request):
    """The fields of a small form, or None."""
    from urllib.parse import parse_qsl

    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_FORM_BYTES:
            return None
    try:
        return dict(parse_qsl(data.decode("ascii"), errors="strict"))
    except ValueError:
        return None
