"""The atlas of units in a real browser: quiet, alone, and it sorts, filters, compares."""

import io
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest
from atlas_sweeps import few, logged
from browser import Page, needs_browser
from rich.console import Console

from sweeps.report import report_study
from sweeps.report.atlas.write import FOLDER, PAGE
from sweeps.report.files import report_folder
from sweeps.report.read.frames import open_tracker
from sweeps.report.sections.units import AGAINST_DENSE

pytestmark = [pytest.mark.slow, pytest.mark.browser, needs_browser]
HOSTILE = "</script><img src=x onerror=alert(1)><b>'\"&"


def reported(frames, folder):
    in_rounds = frames.trials.loc[frames.trials["rounds"] > 1, "key"]
    logged(frames, folder, by_round=set(in_rounds[:1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.report.write.with_own", lambda _: (AGAINST_DENSE,))
        report_study("synthetic", folder / "results", None, Console(file=io.StringIO()))
    return report_folder(folder / "results", "synthetic") / PAGE


@pytest.fixture(scope="module")
def frames():
    """With names that are no text of a page, and a layer of a thousand units."""
    frames = few(channels=34)
    long = frames.units["layer"].isin(frames.units["layer"].unique()[2:32])
    numbers = frames.units.groupby("key").cumcount() - 2 * 34
    frames.units["channel"] = frames.units["channel"].where(~long, numbers)
    frames.units["layer"] = frames.units["layer"].where(~long, HOSTILE)
    alive = frames.units["state"] == "alive"
    twins = np.random.default_rng(3).random(len(frames.units))
    frames.units["twin_before"] = np.where(alive, twins, np.nan)
    frames.units["match_before"] = np.where(alive, 0.9, np.nan)
    frames.units["match_channel_before"] = np.where(alive, 5, -1)
    frames.dissected["concept"] = frames.dissected["concept"].replace({"red": HOSTILE})
    frames.trials["label"] = frames.trials["label"].replace({"untrained": HOSTILE})
    return frames


@pytest.fixture(scope="module")
def atlas(frames, tmp_path_factory):
    return reported(frames, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(atlas, tmp_path_factory):
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(autouse=True)
def opened(page, atlas):
    page.open("about:blank")
    page.log.clear()
    page.requests.clear()
    page.open(atlas.as_uri())
    page.run("Page.ready")


def units(page):
    """(layer, channel) of all that is listed, in its order."""
    return [
        tuple(each)
        for each in page.run(
            """(() => { const [a, b] = ["a", "b"].map(x => Atlas.have("scores", Page.state[x]));
              const found = Order.units(Page.state, a, b, Atlas.about, () => "");
              const layers = Atlas.about.layers;
              return found.map(u => [layers[Units.layer(u)].name, Units.channel(u)]); })()"""
        )
    ]


def seen(page):
    """Texts of the rows in the page, from above."""
    return page.run(
        """[...document.querySelectorAll(".row")].filter(r => !r.hidden)
           .sort((a, b) => a.dataset.place - b.dataset.place)
           .map(r => [".layer", ".channel"].map(c => r.querySelector(c).textContent).join(""))"""
    )


def choose(page, name, value):
    page.run(
        f"""(() => {{ const s = document.getElementById({name!r}); s.value = {value!r};
             s.dispatchEvent(new Event(s.matches("input") ? "input" : "change")); }})()"""
    )
    settle(page)


def press(page, *keys):
    for key in keys:
        more = {"text": key} if len(key) == 1 else {}
        if key == "Escape":  # a dialog closes by the number of the key
            more = {"windowsVirtualKeyCode": 27}
        page.call("Input.dispatchKeyEvent", type="keyDown", key=key, **more)
        page.call("Input.dispatchKeyEvent", type="keyUp", key=key)
    settle(page)


def settle(page):
    page.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 120)))")


def of_trial(frames, page, letter):
    key = page.run(f"Atlas.about.trials[Page.state.{letter}].key")
    return frames.units[frames.units["key"] == key].reset_index(drop=True)


def test_it_opens_quietly_and_asks_for_nothing_but_its_own_files(page, atlas):
    assert page.log == []
    asked = {request for request in page.requests if not request.startswith("data:")}
    assert atlas.as_uri() in asked
    assert {r for r in asked if not r.startswith(atlas.parent.as_uri())} == set()
    assert sum("scores-" in r for r in asked) == 2  # of the two networks that are shown
    assert page.run("document.getElementById('problem').hidden")


def test_names_are_text_whatever_they_are(page, frames):
    assert page.run("document.images.length") == 0
    choose(page, "layer", "2")
    assert seen(page)[0].startswith(HOSTILE)
    press(page, "Enter")
    assert page.run("document.querySelector('#unit h2').textContent").startswith(HOSTILE)
    untrained = page.run(f"Atlas.about.trials.findIndex(t => t.label === {HOSTILE!r})")
    assert untrained >= 0
    press(page, "Escape")
    choose(page, "b", str(untrained))
    assert page.run("document.getElementById('name-b').textContent").startswith(HOSTILE)
    assert page.run("document.querySelectorAll('b b, img').length") == 0 and page.log == []


def test_pictures_are_those_of_the_unit(page):
    press(page, "]", "[")
    drawn = page.run(
        """(() => { const row = [...document.querySelectorAll(".row")].find(
             r => !r.hidden && r.dataset.place === "0");
           return [...row.querySelectorAll(".strip.top")].map(s =>
             [...s.children].filter(p => !p.hidden).map(p => Number(p.dataset.place))); })()"""
    )
    wanted = page.run(
        """["a", "b"].map(x => { const i = Atlas.have("images", Page.state[x]);
           return [...i.top.slice(List.unit * i.n, List.unit * i.n + i.n)]; })"""
    )
    alive = page.run('["a", "b"].map(x => answers(Atlas.have("scores", Page.state[x]), List.unit))')
    for is_alive, here, there in zip(alive, drawn, wanted, strict=True):
        if is_alive:
            assert here == there


def test_it_sorts_by_scores_of_either_network_and_by_their_change(page, frames):
    choose(page, "layer", "-1")
    a, b = (of_trial(frames, page, letter) for letter in "ab")
    names = list(zip(a["layer"], a["channel"], strict=True))
    values = {"a": a["mis"], "b": b["mis"], "change": b["mis"] - a["mis"]}
    values["size"] = values["change"].abs()
    for of, value in values.items():
        choose(page, "of", of)
        order = value.astype(np.float32).sort_values(ascending=False, kind="stable").index
        known = int(value.notna().sum())
        found = units(page)
        mine = [value.astype(np.float32)[names.index(each)] for each in found[:known:97]]
        assert found[0] == names[order[0]] and sorted(mine, reverse=True) == mine
        assert {names.index(each) for each in found[known:]} == set(value[value.isna()].index)
    press(page, "o")
    low = values["size"].astype(np.float32).idxmin()
    assert units(page)[0] == names[low]
    choose(page, "by", "number")
    press(page, "o")
    assert units(page) == names
    choose(page, "by", "lost")
    lost = (a["state"] == "alive") & (b["state"] == "dead")
    assert {names.index(u) for u in units(page)[: lost.sum()]} == set(lost[lost].index)


def test_words_choose_units(page, frames):
    choose(page, "layer", "-1")
    every = page.run("List.length")
    choose(page, "words", "dead")
    a, b = (of_trial(frames, page, letter)["state"] == "dead" for letter in "ab")
    assert page.run("List.length") == int((a | b).sum()) < every
    choose(page, "words", "conv2 #7")
    assert seen(page) == ["conv2#7"]
    choose(page, "words", "nothing is called so")
    assert page.run("List.length") == 0 and seen(page) == []
    choose(page, "words", "")
    assert page.run("List.length") == every


def test_keys_move_open_and_compare(page):
    press(page, "]", "]")
    assert page.run("Page.state.layer") == 2
    press(page, "j", "j", "k")
    assert page.run("List.place") == 1
    press(page, "Enter")
    assert page.run("document.getElementById('unit').open")
    before = page.run("document.getElementById('unit-name').textContent")
    press(page, "j")
    after = page.run("document.getElementById('unit-name').textContent")
    assert after != before and page.run("List.place") == 2
    active = page.run("document.getElementById('list').getAttribute('aria-activedescendant')")
    assert page.run(f"document.getElementById({active!r}).dataset.place") == "2"
    press(page, "[")  # the unit's view goes along to the other layer
    assert page.run("document.getElementById('unit-name').textContent").startswith("conv2 #")
    press(page, "]", "Escape")
    assert not page.run("document.getElementById('unit').open")
    a, b = page.run("[Page.state.a, Page.state.b]")
    press(page, "x")
    assert page.run("[Page.state.a, Page.state.b]") == [b, a]
    press(page, ",")
    assert page.run("Page.state.b") == max(0, a - 1)
    press(page, "/")
    assert page.run("document.activeElement.id") == "words"
    press(page, "Escape", "?")
    assert page.run("document.getElementById('help').open")


def test_of_a_thousand_units_few_are_in_the_page_and_all_can_be_reached(page):
    choose(page, "layer", "2")
    n = page.run("List.length")
    assert n == 30 * 34
    press(page, "End")
    assert page.run("List.place") == n - 1
    assert page.run("document.querySelectorAll('.row').length") < 30
    last = page.run(
        """[...document.querySelectorAll(".row[aria-selected=true]")].find(r => !r.hidden)
           .getBoundingClientRect().bottom"""
    )
    assert last <= page.run("document.getElementById('list').getBoundingClientRect().bottom") + 1
    gaps = page.run(
        """(async () => { const box = document.getElementById("list"); let empty = 0;
           for (let y = 0; y < box.scrollHeight; y += 777) {
             box.scrollTop = y; await new Promise(requestAnimationFrame);
             await new Promise(requestAnimationFrame);
             const rows = [...document.querySelectorAll(".row")].filter(r => !r.hidden)
               .map(r => r.getBoundingClientRect());
             const frame = box.getBoundingClientRect();
             const top = Math.min(...rows.map(r => r.top));
             const end = Math.max(...rows.map(r => r.bottom));
             const whole = Math.min(frame.bottom, frame.top + box.scrollHeight - y);
             if (top > frame.top + 1 || end < whole - 1) empty++; }
           return empty; })()"""
    )
    assert gaps == 0


def test_an_address_opens_a_unit_in_its_networks(page, atlas, frames):
    untrained = frames.trials.loc[frames.trials["method"] == "untrained", "key"].iloc[0]
    page.open("about:blank")
    page.open(f"{atlas.as_uri()}#b={untrained}&unit=conv2:7")
    page.run("Page.ready")
    assert page.run("document.getElementById('unit-name').textContent") == "conv2 #7"
    assert page.run("Atlas.about.trials[Page.state.b].key") == untrained
    again = page.run("location.href")
    press(page, "Escape")
    page.open("about:blank")
    page.open(again)
    page.run("Page.ready")
    assert page.run("document.getElementById('unit-name').textContent") == "conv2 #7"
    page.run("location.hash = '#unit=conv1:3'")
    settle(page)
    assert page.run("document.getElementById('unit-name').textContent") == "conv1 #3"
    page.run("location.hash = '#unit=no%20such:3&a=nobody&layer=none&by=nothing'")
    settle(page)
    assert page.log == [] and not page.run("document.querySelector('#problem').hidden === false")


def test_a_ring_of_the_report_leads_to_its_unit(page, atlas):
    page.open((atlas.parent / "report.html").as_uri())
    rings = "document.querySelectorAll('#units_against_dense a[href^=atlas]')"
    assert page.run(f"{rings}.length") >= 6
    asked = page.run(f"{rings}[0].getAttribute('href')")
    assert page.run(f"{rings}[0].getAttribute('target')") == "atlas"  # a window of its own
    page.run(f"{rings}[0].removeAttribute('target')")
    page.click(f"{rings}[0]")
    for _ in range(50):
        if page.run("location.pathname.endsWith('atlas.html') && typeof Page !== 'undefined'"):
            break
        page.run("new Promise(done => setTimeout(done, 50))")
    page.run("Page.ready")
    layer, channel = parse_qs(asked.partition("#")[2])["unit"][0].rsplit(":", 1)
    assert page.run("document.getElementById('unit-name').textContent") == f"{layer} #{channel}"
    assert page.log == []


def test_a_unit_s_own_view_has_its_scores_in_both_and_in_every_network(page, frames):
    choose(page, "by", "number")
    choose(page, "layer", "1")
    press(page, "Enter")
    a, b = (of_trial(frames, page, letter) for letter in "ab")
    row = (a["layer"] == "conv2") & (a["channel"] == 0)
    text = page.run(
        "document.querySelector('#unit .scores tr:nth-of-type(1) ~ tr, #unit .scores')"
        ".closest('table').textContent"
    )
    for table in (a, b):
        value = table.loc[row, "mis"].iloc[0]
        assert (f"{value:.3f}".removeprefix("0") if value == value else "–") in text
    n = page.run("Atlas.about.trials.length")
    assert page.run("document.querySelectorAll('#unit .chart .of').length") == n
    page.run("document.querySelectorAll('#unit .chart .of')[2].dispatchEvent(new Event('click'))")
    settle(page)
    assert page.run("Page.state.b") == 2 and page.log == []


def test_a_unit_leads_to_the_one_of_the_dense_network_that_it_goes_with(page, frames):
    choose(page, "layer", "1")
    choose(page, "by", "twin_before")
    b = of_trial(frames, page, "b")
    here = b[(b["layer"] == "conv2") & (b["state"] == "alive") & (b["channel"] != 5)]
    assert page.run("Units.channel(List.unit)") in here["channel"].tolist() + [5]
    page.run(f"location.hash = '#unit=conv2:{here['channel'].iloc[0]}'")
    settle(page)
    page.run("[...document.querySelectorAll('.side p button')].at(-1).click()")
    settle(page)
    assert page.run("document.getElementById('unit-name').textContent") == "conv2 #5"
    apart = page.run("Atlas.about.scores.filter(s => s.ranks).map(s => s.name)")
    assert "twin_before" not in apart and "mis" in apart and page.log == []


def test_the_history_of_a_unit_is_drawn_round_by_round(page, frames):
    with_history = page.run("Atlas.about.trials.map(t => t.history)")
    assert with_history.count(True) == 1
    assert page.run("Charts.rounds(0, Atlas.about.scores[0], {a: 0, b: 0})") is None
    choose(page, "b", str(with_history.index(True)))
    units = of_trial(frames, page, "b")
    alive = units.index[(units["state"] == "alive") & (units["layer"] == "conv2")][0]
    page.run(f"location.hash = '#unit=conv2:{units['channel'][alive]}'")
    settle(page)
    wanted = [units["mis"][alive] - less for less in (0.1, 0.2, 0)]
    found = page.run(
        """(async () => { const h = await Atlas.part("history", Page.state.b);
             return [...h.rounds].map((_, i) => h.mis[i * Units.count + Page.state.unit]); })()"""
    )
    assert np.allclose(found, wanted[:2], atol=1e-5)
    settle(page)
    heights = page.run(
        """[...document.querySelectorAll("#unit .course.b circle")]
             .map(c => Number(c.getAttribute("cy")))"""
    )
    assert len(heights) == 3  # more is higher, which is less in a picture
    assert np.argsort(heights).tolist() == np.argsort(-np.array(wanted)).tolist()
    assert page.log == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390], ids=["wide", "narrow"])
def test_it_is_readable_and_no_wider_than_the_window(atlas, tmp_path, dark, width):
    with Page(tmp_path / "profile", width=width, dark=dark) as page:
        page.open(f"{atlas.as_uri()}#unit=conv2:7")
        page.run("Page.ready")
        assert page.run("document.documentElement.scrollWidth") <= width
        ratio = page.run(
            """(() => { const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => {
                 x /= 255; return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; });
                 return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
               const paper = light(getComputedStyle(document.body).backgroundColor);
               return Math.min(...[...document.querySelectorAll(
                 "p, td, th, label span, .change, figcaption, h2, small")].map(e => {
                 const ink = light(getComputedStyle(e).color);
                 return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05); })); })()"""
        )
        assert ratio > 4
        assert page.log == []


def test_a_trial_s_own_page_needs_no_other_file_also_in_a_frame(atlas, frames, tmp_path):
    """MLflow shows it in a frame that may run scripts and nothing else."""
    results = atlas.parents[2]
    tracker = open_tracker("synthetic", results)
    pruned = frames.trials.loc[frames.trials["method"] == "structured", "key"].iloc[0]
    run_id = tracker.finished()[pruned].info.run_id
    own = Path(tracker.client.download_artifacts(run_id, PAGE, tmp_path))
    with Page(tmp_path / "profile") as page:
        page.open(f"{own.as_uri()}#unit=conv2:7")
        page.run("Page.ready")
        assert page.run("[Page.state.a, Page.state.b]") == [0, 1]
        assert page.run("Atlas.about.trials[1].key") == pruned
        assert page.run("document.getElementById('unit-name').textContent") == "conv2 #7"
        drawn = page.run(
            """Promise.all([...document.querySelectorAll("#list .picture")].map(p => {
                 const image = new Image();
                 image.src = p.style.backgroundImage.slice(5, -2);
                 return image.decode().then(() => image.naturalWidth); }))"""
        )
        assert drawn and set(drawn) == {8 * 32}
        assert {r.partition(":")[0] for r in page.requests} <= {"file", "data", "blob"}
        assert sum(request.startswith("file:") for request in page.requests) == 1
        frame = tmp_path / "frame.html"
        frame.write_text(f'<iframe sandbox="allow-scripts" src="{own.as_uri()}"></iframe>')
        page.requests.clear()
        page.open(frame.as_uri())
        settle(page)
        assert sum(request.startswith("blob:") for request in page.requests) > 0
        assert [line for line in page.log if "autofocus" not in line] == []  # which may not be


def test_a_file_that_is_missing_is_named(atlas, tmp_path):
    script = atlas.parent / FOLDER / "scores-003.js"
    away = script.rename(tmp_path / "away.js")
    try:
        with Page(tmp_path / "profile") as page:
            page.open(atlas.as_uri())
            page.run("Page.ready")
            choose(page, "b", "3")
            said = page.run("document.getElementById('problem').textContent")
            assert said == "A file of this atlas is missing: atlas/scores-003.js"
    finally:
        away.rename(script)
