"""The owner's pages: rendered on the server, without JavaScript, behind a password.

`site(hub)` gives the routes of app.Hub's pages, and the page of an error. The session is the token
of an owner's log-in, in a cookie that scripts cannot read; each form brings the session's form
token along.
"""

import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl, quote

from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from drybag.errors import DrybagError, NotFound
from drybag.layout import KIND_NAMES
from drybag_host.formats.pages import link
from drybag_host.formats.source import image_type
from drybag_host.hub import owneractions, ownerapi, ownerviews
from drybag_host.hub import web_views as views
from drybag_host.hub.owner_records import OwnerRecords, record_of
from drybag_host.hub.refusals import Refused, WrongSecret
from drybag_host.hub.requests import in_thread, read_body
from drybag_host.hub.sessions import LIFETIME_S

__all__ = ["COOKIE", "site"]

COOKIE = "__Host-drybag"
FORM_BYTES = 16_384
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
_SAID = {
    "accept": "Deleted. Every version is kept: open a record to bring it back.",
    "refuse": "Kept. The handset gets the records back at its next sync.",
    "restored": "Done: this version is shown now, and goes to the handsets at their next sync.",
    "resolved": "Done: it stays as it is shown. The other edit remains in the history.",
}


def site(hub):
    """(the pages as a list of Route, `await error_page(request, status, title, text)`).

    hub: app.Hub.
    """
    pages = _Pages(hub)
    return _routes(pages), pages.error_page


def _routes(pages):
    shown, posted = pages.shown, pages.posted
    return [
        Route("/static/hub.css", pages.style),
        Route("/login", pages.login_form, methods=["GET"]),
        Route("/login", pages.login, methods=["POST"]),
        Route("/logout", posted(pages.logout), methods=["POST"]),
        Route("/", shown(pages.overview)),
        Route("/records/{kind}", shown(pages.listing)),
        Route("/search", shown(pages.search)),
        Route("/record/{kind}/{key}", shown(pages.record)),
        Route("/version/{pos:int}", shown(pages.version)),
        Route("/blob/{sha}", shown(pages.blob)),
        Route("/download", shown(pages.download)),
        Route("/version/{pos:int}/restore", posted(pages.restore), methods=["POST"]),
        Route("/conflict/{pos:int}/resolve", posted(pages.resolve), methods=["POST"]),
        Route("/held/{verdict}", posted(pages.held), methods=["POST"]),
    ]


class _Visit:
    """A request of somebody who is logged in."""

    def __init__(self, hub, request, token, row):
        self.request = request
        self.token = token
        self.row = row
        self.owner = row["owner"]
        self.records = OwnerRecords(hub.storage, hub.service.blobs, self.owner)
        self.now_ms = hub.service.now_ms()


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

    def _visit(self, request):
        """The _Visit of a request with a good cookie, or None."""
        token = request.cookies.get(COOKIE, "")
        try:
            return _Visit(self.hub, request, token, self.hub.sessions.check(token))
        except WrongSecret:
            return None

    def shown(self, page):
        """`page(visit)` for those who are logged in; the others come to the login page."""

        def work(request):
            visit = self._visit(request)
            if visit is None:
                target = request.url.path
                if request.url.query:
                    target += "?" + request.url.query
                return RedirectResponse("/login?next=" + quote(target), 303, _HEADERS)
            try:
                return page(visit)
            except (DrybagError, KeyError, ValueError) as error:
                return self._failed(visit, error)

        async def endpoint(request):
            return await in_thread(work, request)

        return endpoint

    def posted(self, action):
        """`await action(visit, form)` for a form of the same session."""

        async def endpoint(request):
            visit = await in_thread(self._visit, request)
            if visit is None:
                return RedirectResponse("/login", 303, _HEADERS)
            try:
                form = await _form(request)
                self.hub.sessions.check_form(visit.token, form.get("guard"))
                return await action(visit, form)
            except (DrybagError, KeyError, ValueError) as error:
                return await in_thread(self._failed, visit, error)

        return endpoint

    def _failed(self, visit, error):
        if isinstance(error, Refused):
            return self._message(visit, error.status, "Not done", str(error))
        if isinstance(error, DrybagError) and not isinstance(error, NotFound):
            return self._message(visit, 500, "That did not work", str(error))
        return self._message(visit, 404, "Not found", "There is no such record here.")

    # --- making pages ------------------------------------------------------------------------

    def _render(self, template, status=200, visit=None, **values):
        if visit is not None:
            counts = visit.records.counts()
            token = self.hub.sessions.form_token(visit.token)
            field = Markup('<input type="hidden" name="guard" value="%s">') % token
            values.update(
                owner=visit.owner,
                counts=[
                    (n, counts[k], views.NAMES[n] if counts[k] == 1 else views.PLURALS[n])
                    for n, k in views.KINDS.items() if counts[k]
                ],
                names=views.NAMES,
                guard=lambda: field,
                total=sum(counts[k] for k in views.KINDS.values()),
            )
        html = self._env.get_template(template).render(**values)
        body = html.encode("utf-8", "replace")
        return Response(body, status, _HEADERS, "text/html; charset=utf-8")

    async def error_page(self, request, status, title, text):
        """A page of the frame that others see too: nobody need be logged in."""

        def work():
            return self._message(self._visit(request), status, title, text)

        return await in_thread(work)

    def _message(self, visit, status, title, text):
        return self._render("message.html", status, visit, title=title, message=text)

    def style(self, request):
        return Response(self._css, 200, {"Cache-Control": "max-age=3600"}, "text/css")

    # --- signing in and out ------------------------------------------------------------------

    async def login_form(self, request):
        if await in_thread(self._visit, request) is not None:
            return RedirectResponse("/", 303, _HEADERS)
        target = _inside(request.query_params.get("next", "/"))
        return self._render("login.html", title="Sign in", next=target, name="", wrong="")

    async def login(self, request):
        name, target = "", "/"
        try:
            form = await _form(request)
            name, target = form.get("owner", "").strip(), _inside(form.get("next", "/"))
            password = form.get("password", "")
            token = await ownerapi.log_in(self.hub, request, name, password)
        except (Refused, ValueError) as error:
            said = str(error).capitalize() if isinstance(error, Refused) else "That is no form"
            return self._render(
                "login.html", getattr(error, "status", 400), title="Sign in", next=target,
                name=name, wrong=said + ".",
            )  # fmt: skip
        response = RedirectResponse(target, 303, _HEADERS)
        response.set_cookie(
            COOKIE, token, max_age=LIFETIME_S, path="/", secure=True, httponly=True,
            samesite="lax",
        )  # fmt: skip
        return response

    async def logout(self, visit, form):
        response = RedirectResponse("/login", 303, _HEADERS)
        response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return response

    # --- pages -------------------------------------------------------------------------------

    def _whereabouts(self, visit):
        service = self.hub.service
        return views.Whereabouts(service.storage, visit.owner, service.offsite, service.seen)

    def overview(self, visit):
        storage, records = self.hub.storage, visit.records
        where = self._whereabouts(visit)
        handsets = where.handsets(storage, visit.now_ms)
        return self._render(
            "overview.html", visit=visit, title="Overview",
            said=_SAID.get(visit.request.query_params.get("said", "")),
            handsets=handsets,
            holding=sum(row["holds"] for row in handsets),
            held=views.held_rows(records),
            conflicts=views.conflict_rows(records),
            changes=views.recent(records, where, visit.now_ms),
            offsite=views.offsite_card(storage, self.hub.service.offsite),
            backup=views.backup_card(storage, visit.now_ms),
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
            "list.html", visit=visit, title="Search: " + text if text else "Search",
            heading=text or "Search", q=text, cards=cards, more="",
            note=note if text else "", mixed=True,
            nothing="Nothing found: no record has that in its name, numbers or words."
            if text else "Type a name, a number or a title above.",
        )  # fmt: skip

    def record(self, visit):
        path, records = visit.request.path_params, visit.records
        kind, uid = views.KINDS[path["kind"]], ownerviews.uid_bytes(path["key"])
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
            heading=views.title_at(records, kind, uid), kind=views.NAMES[path["kind"]],
            here=path["kind"],
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
            "version.html", visit=visit, title="A version: " + title, heading=title,
            here=KIND_NAMES[row["kind"]], kind=views.NAMES[KIND_NAMES[row["kind"]]],
            key=ownerviews.uid_text(row["uid"]),
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

    async def restore(self, visit, form):
        row = await in_thread(self._version_row, visit)
        service = self.hub.service
        await self.hub.job(lambda: owneractions.restore(
            self.hub.storage, service.blobs, visit.owner, row["kind"], row["uid"], row["pos"],
            service.now_ms(),
        ))  # fmt: skip
        return _to_record(row, "restored")

    async def resolve(self, visit, form):
        row = await in_thread(self._version_row, visit)
        await self.hub.job(lambda: owneractions.resolve(
            self.hub.storage, visit.owner, row["kind"], row["uid"], row["pos"],
            self.hub.service.now_ms(),
        ))  # fmt: skip
        return _to_record(row, "resolved")

    async def held(self, visit, form):
        """All that were on the page when the button was pressed, and none that came later."""
        verdict = visit.request.path_params["verdict"]
        if verdict not in ("accept", "refuse"):
            raise NotFound("no such page")
        through = int(form["through"])
        service = self.hub.service

        def decide():
            rows = owneractions.held(self.hub.storage, visit.owner)
            positions = [row["pos"] for row in rows if row["pos"] <= through]
            return owneractions.decide_held(
                self.hub.storage, service.blobs, visit.owner, verdict == "accept",
                service.now_ms(), positions,
            )  # fmt: skip

        await self.hub.job(decide)
        return RedirectResponse("/?said=" + verdict, 303, _HEADERS)


def _to_record(row, said):
    key = ownerviews.uid_text(row["uid"])
    place = "/record/%s/%s?said=%s" % (KIND_NAMES[row["kind"]], key, said)
    return RedirectResponse(place, 303, _HEADERS)


def _inside(target):
    """A path of these pages; anything that leads elsewhere becomes the overview."""
    return target if target.startswith("/") and target[1:2] not in ("/", "\\") else "/"


def _chain(first, rest):
    yield bytes(first)
    for piece in rest:
        yield bytes(piece)


async def _form(request):
    """The fields of a small form. Raises Refused, ValueError."""
    data = await read_body(request, FORM_BYTES)
    return dict(parse_qsl(data.decode("ascii"), errors="strict"))
