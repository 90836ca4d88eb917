"""The page: one file that needs nothing else, seen in a real browser on a screen and on a phone, light and dark."""

import base64
import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from synthetic_runs import rising, write_run

from rlsparse.compare.arms import arrange
from rlsparse.compare.comparison import compare
from rlsparse.compare.logs import read_logs
from rlsparse.compare.report import write_report

SIZES = {"screen": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder, generator = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for env in ("Hopper-v5", "Ant-v5"):
        for agent in ("ppo", "explorler-with-a-very-long-name", "sb3-defaults"):
            write_run(folder / env / agent, rising(generator, 5, 11), agent=agent, env=env)
    return compare(arrange(read_logs([str(folder)]).logs, {}))


@pytest.fixture(scope="module")
def content(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(comparison, folder, "mean", ["report.png"])
    assert base64.b64encode((folder / "report.png").read_bytes()).decode() in (folder / "report.html").read_text()
    return (folder / "report.html").read_text()


class Reader(HTMLParser):
    """Collects tags and attributes, and checks that elements nest."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.tags = [], [], Counter()

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def read(content):
    reader = Reader()
    reader.feed(content)
    assert reader.open == []
    return reader


def test_nothing_is_fetched_and_no_script_runs(content, read):
    links = [value for name, value in read.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert [link.partition(",")[0] for link in links] == ["data:image/png;base64"]
    assert re.findall(r"url\((?!#)", content) == []
    assert "@import" not in content
    assert read.tags["link"] == 0
    assert re.findall(r"<script[^>]*>", content) == ['<script type="application/json" id="report">']
    assert "default-src 'none'" in content


def test_its_one_picture_has_words(read):
    assert (read.tags["img"], read.tags["svg"]) == (1, 0)
    assert dict(read.attributes)["alt"] == "Evaluation return of 3 arms: curves per environment"


def test_it_holds_the_whole_account(content):
    data = re.search(r'<script type="application/json" id="report">(.*?)</script>', content, re.DOTALL)[1]
    assert json.loads(data)["arms"] == ["explorler-with-a-very-long-name", "ppo", "sb3-defaults"]


OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll('h1, h2, p, figure, .wide, summary')]
    .filter(e => e.checkVisibility()).map(e => [e.textContent.slice(0, 40), e.getBoundingClientRect()]);
  const found = [];
  for (const [i, [one, a]] of boxes.entries()) for (const [other, b] of boxes.slice(i + 1))
    if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1) found.push([one, other]);
  return found;
}"""

CONTRAST = """() => {
  const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(x => x / 255)
    .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll('h1, h2, p, li, td, th, summary')].map(e => {
    const ink = light(getComputedStyle(e).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  }).reduce((a, b) => Math.min(a, b));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_in_a_browser(browser, content, tmp_path, size, scheme):
    (tmp_path / "report.html").write_text(content)
    width, height = SIZES[size]
    viewport = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, color_scheme=scheme, java_script_enabled=True, offline=True)
    opened = context.new_page()
    noise, requests = [], []
    opened.on("console", lambda message: noise.append(message.text))
    opened.on("pageerror", lambda error: noise.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto((tmp_path / "report.html").as_uri())
    assert noise == []
    assert len(requests) == 1
    assert opened.evaluate("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    assert opened.evaluate(OVERLAPS) == []
    assert opened.evaluate(CONTRAST) >= 4.5
    picture = opened.locator("figure img")
    assert picture.evaluate("e => e.naturalWidth") > 1000, "the picture is not shown"
    assert 300 < picture.bounding_box()["width"] <= width
    paper = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert len(opened.screenshot(full_page=True)) > 10_000
    context.close()


def test_wide_tables_scroll_by_themselves_on_a_phone(browser, content, tmp_path):
    (tmp_path / "report.html").write_text(content)
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    opened.goto((tmp_path / "report.html").as_uri())
    wide = opened.locator(".wide").all()
    assert any(table.evaluate("e => e.scrollWidth > e.clientWidth") for table in wide)
    assert all(table.evaluate("e => getComputedStyle(e).overflowX") == "auto" for table in wide)
    opened.close()
