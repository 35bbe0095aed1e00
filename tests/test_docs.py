"""The pages: links between our own files lead somewhere, and the drawn tree is the tree.

`python tests/test_docs.py` draws the tree of docs/how_it_works.md anew.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(p for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/*.md")))
TREE = ROOT / "docs" / "how_it_works.md"
BEGIN, END = "<!-- tree -->\n```\n", "```\n<!-- end of the tree -->"
PACKAGES = ("pruning", "mis", "trainables", "sweeps")


def slug(heading):
    """The anchor that a page of GitHub's gives a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", ""))
    return text.replace(" ", "-")


def anchors(page):
    return {slug(h) for h in re.findall(r"^#+ (.*)$", page.read_text(), re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_our_own_files_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or found.is_dir() or anchor in anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_of_ours_that_a_page_names_are_there(page):
    if page.name in ("CHANGELOG.md", "RESULTS.md"):  # which tell of what was
        return
    ours = r"`((?:pruning|mis|trainables|sweeps|tests|benchmarks)/[\w/]*(?:\.py|/))`"
    named = re.findall(ours, page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def lines(folder, depth=0):
    """A folder and what is in it, each with the first line of its docstring."""
    yield f"{'  ' * depth}{folder.name}/".ljust(34) + said(folder / "__init__.py")
    for path in sorted(folder.iterdir(), key=lambda p: (p.is_dir(), p.name)):
        if path.is_dir() and path.name != "__pycache__":
            yield from lines(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield f"{'  ' * (depth + 1)}{path.name}".ljust(34) + said(path)


def said(path):
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    first = " ".join(text.split("\n\n")[0].split())
    return first if len(first) <= 110 else first[:107].rsplit(" ", 1)[0] + " …"


def drawn():
    return "\n".join(line.rstrip() for name in PACKAGES for line in lines(ROOT / name)) + "\n"


def test_the_tree_is_drawn_as_it_is():
    text = TREE.read_text()
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)] == drawn()


if __name__ == "__main__":
    before = TREE.read_text()
    at, end = before.index(BEGIN) + len(BEGIN), before.index(END)
    TREE.write_text(before[:at] + drawn() + before[end:])


def test_the_gallery_reads_each_figure_as_the_report_does():
    from sweeps.report.sections.all import SECTIONS

    text = (ROOT / "docs" / "gallery.md").read_text()
    shown = [section for section in SECTIONS if f"gallery/{section.name}.png" in text]
    assert len(shown) > 20
    for section in shown:
        said = f"**{section.question}** {' '.join(section.reading.split())}\n"
        assert said in text, section.name
