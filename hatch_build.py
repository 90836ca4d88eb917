"""What a package index shows: the addresses of the project, and README with links and pictures that work there."""

import re
import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")
"""A link or a picture of Markdown whose target is a file of this repository."""


def for_index(text: str, address: str, version: str) -> str:
    """Point relative links and pictures at the files of a release; without an address keep the words of links alone."""

    def absolute(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if not address:
            return "" if picture else words
        return f"{picture}[{words}]({address}/{'raw' if picture else 'blob'}/v{version}/{target})"

    return RELATIVE.sub(absolute, text)


def addresses(address: str) -> dict[str, str]:
    """Return the links beside the project on a package index."""
    if not address:
        return {}
    return {
        "Source": address,
        "Documentation": f"{address}/blob/main/docs/index.md",
        "Changelog": f"{address}/blob/main/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }


class Published(MetadataHookInterface):
    """Fills in `readme` and `urls` from the address in pyproject.toml."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add what is dynamic."""
        address, root = self.config["address"].rstrip("/"), Path(self.root)
        version = runpy.run_path(str(root / "rlsparse" / "run" / "version.py"))["__version__"]
        text = for_index((root / "README.md").read_text(encoding="utf-8"), address, version)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = addresses(address)
