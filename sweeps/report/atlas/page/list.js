"use strict";
// The list of units: of thousands of rows those in sight are in the page.
const List = (() => {
  const box = document.getElementById("list");
  const inner = document.getElementById("inner");
  const BEYOND = 3; // rows above and below what is seen
  const rows = []; // elements, each of whatever unit is in its place now
  let units = [];
  let chosen = 0;
  let height = 1;
  let networks = [null, null]; // scores and images of A and of B
  let asked = false;

  const number = (value, digits = 3) => (Number.isNaN(value) || value === undefined
    ? "–" : value.toFixed(digits).replace(/^(-?)0\./, "$1.").replace("-", "−"));

  function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }

  function build() {
    const sides = networks.map((network) => {
      const n = network ? network.images.n : 0;
      const line = element("p", "line");
      const [top, bottom] = ["top", "bottom"].map((end) => Pictures.strip(n, end));
      const why = element("p", "why");
      const cell = element("div", "network", line, top, bottom, why);
      return { cell, line, top, bottom, why };
    });
    const where = element("span", "layer"), name = element("b", "channel");
    const change = element("span", "change");
    const row = element("div", "row", element("div", "name", where, name, change),
      ...sides.map((side) => side.cell));
    row.setAttribute("role", "option");
    row.id = `row-${rows.length}`;
    row.addEventListener("click", () => { choose(Number(row.dataset.place)); open(); });
    inner.append(row);
    return { row, where, name, change, sides, unit: -1 };
  }

  // One line of what a network's scores say of a unit: what has no room is in the unit's own view.
  function said(scores, images, unit) {
    const about = Atlas.about;
    const parts = [];
    const concept = about.concepts[scores.concept?.[unit]];
    for (const score of about.scores) {
      const value = scores[score.name]?.[unit];
      if (value === undefined || Number.isNaN(value)) continue;
      const error = score.error ? scores[score.error]?.[unit] : NaN;
      const spread = error >= 0 ? ` ± ${number(error, 2)}` : "";
      const part = element("span", "", element("small", "", `${score.label} `), number(value, 2) + spread);
      if (score.name === "iou" && concept) {
        const is = scores.detector?.[unit] ? "detector" : "";
        part.append(" ", element("em", is, `${is ? "◆ " : ""}${concept.name}`));
      }
      parts.push(part);
      if (score.name === "mis") {
        const most = answers(scores, unit) ? Pictures.majority(images, "top", unit) : null;
        if (most && most.count > most.n / 3) {
          const text = `${most.count} of ${most.n} ${Pictures.className(most.label)}`;
          parts.push(element("span", "class", text));
        }
      }
    }
    return parts;
  }

  function fill(each, place) {
    const unit = units[place];
    each.row.dataset.place = place;
    each.row.style.transform = `translateY(${place * height}px)`;
    each.row.setAttribute("aria-selected", String(place === chosen));
    if (place === chosen) box.setAttribute("aria-activedescendant", each.row.id);
    if (each.unit === unit) return;
    each.unit = unit;
    each.where.textContent = Atlas.about.layers[Units.layer(unit)].name;
    each.name.textContent = `#${Units.channel(unit)}`;
    each.sides.forEach((side, i) => {
      const { scores, images } = networks[i];
      const alive = answers(scores, unit);
      side.cell.classList.toggle("gone", !alive);
      side.line.replaceChildren(...said(scores, images, unit));
      const state = Atlas.about.states[scores.state[unit]] || "not known";
      if (state === "unread") side.line.append(element("span", "state", "read by nobody"));
      side.why.textContent = alive ? "" : state === "constant"
        ? "constant: all images activate it alike" : `${state}: no image activates it`;
      if (alive) for (const end of ["top", "bottom"]) Pictures.fill(side[end], images, end, unit);
    });
    const [a, b] = networks.map((network) => network.scores.mis[unit]);
    const change = b - a;
    each.change.textContent = Number.isNaN(change) ? ""
      : `MIS ${change < 0 ? "−" : "+"}${number(Math.abs(change), 2)}`;
    each.change.dataset.sign = String(Math.sign(change));
  }

  function draw() {
    asked = false;
    if (!networks[0]) return;
    const first = Math.max(0, Math.floor(box.scrollTop / height) - BEYOND);
    const end = Math.min(units.length, Math.ceil((box.scrollTop + box.clientHeight) / height) + BEYOND);
    while (rows.length < end - first) rows.push(build());
    // A row keeps its unit for as long as that is in sight.
    for (let place = first; place < end; place++) {
      const each = rows[place % rows.length];
      each.row.hidden = false;
      fill(each, place);
    }
    for (const each of rows) {
      const place = Number(each.row.dataset.place);
      if (place < first || place >= end) each.row.hidden = true;
    }
  }

  function soon() {
    if (!asked) { asked = true; requestAnimationFrame(draw); }
  }

  function clear() {
    for (const each of rows) each.row.remove();
    rows.length = 0;
  }

  // Pictures as large as nine of them have room, and rows as high as they then are.
  function measure() {
    const stacked = matchMedia("(max-width: 940px)").matches;
    const room = stacked ? box.clientWidth - 32 : (box.clientWidth - 32 - 160 - 36) / 2;
    const n = networks[0]?.images.n || 9;
    const side = Math.max(24, Math.min(64, Math.floor((room - 8) / n) - 2));
    const ofNetwork = 2 * (side + 3) + 25;
    height = (stacked ? 2 * ofNetwork + 30 : ofNetwork) + 14;
    box.style.setProperty("--side", `${side}px`);
    box.style.setProperty("--row", `${height}px`);
    inner.style.height = `${units.length * height}px`;
  }

  // a, b: {scores, images} of the networks.
  function set(list, a, b) {
    const same = networks[0] === a && networks[1] === b;
    units = list;
    networks = [a, b];
    if (!same) clear();
    measure();
    for (const each of rows) each.unit = -1;
    chosen = Math.min(chosen, Math.max(0, units.length - 1));
    draw();
  }

  function choose(place, { quiet = false } = {}) {
    if (!units.length) return;
    chosen = Math.max(0, Math.min(units.length - 1, place));
    const top = chosen * height, bottom = top + height;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
    draw();
    if (!quiet) box.dispatchEvent(new CustomEvent("chosen"));
  }

  const open = () => box.dispatchEvent(new CustomEvent("opened"));

  box.addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", () => {
    measure();
    for (const each of rows) each.row.dataset.place = "";
    soon();
  });

  return {
    set, choose, open, element, number, said, box,
    get unit() { return units[chosen]; },
    get place() { return chosen; },
    get length() { return units.length; },
    get screen() { return Math.max(1, Math.floor(box.clientHeight / height) - 1); },
    find: (unit) => units.indexOf(unit),
    top() { box.scrollTop = 0; },
  };
})();
