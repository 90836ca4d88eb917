"""The site of docs/: every page is in its navigation, and it works without the internet on a screen and on a phone."""

import functools
import os
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
ROOMS = {path.parent.name for path in (ROOT / "rlsparse").glob("*/__init__.py")}
SIZES = {"screen": (1280, 900), "phone": (390, 844)}


def navigation(entries):
    """Return the pages of mkdocs.yml's `nav`, however deep."""
    if isinstance(entries, str):
        return [entries]
    inner = entries.values() if isinstance(entries, dict) else entries
    return [page for entry in inner for page in navigation(entry)]


def test_every_page_and_room_is_in_the_navigation_once():
    listed = navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert len(listed) == len(set(listed))
    assert {page for page in listed if (ROOT / "docs" / page).exists()} == PAGES
    assert {f"reference/{room}.md" for room in ROOMS} <= set(listed)


def test_the_index_links_every_page():
    index = (ROOT / "docs" / "index.md").read_text()
    assert [page for page in sorted(PAGES - {"index.md"}) if f"]({page})" not in index] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the built site."""
    pytest.importorskip("material", reason="needs pip install 'rlsparse[docs]'")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(params=SIZES)
def opened(request, browser, site):
    """A page of the site; fails if anything is asked for elsewhere or a script complains."""
    width, height = SIZES[request.param]
    page, asked, noise = browser.new_page(viewport={"width": width, "height": height}), [], []
    page.on("request", lambda sent: asked.append(sent.url))
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    yield page
    page.close()
    assert [url for url in asked if not url.startswith((site, "data:"))] == []
    assert noise == []


@pytest.mark.long
def test_no_page_scrolls_sideways_and_every_picture_is_shown(opened, site):
    pages = [page.removesuffix(".md") for page in sorted(PAGES | {f"reference/{room}.md" for room in ROOMS})]
    for page in pages:
        opened.goto(f"{site}/{page}.html")
        assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, page
        broken = "[...document.images].filter(e => !e.naturalWidth).map(e => e.src)"
        assert opened.evaluate(broken) == [], page


@pytest.mark.long
def test_search_finds_a_word_and_leads_to_its_page(opened, site):
    opened.goto(f"{site}/index.html", wait_until="networkidle")
    opened.keyboard.press("/")
    opened.keyboard.type("surrogate")
    found = opened.locator(".md-search-result__item a").first
    found.wait_for()
    found.click()
    opened.wait_for_url("**/*.html?h=*")
    assert "surrogate" in opened.locator("article").inner_text().lower()
