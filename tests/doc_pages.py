"""What README and the pages under docs/ show as code: blocks between fences, and commands within sentences."""

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FILES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / x / "README.md" for x in ("agents", "envs")),
]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:rlsparse|python|pip|make|tensorboard) [^`]+)`")


@dataclass(frozen=True)
class Code:
    """A block, or one command; its place is that of its first line."""

    place: str
    language: str
    text: str

    @property
    def words(self) -> list[str]:
        """A command's words, without its comment."""
        return shlex.split(self.text, comments=True)


@cache
def blocks() -> list[Code]:
    """Return every block between fences."""
    return [
        Code(f"{page}:{text.count(chr(10), 0, found.start()) + 2}", found[2], found[3])
        for page, text in PAGES.items()
        for found in FENCE.finditer(text)
    ]


@cache
def commands() -> list[Code]:
    """Return every command of every shell block."""
    found = []
    for block in blocks():
        page, _, line = block.place.partition(":")
        number = int(line)
        for command in re.split(r"(?<!\\)\n", block.text) if block.language == "sh" else ():
            code = Code(f"{page}:{number}", "sh", command.replace("\\\n", ""))
            found += [code] if code.words else []
            number += 1 + command.count("\n")
    return found


def inline_commands() -> list[Code]:
    """Return every command within a sentence."""
    return [
        Code(f"{page}:{text.count(chr(10), 0, found.start()) + 1}", "inline", found[1])
        for page, text in PAGES.items()
        for found in INLINE.finditer(FENCE.sub(lambda block: "\n" * block[0].count("\n"), text))
    ]
