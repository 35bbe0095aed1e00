"""The report in a real browser: drawn, quiet, alone, and its switches work."""

import pytest
from browser import Page, needs_browser
from report_frames import synthetic

from sweeps.report.write import PAGE, write_files

pytestmark = [pytest.mark.slow, pytest.mark.browser, needs_browser]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_files(synthetic(), folder)
    return folder / PAGE


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    with Page(tmp_path_factory.mktemp("profile")) as page:
        page.open(report.as_uri())
        yield page


def test_the_console_is_quiet_and_nothing_is_asked_for(page, report):
    page.run("new Promise(done => setTimeout(done, 300))")
    assert page.log == []
    assert {request for request in page.requests if not request.startswith("data:")} == {
        report.as_uri()
    }


def test_every_figure_is_drawn(page):
    boxes = page.run(
        """[...document.querySelectorAll("figure svg")].map(svg => {
          const marks = [...svg.querySelectorAll("path, use, text, image")];
          const seen = marks.filter(m => { const b = m.getBoundingClientRect();
                                           return b.width > 0 || b.height > 0; });
          const box = svg.getBoundingClientRect();
          return [svg.getAttribute("aria-label"), box.width, box.height, seen.length];
        })"""
    )
    assert len(boxes) >= 17
    for name, width, height, n_marks in boxes:
        assert width > 500 and height > 150 and n_marks > 20, name


def test_no_text_of_a_figure_is_cut_off(page):
    cut = page.run(
        """[...document.querySelectorAll("figure")].flatMap(figure => {
          const whole = figure.querySelector("svg").getBoundingClientRect();
          return [...figure.querySelectorAll("svg text")].filter(text => {
            const box = text.getBoundingClientRect();
            return box.width > 0 && (box.left < whole.left - 2 || box.right > whole.right + 2
              || box.top < whole.top - 2 || box.bottom > whole.bottom + 2);
          }).map(text => figure.id + ": " + text.textContent);
        })"""
    )
    assert cut == []


def test_ids_are_unique_and_their_references_are_there(page):
    twice = page.run(
        """(() => { const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
          return ids.filter((id, i) => ids.indexOf(id) !== i); })()"""
    )
    assert twice == []
    lost = page.run(
        """[...document.querySelectorAll("use, a[href^='#']")].map(
             e => e.getAttribute("xlink:href") || e.getAttribute("href"))
           .filter(to => to.startsWith("#") && !document.getElementById(to.slice(1)))"""
    )
    assert lost == []


def test_the_switch_hides_and_shows_the_released_points(page):
    shown = """[...document.querySelectorAll(".released")].filter(
                 e => getComputedStyle(e).display !== "none").length"""
    count = page.run('document.querySelectorAll(".released").length')
    assert count >= 6
    assert page.run(shown) == 0  # generated images: nothing of ImageNet beside them at first
    page.run('document.getElementById("overlay").click()')
    assert page.run(shown) == count
    boxes = page.run(
        """[...document.querySelectorAll(".released use")].filter(
             e => e.getBoundingClientRect().width > 0).length"""
    )
    assert boxes > 20
    page.run('document.getElementById("overlay").click()')
    assert page.run(shown) == 0


def column(page, heading):
    return page.run(
        f"""(() => {{ const heads = [...document.querySelectorAll("#all thead th")];
          const at = heads.findIndex(h => h.textContent === "{heading}");
          return [...document.querySelectorAll("#all tbody tr")].map(
            row => parseFloat(row.cells[at].dataset.value)); }})()"""
    )


def click_heading(page, heading):
    page.run(
        f"""[...document.querySelectorAll("#all thead th")].find(
              h => h.textContent === "{heading}").querySelector("button").click()"""
    )


def test_headings_sort_the_table(page):
    before = column(page, "top-1")
    assert before != sorted(before, reverse=True)
    click_heading(page, "top-1")
    assert column(page, "top-1") == sorted(before, reverse=True)
    click_heading(page, "top-1")
    assert column(page, "top-1") == sorted(before)
    click_heading(page, "trial")
    assert page.run('document.querySelector("#all tbody tr th").textContent') == "untrained"


def test_the_field_filters_the_table(page):
    count = '[...document.querySelectorAll("#all tbody tr")].filter(r => !r.hidden).length'
    every = page.run(count)
    field = 'const f = document.getElementById("filter");'
    page.run(f'{field} f.value = "structured 0.5"; f.dispatchEvent(new Event("input"))')
    assert 0 < page.run(count) < every
    page.run('document.getElementById("filter").value = ""')
    page.run('document.getElementById("filter").dispatchEvent(new Event("input"))')
    assert page.run(count) == every


def test_a_marker_names_its_network_and_leads_to_its_row(page):
    link = 'document.querySelector("#accuracy_vs_sparsity svg a")'
    told = page.run(f'{link}.querySelector("title").textContent')
    assert "sparsity" in told and "top-1" in told
    key = page.run(f'{link}.getAttribute("href")')
    assert page.run(f'document.querySelector("[id=\\"{key[1:]}\\"] th").textContent') in told
    page.click(link)
    page.run("new Promise(done => setTimeout(done, 300))")
    assert page.run("location.hash") == key


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390], ids=["wide", "narrow"])
def test_ink_is_readable_and_nothing_is_wider_than_the_window(report, tmp_path, dark, width):
    with Page(tmp_path / "profile", width=width, dark=dark) as page:
        page.open(report.as_uri())
        ratio = page.run(
            """(() => { const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => {
                 x /= 255; return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; });
                 return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
               const paper = light(getComputedStyle(document.body).backgroundColor);
               return Math.min(...[...document.querySelectorAll("svg text, p, td, li")].map(e => {
                 const style = getComputedStyle(e);
                 const ink = light(e.closest("svg") ? style.fill : style.color);
                 return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05); })); })()"""
        )
        assert ratio > 2.5
        assert page.run("document.documentElement.scrollWidth") <= width
        page.screenshot(tmp_path / "report.png")
        assert (tmp_path / "report.png").stat().st_size > 100_000


def test_the_button_changes_light_and_dark(page):
    paper = "getComputedStyle(document.body).backgroundColor"
    before = page.run(paper)
    page.run('document.getElementById("theme").click()')
    assert page.run(paper) != before
    page.run('document.getElementById("theme").click()')
    assert page.run(paper) == before
