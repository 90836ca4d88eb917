"""What the site has beside docs/: files from elsewhere that its pages link to, and the reference of the code."""

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import rlsparse  # noqa: E402

DOCS, PACKAGE = ROOT / "docs", ROOT / "rlsparse"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
RARE = "---\nsearch:\n  boost: 0.2\n---"
"""The search shows what pages say before what the code says."""

CALLED = {"train": "rlsparse.train.from_python.from_script", "compare": "rlsparse.compare.from_python.from_script"}
"""Functions that `import rlsparse` gives under another name."""

WITHOUT_NAME = "\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"

PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "agents/README.md", "envs/README.md")
SHOWN = (".png", ".ipynb")
"""Pages from elsewhere that the site has, and files that it has if a page links to them."""


def place(path: Path) -> str:
    """Return where a file of the repository is in the site."""
    if path == ROOT / "README.md":
        return "overview.md"  # README.md would be another index.html
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).as_posix()


def linked(path: Path) -> set[Path]:
    """Return the files that a page links to."""
    return {(path.parent / link[3]).resolve() for link in LINK.finditer(path.read_text(encoding="utf-8"))}


def on_files(files: Files, config: Any) -> Files:
    """Add pages and pictures from elsewhere, and a page of the reference for each room."""
    pages = [*DOCS.rglob("*.md"), *(ROOT / page for page in PAGES)]
    others = {path for page in pages for path in linked(page) if path.suffix in SHOWN and path.exists()}
    for path in sorted({*pages, *others}):
        if not path.is_relative_to(DOCS):
            files.append(File.generated(config, place(path), abs_src_path=str(path)))
    for room in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        files.append(File.generated(config, f"reference/{room.name}.md", content=reference(room)))
    files.append(File.generated(config, "reference/rlsparse.md", content=public()))
    return files


def public() -> str:
    """Return the page of what `import rlsparse` gives, then of the modules in the root."""
    names = [name for name in rlsparse.__all__ if not name.startswith("_")]
    places = {name: CALLED.get(name) or f"rlsparse.{rlsparse.PUBLIC.get(name, 'errors')}.{name}" for name in names}
    options = "\n    options:\n      heading: rlsparse.{0}\n      toc_label: {0}\n"
    shown = [f"::: {place}{options.format(name)}" for name, place in places.items()]
    return "\n\n".join([RARE, "# rlsparse", *shown, "::: rlsparse.loop"])


def reference(room: Path) -> str:
    """Return the page of a room: its modules in the order of their names."""
    name = f"rlsparse.{room.name}"
    modules = sorted(path.stem for path in room.glob("*.py") if not path.stem.startswith("_"))
    own = f"::: {name}{WITHOUT_NAME}"
    return "\n\n".join([RARE, f"# {name}", own, *(f"::: {name}.{module}" for module in modules)])


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Point links at where their files are in the site; a link to a file that the site lacks becomes its words."""
    if page.file.abs_src_path is None:
        return markdown
    folder = Path(page.file.abs_src_path).resolve().parent

    def there(found: re.Match[str]) -> str:
        picture, words, target, part = found.groups()
        path = (folder / target).resolve()
        if not path.exists() or files.get_file_from_path(place(path)):
            return f"{picture}[{words}]({os.path.relpath(place(path), Path(page.file.src_uri).parent)}{part or ''})"
        return words

    return LINK.sub(there, markdown)


def on_page_content(html: str, page: Page, config: Any, files: Files) -> str:
    """Call functions as their callers do."""
    for name, place in CALLED.items() if page.file.src_uri == "reference/rlsparse.md" else ():
        html = re.sub(rf'(id="{re.escape(place)}".*?>)from_script<', rf"\g<1>{name}<", html, count=1, flags=re.DOTALL)
    return html
