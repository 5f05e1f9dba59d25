"""What the site takes from outside ``docs/``: a hook of MkDocs (``mkdocs.yml``).

Pages link to each other as they must where the repository is read. A file outside ``docs/`` that one of them links to
becomes one of the site's, under its path in the repository, and links are turned to where things lie in the site.
Reports of the samples come in as they were written by ``make demo``.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pydicom
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
LINK: Final = re.compile(r"(?<=\]\()(?![a-z]+:|#|demo/)([^)#\s]+)")
"""The file that a link of a page leads to."""

ALWAYS: Final = ("CHANGELOG.md", "models/ct_spine/docs/README.md", "models/xray_spine/docs/README.md")
"""What the navigation names."""

DEMO: Final = ROOT / "out" / "demo"
SAMPLES: Final = ROOT / "data_samples" / "studies"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to, and the reports of the samples under ``demo/<sample>.html``."""
    waiting = {*ALWAYS, *(f"docs/{page.src_uri}" for page in files.documentation_pages())}
    known: set[str] = set()
    while waiting:
        path = waiting.pop()
        known.add(path)
        if path.endswith(".md"):
            linked = {target(path, link) for link in LINK.findall((ROOT / path).read_text(encoding="utf-8"))}
            waiting |= {one for one in linked - known if (ROOT / one).is_file()}
    for path in sorted(known):
        if not path.startswith("docs/"):
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for sample, report in demo_reports().items():
        files.append(File.generated(config, f"demo/{sample}.html", abs_src_path=str(report)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that hold in the repository are made to hold in the site."""
    own = page.file.src_uri
    inside = (ROOT / "docs" / own).is_file()
    path = f"docs/{own}" if inside else own

    def turned(found: re.Match[str]) -> str:
        there = target(path, found[1])
        if not (ROOT / there).is_file():
            return found[1]  # MkDocs says that it leads nowhere
        return posixpath.relpath(there.removeprefix("docs/"), posixpath.dirname(own) or ".")

    return LINK.sub(turned, markdown)


def target(page: str, link: str) -> str:
    """Path in the repository that a page's link leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def demo_reports() -> dict[str, Path]:
    """The page of every sample, by the sample's folder."""
    found = {}
    for folder in sorted(SAMPLES.iterdir()):
        first = pydicom.dcmread(min(folder.glob("*.dcm")), stop_before_pixels=True)
        found[folder.name] = DEMO / str(first.StudyInstanceUID) / "report.html"
    missing = [sample for sample, report in found.items() if not report.is_file()]
    if missing:
        raise SystemExit(f"site_pages.py: no reports of {', '.join(missing)} in {DEMO}; run make demo first")
    return found
