"""A figure as a piece of the page: its own ids, the page's colours, and points that lead on."""

import io
import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from sweeps.report.sections.style import GREY, INK, PALETTE, RELEASED, UNIT

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


def inline_svg(
    figure: Figure,
    name: str,
    title: str,
    points: Mapping[str, str],
    atlas: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The figure as an <svg> element, to stand in a page beside others.

    name: begins all of its ids. points: trial key -> what a pointer over its marker is told.
    atlas: trial key -> the page, beside the report, that shows its units.
    """
    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(written, format="svg", facecolor="none", metadata={"Date": None})
    root = ElementTree.fromstring(written.getvalue())
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for defs in root.findall(f"{{{_SVG}}}defs"):
        for style in defs.findall(f"{{{_SVG}}}style"):
            defs.remove(style)  # it would hold for all of the page, which says the same
    for length in ("width", "height"):
        del root.attrib[length]  # as wide as the page lets it be
    root.attrib |= {"role": "img", "aria-label": title}
    for element in root.iter():
        _own(element, name)
        _restyle(element)
        if element.tag == f"{{{_SVG}}}a":
            _lead_on(element, points, atlas)
    return ElementTree.tostring(root, encoding="unicode")


def _own(element: ElementTree.Element, name: str) -> None:
    """Ids that no other figure of the page has; the group of released points becomes a class."""
    given = element.get("id")
    if given == RELEASED:
        del element.attrib["id"]
        element.set("class", RELEASED)
    elif given is not None:
        element.set("id", f"{name}-{given}")
    for attribute, value in element.attrib.items():
        if "url(#" in value:
            element.set(attribute, value.replace("url(#", f"url(#{name}-"))
    is_link = element.tag == f"{{{_SVG}}}a"
    if not is_link and element.get(_HREF, "").startswith("#"):
        element.set(_HREF, f"#{name}-{element.get(_HREF, '')[1:]}")


def _restyle(element: ElementTree.Element) -> None:
    """The page's ink, grey, palette and type."""
    for attribute in ("style", "fill", "stroke"):
        style = element.get(attribute)
        if style is None:
            continue
        style = style.replace(INK, "currentColor")
        for colour in (*PALETTE, GREY):
            style = style.replace(colour, f"var(--c{colour[1:]})")
        element.set(attribute, re.sub(r"font-family:[^;]*;?", "", style))


def _lead_on(
    link: ElementTree.Element, points: Mapping[str, str], atlas: Mapping[str, str]
) -> None:
    """To the trial's row in the table, or nowhere where the point is not of this sweep; of a unit
    to the atlas, or nowhere where that has it not."""
    target = link.attrib.pop(_HREF, "#")[1:]
    link.attrib.pop("target", None)  # Matplotlib opens a new window, also for a row of this page
    if target.startswith(UNIT):
        _to_unit(link, target.removeprefix(UNIT), atlas)
        return
    keys = target.split(",")
    said = [points[key] for key in keys if key in points]
    if said:
        told = ElementTree.Element(f"{{{_SVG}}}title")
        told.text = "\n".join(said)
        link.insert(0, told)
    if keys[0] and not keys[0].startswith("released"):
        link.set("href", f"#{keys[0]}")


def _to_unit(link: ElementTree.Element, address: str, atlas: Mapping[str, str]) -> None:
    asked = dict(parse_qsl(address))
    told = ElementTree.Element(f"{{{_SVG}}}title")
    told.text = asked.get("unit", "").replace(":", " #")
    link.insert(0, told)
    if page := atlas.get(asked.get("a", asked.get("b", ""))):
        link.set("href", f"{page}#{address}")
        link.set("target", "atlas")  # one window for all of them
