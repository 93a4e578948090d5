"""The owner's pages: what they show, who sees them, what their forms do; and in a real browser."""

import io
import re
import shutil
import zipfile

import pytest
from hub_kit import STAMP, Device, make_hub, sha256, shown
from hub_process import PASSWORD, HubProcess
from starlette.testclient import TestClient

from drybag.layout import CONTACT, PHOTO, content_id
from drybag_host.hub import accounts, web
from drybag_host.hub.app import Hub, make_app

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
    assert "<b>saved</b> on" in text and "no off-site copy is set up" in text
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
    assert "This edit is not shown" in text
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
