"""The owner's pages: what they show, who sees them, what their forms do; and in a real browser."""

import asyncio
import io
import re
import shutil
import time
import zipfile

import pytest
from hub_kit import STAMP, Device, make_hub, sha256, shown
from hub_process import PASSWORD, HubProcess
from starlette.testclient import TestClient

from drybag.layout import CONTACT, EVENT, PHOTO, content_id
from drybag_host.hub import accounts, ownerapi, web
from drybag_host.hub.app import PASSWORDS, Hub, make_app
from drybag_host.hub.refusals import Refused

CARD = b"VERSION:3.0\nFN:Ada Lovelace\nTEL:+44 20 7946 0000\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
def hub():
    service, storage, clock = make_hub()
    accounts.set_password(storage, "ada", PASSWORD)
    accounts.add_owner(storage, "bob", PASSWORD, 1)
    made = Hub(service)
    yield made
    made.close()


@pytest.fixture
def device(hub):
    return Device(hub.service)


@pytest.fixture
def page(hub):
    """A browser's stand-in that is logged in as ada."""
    client = TestClient(make_app(hub), "https://hub", follow_redirects=True)
    answer = client.post("/login", data={"owner": "ada", "password": PASSWORD})
    assert answer.status_code == 200 and "Where everything is" in answer.text
    return client


def post(page, where, at="/", **fields):
    """Send a form of the page `at`."""
    guard = re.search(r'name="guard" value="([^"]+)"', page.get(at).text)[1]
    return page.post(where, data={"guard": guard, **fields})


def edit(body, line):
    return body + line + b"\n"


def conflicting(hub, one):
    """Two handsets change one name: (what is not shown, what is)."""
    other = Device(hub.service, "d2")
    one.sync(one.item(b"u1", CARD))
    other.sync()
    base = content_id(0, (), CARD)
    changed = CARD.replace(b"Ada", b"Augusta"), CARD.replace(b"Ada", b"A. A.")
    other.sync(other.item(b"u1", changed[0], base, STAMP + 1))
    one.sync(one.item(b"u1", changed[1], base, STAMP + 2))
    return changed


# --- who sees what ---------------------------------------------------------------------------


def test_nothing_is_shown_to_those_who_are_not_logged_in(hub, device):
    device.sync(device.item(b"u1", CARD))
    client = TestClient(make_app(hub), "https://hub", follow_redirects=False)
    for path in ("/", "/records/contact", "/search?q=ada", "/record/contact/dTE", "/download"):
        answer = client.get(path)
        assert answer.status_code == 303 and answer.headers["location"].startswith("/login?next=")
    assert client.post("/version/1/restore", data={}).headers["location"] == "/login"


def test_a_wrong_password_is_told_and_slows_down(hub):
    client = TestClient(make_app(hub), "https://hub")
    for _ in range(20):
        answer = client.post("/login", data={"owner": "ada", "password": "wrong"})
        assert answer.status_code in (401, 429) and "Sign in" in answer.text
    assert answer.status_code == 429


def test_wrong_passwords_at_once_are_as_slow_as_one_after_another(hub):
    """None of them has failed yet when the last one comes."""
    class Client:
        host = "192.0.2.1"

    class Request:
        client = Client

    async def guess(number):
        try:
            await ownerapi.log_in(hub, Request, "ada", "guess %d" % number)
        except Refused as error:
            return error.status

    async def all_of_them():
        return await asyncio.gather(*map(guess, range(30)))

    statuses = asyncio.run(all_of_them())
    assert statuses.count(401) <= 5 + PASSWORDS and statuses.count(429) >= 25 - PASSWORDS


def test_after_the_login_only_pages_of_the_hub_come(hub):
    client = TestClient(make_app(hub), "https://hub", follow_redirects=False)
    for wanted, given in (("/search?q=x", "/search?q=x"), ("//evil.example", "/"),
                          ("https://evil.example", "/"), ("/\\evil.example", "/")):  # fmt: skip
        form = {"owner": "ada", "password": PASSWORD, "next": wanted}
        assert client.post("/login", data=form).headers["location"] == given
        client.cookies.clear()


def test_an_owner_sees_their_own_records_only(hub, page, device):
    other = Device(hub.service, "b1", "bob")
    other.sync(other.item(b"secret", CARD.replace(b"Ada", b"Bob")))
    device.sync(device.item(b"u1", CARD))
    assert "Bob" not in page.get("/records/contact").text
    assert "Nothing found" in page.get("/search?q=bob").text
    assert page.get("/record/contact/c2VjcmV0").status_code == 404


def test_a_device_of_no_possible_name_is_not_there(hub):
    client = TestClient(make_app(hub), "https://hub", raise_server_exceptions=False)
    said = client.post("/v1/owner/login", json={"owner": "ada", "password": PASSWORD}).json()
    for name in ("a%00", "%C3%BC", "%7F"):
        head = {"Authorization": "Bearer " + said["token"]}
        assert client.get("/v1/owner/devices/" + name, headers=head).status_code == 404


def test_a_new_password_ends_the_session(hub, page):
    accounts.set_password(hub.storage, "ada", "another one")
    assert "Sign in" in page.get("/").text


def test_the_cookie_is_out_of_reach_and_the_page_runs_nothing(hub):
    client = TestClient(make_app(hub), "https://hub", follow_redirects=False)
    answer = client.post("/login", data={"owner": "ada", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    for part in (web.COOKIE.lower() + "=", "httponly", "secure", "samesite=lax", "path=/"):
        assert part in cookie
    answer = client.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "script" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "private, no-store"


def test_signing_out_works(page):
    assert "Sign in" in post(page, "/logout").text
    assert "Sign in" in page.get("/").text


# --- pages -----------------------------------------------------------------------------------


def test_the_overview_says_where_everything_is(hub, page, device):
    device.sync(device.item(b"u1", CARD), device.item(b"u2", CARD))
    text = page.get("/").text
    assert "<b>2</b> contacts" in text and "in step" in text
    assert "never" in text and "no backup of this hub was ever compared" in text


def test_only_handsets_that_have_synced_count_as_copies(hub, page):
    """One that was paired and never came, and one that was paired again, keep nothing here."""
    for number in range(2):
        accounts.enrol(hub.storage, "ada", "phone", "246f28aabbcc", 1 + number)
    text = page.get("/").text
    assert text.count("has not synced yet") == text.count("paired anew since") == 1
    assert '<p class="big">0</p><p>keep the complete copy' in text


def test_names_from_outside_are_text(page, device):
    nasty = b"VERSION:3.0\nFN:<script>alert(1)</script>\nURL:javascript:alert(1)\nNOTE:\xff\xfe\n"
    device.sync(device.item(b'"><b>', nasty))
    listed = page.get("/records/contact").text
    assert "<script>" not in listed and "&lt;script&gt;" in listed
    shown_page = page.get(re.search(r'href="(/record/contact/[^"]+)"', listed)[1])
    assert shown_page.status_code == 200
    assert "<script>" not in shown_page.text and 'href="javascript' not in shown_page.text


def test_a_record_shows_its_history_and_where_it_is_safe(page, device):
    device.sync(device.item(b"u1", CARD))
    device.sync(device.item(b"u1", edit(CARD, b"NOTE:hello"), content_id(0, (), CARD)))
    text = page.get("/record/contact/dTE").text
    assert "+ NOTE:hello" in text and text.count('class="row version') == 2
    assert "<b>saved</b> <span>on" in text and "no off-site copy is set up" in text
    assert "+44 20 7946 0000" in text and 'href="tel:' in text


def test_lists_are_paged_and_complete(page, device):
    items = [device.item(b"u%d" % i, CARD.replace(b"Ada", b"Ada%03d" % i)) for i in range(230)]
    device.sync(*items[:200])
    device.sync(*items[200:], device.item(b"u7", None, content_id(0, (), items[7].body)))
    seen, where = [], "/records/contact"
    while where:
        text = page.get(where).text
        seen += re.findall(r">(Ada\d+) Lovelace<", text)
        more = re.search(r'rel="next" href="([^"]+)"', text)
        where = "/records/contact" + more[1].replace("&amp;", "&") if more else None
    assert seen == ["Ada%03d" % i for i in range(230) if i != 7]


def test_search_finds_as_the_handset_does(page, device):
    device.sync(device.item(b"u1", CARD.replace(b"Ada", "Äda".encode())))
    assert "Äda Lovelace" in page.get("/search?q=ada").text
    assert "Äda Lovelace" in page.get("/search?q=79460000").text


def test_a_picture_comes_as_what_it_is(hub, page, device):
    sha, text = sha256(PNG), sha256(b"<html>")
    for name, data in ((sha, PNG), (text, b"<html>")):
        hub.service.blobs.append(name, len(data), 0, [data])
        hub.storage.commit([("blobs", {"owner": "ada", "sha": name, "size": len(data)})])
    body = b"FN:a.png\nIMAGE:drybag:blob/" + sha.hex().encode() + b"\n"
    device.sync(device.item(b"p1", body, kind=PHOTO, blobs=(sha,)))
    assert "/blob/" + sha.hex() in page.get("/records/photo").text
    answer = page.get("/blob/" + sha.hex())
    assert answer.content == PNG and answer.headers["content-type"] == "image/png"
    answer = page.get("/blob/" + text.hex())
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert page.get("/blob/" + "00" * 32).status_code == 404
    assert page.get("/blob/..%2F..%2Fetc").status_code == 404


@pytest.mark.parametrize("path", [
    "/record/contact/!!", "/record/nothing/dTE", "/records/calendar", "/version/999",
    "/record/contact/dTE", "/records/contact?after=!!", "/version/99999999999999999999",
])  # fmt: skip
def test_addresses_that_lead_nowhere(page, path):
    answer = page.get(path)
    assert answer.status_code in (400, 404) and "Traceback" not in answer.text


def test_everything_can_be_downloaded(page, device):
    device.sync(device.item(b"u1", CARD))
    answer = page.get("/download")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as files:
        assert "drybag/index.html" in files.namelist()
        assert b"FN:Ada Lovelace" in files.read("drybag/contacts.vcf")


# --- errors, and what everybody can read -----------------------------------------------------


@pytest.mark.parametrize("who", ["ada", "nobody"])
def test_an_error_is_a_page_for_browsers_and_json_for_programs(hub, page, who, monkeypatch):
    client = page if who == "ada" else TestClient(make_app(hub), "https://hub")
    looks = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/logout", 405)):
        answer = client.request(method, path, headers=looks)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
        assert '<html lang="en">' in answer.text and 'href="/">To the overview' in answer.text
        assert ("Sign out" in answer.text) == (who == "ada")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert client.request(method, path).json()["class"] in ("NotFound", "BadRequest")
    assert client.get("/v1/nothing", headers=looks).json()["class"] == "NotFound"
    assert "allow" in client.get("/logout", headers=looks).headers
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/login", content=b"\xff\xff", headers=form).status_code == 400
    monkeypatch.setattr(web.views, "page_of", None)  # a mistake of ours
    quiet = TestClient(make_app(hub), "https://hub", raise_server_exceptions=False)
    quiet.cookies = page.cookies
    answer = quiet.get("/records/contact", headers=looks)
    assert answer.status_code == 500 and "To the overview" in answer.text
    assert quiet.get("/records/contact").json()["class"] == "HubError"


def test_each_link_has_a_name_and_each_page_a_title(hub, page, device):
    sha = sha256(PNG)
    hub.service.blobs.append(sha, len(PNG), 0, [PNG])
    hub.storage.commit([("blobs", {"owner": "ada", "sha": sha, "size": len(PNG)})])
    body = b"FN:A \"day\" out\nIMAGE:drybag:blob/" + sha.hex().encode() + b"\n"
    device.sync(
        device.item(b"p1", body, kind=PHOTO, blobs=(sha,)),
        device.item(b"p2", b"FN:b.png\n", kind=PHOTO),
        device.item(b"u1", CARD),
    )
    paths = ["/", "/records/photo", "/records/contact", "/search", "/search?q=ada",
             "/record/photo/cDE", "/record/contact/dTE", "/version/1", "/version/999"]  # fmt: skip
    titles = set()
    for path in paths:
        text = page.get(path).text
        assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
        titles.add(re.search("<title>(.+)</title>", text)[1])
        for link in re.findall(r"<a [^>]*>(.*?)</a>", text, re.S):
            alt = "".join(re.findall(r'alt="([^"]*)"', link))
            assert (re.sub("<[^>]*>", "", link) + alt).strip(), link
    assert len(titles) == len(paths)
    assert 'alt="A &#34;day&#34; out"' in page.get("/records/photo").text


def test_dates_are_the_readers(page, device, monkeypatch):
    """Local times with their zone; a day-long event ends on its last day."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        for uid, dates in ((b"1", b"DTSTART:20260701T080000Z\nDTEND:20260701T090000Z\n"),
                           (b"2", b"DTSTART;TZID=Asia/Tokyo:20260701T080000\n"),
                           (b"3", b"DTSTART;VALUE=DATE:20260701\nDTEND;VALUE=DATE:20260704\n"),
                           (b"4", b"DTSTART;VALUE=DATE:20260701\nDTEND;VALUE=DATE:20260702\n"),
                           (b"5", b"DTSTART:00010101T000000Z\nDTEND:never\n")):  # fmt: skip
            device.sync(device.item(b"e" + uid, b"SUMMARY:x\n" + dates, kind=EVENT))
        text = [page.get("/record/event/" + key).text for key in
                ("ZTE", "ZTI", "ZTM", "ZTQ", "ZTU")]  # fmt: skip
        assert "2026-07-01 10:00 CEST" in text[0] and "2026-07-01 11:00 CEST" in text[0]
        assert "2026-07-01 08:00 Asia/Tokyo" in text[1]
        assert "2026-07-03" in text[2] and "2026-07-04" not in text[2]
        assert "2026-07-01" in text[3] and "ends" not in text[3]
        assert "never" in text[4]
        assert "UTC" not in re.sub("(?s)<dl>.*</dl>", "", text[0])
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_revoked_handset_is_no_safe_place(hub, page, device):
    device.sync(device.item(b"u1", CARD))
    assert '<li class="yes"><b>saved</b>' in page.get("/record/contact/dTE").text
    accounts.revoke(hub.storage, "d1", 1)
    text = page.get("/record/contact/dTE").text
    assert '<li class="no"><b>saved</b> <span>on no handset' in text


# --- colours ---------------------------------------------------------------------------------


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(p * weight for p, weight in zip(parts, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one, other):
    """As WCAG 2.2 defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXTS = ("ink on paper", "ink on back", "ink on chip", "ink on warn-back", "soft on paper",
         "soft on back", "soft on warn-back", "accent on paper", "accent on back",
         "accent on chip", "accent on warn-back", "paper on accent", "good on paper",
         "good on back", "bad on paper", "bad on bad-back", "bad on chip",
         "bad on warn-back")  # fmt: skip
EDGES = ("edge on paper", "edge on back", "accent on paper", "accent on back",
         "accent on warn-back", "bad on warn-back")  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(page, scheme):
    """WCAG AA: text 4.5, borders of fields and marks of focus 3."""
    css = page.get("/static/hub.css").text
    dark = re.findall(r"@media \(prefers-color-scheme: dark\) \{.*?\n\}", css, re.S)
    assert len(dark) == 2  # of the page that export writes too, and of the hub's own
    light = re.sub(r"@media .*?\n\}", "", css, flags=re.S)
    values = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", light))
    if scheme == "dark":
        values.update(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", "".join(dark)))
    for pairs, least in ((TEXTS, 4.5), (EDGES, 3)):
        for pair in pairs:
            front, back = (values[name] for name in pair.split(" on "))
            assert contrast(front, back) >= least, pair
    for face in re.findall(r"\.c\d \{ background: (#[0-9a-f]+)", css):
        assert contrast("#ffffff", face) >= 4.5, face
    assert "outline: none" not in css and "outline: 0" not in css


# --- forms -----------------------------------------------------------------------------------


def test_a_form_without_its_token_does_nothing(hub, page, device):
    conflicting(hub, device)
    before = hub.storage.last_lsn()
    for guard in ({}, {"guard": "0" * 64}):
        assert page.post("/version/1/restore", data=guard).status_code == 401
    assert hub.storage.last_lsn() == before


def test_the_edit_that_is_not_shown_can_be_shown_instead(hub, page, device):
    first, second = conflicting(hub, device)
    assert "1 edit kept beside what is shown" in page.get("/").text
    text = page.get("/record/contact/dTE").text
    assert "This edit is not shown (name)" in text
    pos = re.search(r'action="/conflict/(\d+)/resolve"', text)[1]
    answer = post(page, "/version/%s/restore" % pos, "/record/contact/dTE")
    assert "this version is shown now" in answer.text
    assert shown(hub.service)[CONTACT, b"u1"] == first != second
    assert "kept beside" not in page.get("/").text


def test_a_conflict_can_be_left_as_it_is(hub, page, device):
    _, second = conflicting(hub, device)
    pos = re.search(r"/conflict/(\d+)/", page.get("/record/contact/dTE").text)[1]
    assert "stays as it is shown" in post(page, "/conflict/%s/resolve" % pos).text
    assert shown(hub.service)[CONTACT, b"u1"] == second
    assert "kept beside" not in page.get("/").text


@pytest.mark.parametrize("verdict", ["accept", "refuse"])
def test_held_deletions_wait_for_a_word(hub, page, device, verdict):
    device.sync(*[device.item(b"u%d" % i, CARD) for i in range(60)])
    gone = [device.item(b"u%d" % i, None, content_id(0, (), CARD)) for i in range(30)]
    device.sync(*gone)
    text = page.get("/").text
    waiting = int(re.search(r"(\d+) deletions wait", text)[1])
    through = re.search(r'name="through" value="(\d+)"', text)[1]
    answer = post(page, "/held/" + verdict, through=through)
    assert "deletions wait" not in answer.text
    live = sum(body is not None for body in shown(hub.service).values())
    assert live == (30 if verdict == "accept" else 30 + waiting) and waiting > 10


# --- a real browser --------------------------------------------------------------------------


@pytest.fixture
def browser():
    """Chromium without a window and without JavaScript."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs a browser: install the packages chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("acceptInsecureCerts", True)
    options.add_experimental_option(
        "prefs", {"profile.managed_default_content_settings.javascript": 2}
    )
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update",
                 "--disable-sync", "--disable-dev-shm-usage"):  # fmt: skip
        options.add_argument(flag)
    with webdriver.Chrome(options, Service(shutil.which("chromedriver"))) as driver:
        driver.implicitly_wait(10)
        yield driver


@pytest.fixture
def served(tmp_path):
    process = HubProcess(tmp_path / "hub")
    yield process
    process.stop()


def test_an_owner_in_a_real_browser(browser, served):
    """Log in, search, open a record, bring an older version back: no JavaScript anywhere."""
    from selenium.webdriver.common.by import By

    from drybag_host.hub.service import Service

    with served.storage() as storage:
        accounts.add_owner(storage, "ada", PASSWORD, 1)
        device = Device(Service(storage, None))
        device.sync(device.item(b"u1", CARD))
        changed = CARD.replace(b"7946", b"1234")
        device.sync(device.item(b"u1", changed, content_id(0, (), CARD)))
    browser.get(served.url + "/search?q=ada")
    browser.find_element(By.NAME, "owner").send_keys("ada")
    browser.find_element(By.NAME, "password").send_keys(PASSWORD)
    browser.find_element(By.CSS_SELECTOR, "main form button").click()
    browser.find_element(By.LINK_TEXT, "Ada Lovelace").click()
    assert "+44 20 1234 0000" in browser.find_element(By.CSS_SELECTOR, "main dl").text
    browser.find_element(By.XPATH, "//button[text()='Bring this back']").click()
    assert browser.find_element(By.CSS_SELECTOR, ".said").text.startswith("Done")
    assert "+44 20 7946 0000" in browser.find_element(By.CSS_SELECTOR, "main dl").text
    colour = browser.find_element(By.CSS_SELECTOR, "main .said").value_of_css_property(
        "background-color"
    )
    assert colour not in ("rgba(0, 0, 0, 0)", "transparent")  # the style was loaded
    with served.storage() as storage:  # a word longer than any screen breaks
        name = b"Averylongname" * 20
        device = Device(Service(storage, None), life=8)
        device.sync(device.item(b"u2", b"VERSION:3.0\nFN:%s\n" % name))
    browser.set_window_size(500, 900)
    browser.get(served.url + "/record/contact/dTI")
    assert browser.find_element(By.XPATH, "//*[contains(text(), 'Averylongname')]")
    root = browser.find_element(By.TAG_NAME, "html")
    assert root.get_property("scrollWidth") <= root.get_property("clientWidth")
