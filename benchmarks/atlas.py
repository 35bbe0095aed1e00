"""How quick an atlas of units is in a real browser: python -m benchmarks atlas PATH/atlas.html.

A headless Chromium opens the page from the disk (the first time and again), sorts all units, and
scrolls through layers screen by screen, a step a frame. A frame of a screen takes 16.7 ms: what
takes longer is a pause.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
_OPENED, _FRAMES, _STEP = 6, 300, 300  # times, frames, pixels a frame
_SIZE = {"width": 1280, "height": 900}

_DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
# Units of one layer as wide as any: the page only counts them.
_WIDE = """(() => { const n = Units.count, wide = Math.min(n, 1024);
  Atlas.about.layers.splice(0, Infinity, {name: "wide", n: wide}, {name: "others", n: n - wide});
  Units.begin(Atlas.about.layers); })()"""
_SCROLL = """(async () => {{
  Object.assign(Page.state, {{layer: {layer}, by: "mis"}});
  document.getElementById("by").dispatchEvent(new Event("change"));
  await new Promise(done => setTimeout(done, 300));
  const box = document.getElementById("list"), times = [];
  box.scrollTop = 0;
  let last = performance.now(), step = {step};
  for (let i = 0; i < {frames}; i++) {{
    const end = box.scrollTop + box.clientHeight >= box.scrollHeight;
    if (end || box.scrollTop + step < 0) step = -step;
    box.scrollTop += step;
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - last); last = performance.now();
  }}
  return [List.length, times]; }})()"""
_SORT = """(async () => { const took = {};
  for (const by of ["number", "mis", "apart", "lost"]) {
    const select = document.getElementById("by"), start = performance.now();
    select.value = by; select.dispatchEvent(new Event("change"));
    await new Promise(done => setTimeout(done, 0));
    took[by] = performance.now() - start; }
  return took; })()"""


def main(arguments: list[str]) -> None:
    """Print the numbers of the atlas whose page is named."""
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        sys.exit("atlas needs the path of an atlas.html")
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import Page

    page_path = Path(arguments[0]).resolve()
    files = [page_path, *page_path.with_suffix("").iterdir()]
    print(f"{sum(f.stat().st_size for f in files) / 1e6:.1f} MB in {len(files)} files")
    with tempfile.TemporaryDirectory() as folder, Page(Path(folder), **_SIZE) as page:
        opened = []
        for _ in range(_OPENED):
            page.open("about:blank")
            start = time.perf_counter()
            page.open(page_path.as_uri())
            page.run("Page.ready")
            page.run(_DRAWN)
            opened.append(time.perf_counter() - start)
        again = statistics.median(opened[1:])
        print(f"opened in {opened[0]:.2f} s, again in {again:.2f} s ({len(page.requests)} files)")
        page.run("document.getElementById('layer').value = '-1'")
        page.run("document.getElementById('layer').dispatchEvent(new Event('change'))")
        took = page.run(_SORT)
        print("sorted by " + ", ".join(f"{name} in {ms:.0f} ms" for name, ms in took.items()))
        _scrolled(page, -1)
        page.run(_WIDE)
        _scrolled(page, 0)


def _scrolled(page: object, layer: int) -> None:
    script = _SCROLL.format(layer=layer, step=_STEP, frames=_FRAMES)
    n, times = page.run(script)  # type: ignore[attr-defined]
    times = sorted(times)
    shares = {
        name: times[int(share * (len(times) - 1))]
        for name, share in {"median": 0.5, "95 %": 0.95, "longest": 1}.items()
    }
    said = ", ".join(f"{name} {ms:.1f} ms" for name, ms in shares.items())
    print(f"{n:,} units scrolled, {_STEP} px a frame: {said}")
