"""Check the links within a built site: pages, anchors, pictures, downloads.

    python docs/links.py docs/_build/html

Sphinx checks the links that it makes; this checks what a browser is given.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

KNOWN = {"", "top"}  # anchors that every browser knows


class Page(HTMLParser):
    """What a page refers to, and the anchors that it has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note the links and anchors of a tag."""
        for name, value in attributes:
            if name in {"href", "src"} and value is not None:
                self.links.add(value)
            elif name in {"id", "name"} and value is not None:
                self.anchors.add(value)


def files_of(site: Path) -> list[Path]:
    """Return the pages of a site, without the templates that a theme leaves among its own files."""
    return [file for file in site.rglob("*.html") if "_static" not in file.relative_to(site).parts]


def broken(site: Path) -> list[str]:
    """Return a line for each link of a site that leads nowhere."""
    pages = {file.resolve(): Page(file) for file in files_of(site)}
    found = []
    for file, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchor = unquote(parts.fragment)
            if not target.exists():
                found.append(f"{file.relative_to(site.resolve())}: {link} does not exist")
            elif anchor not in KNOWN and target in pages and anchor not in pages[target].anchors:
                found.append(f"{file.relative_to(site.resolve())}: {link} has no such anchor")
    return found


def main() -> None:
    """Print what is broken, and how much was looked at; fail if anything is broken."""
    site = Path(sys.argv[1])
    pages = files_of(site)
    lines = broken(site)
    print("\n".join([*lines, f"{len(pages)} pages, {len(lines)} broken links"]))
    sys.exit(bool(lines) or not pages)


if __name__ == "__main__":
    main()
