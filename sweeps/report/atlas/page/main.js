"use strict";
// The page: what is chosen, the address that says it, controls and keys.
const Page = (() => {
  const about = Atlas.about;
  const $ = (id) => document.getElementById(id);
  const state = { a: about.start[0], b: about.start[1], layer: 0, by: "number", of: "b", up: false,
    words: "", unit: -1 };
  const BY = [["number", "number in the layer"], ...about.scores.map((s) => [s.name, s.label]),
    ["apart", "scores disagree"], ["lost", "lost: dead in B"]];
  let networks = [null, null];
  let texts = [];
  let turn = 0; // of changes: only the last one is drawn

  Units.begin(about.layers);
  if (about.scores.some((score) => score.name === "mis")) state.by = "mis";

  // The controls ------------------------------------------------------------------------------
  function options(select, pairs) {
    select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
  }

  function begin() {
    $("study").textContent = about.study;
    document.title = `${about.study}: units — Secateur`;
    document.documentElement.style.setProperty("--across", about.sheets.across);
    for (const id of ["a", "b"]) {
      const groups = new Map();
      about.trials.forEach((trial, i) => {
        if (!groups.has(trial.group)) {
          const group = document.createElement("optgroup");
          group.label = trial.group;
          groups.set(trial.group, group);
        }
        groups.get(trial.group).append(new Option(trial.label, String(i)));
      });
      $(id).replaceChildren(...groups.values());
    }
    options($("layer"), [["-1", `all layers (${Units.count.toLocaleString("en")})`],
      ...about.layers.map((layer, i) => [String(i), `${layer.name} (${layer.n})`])]);
    options($("by"), BY);
    const meanings = about.scores.flatMap((score) => [List.element("dt", "", score.label),
      List.element("dd", "", score.meaning || "a score of the study's own")]);
    $("meanings").replaceChildren(...meanings);
    const said = [about.caption, ...about.said].filter(Boolean);
    $("said").replaceChildren(...said.map((text) => List.element("p", "soft", `${text}.`)));
  }

  function show() {
    for (const id of ["a", "b", "layer", "by", "of"]) $(id).value = String(state[id]);
    $("of").disabled = state.by === "number" || state.by === "lost";
    $("up").textContent = state.up ? "↑" : "↓";
    $("up").setAttribute("aria-label", state.up ? "least first" : "most first");
    if (document.activeElement !== $("words")) $("words").value = state.words;
    for (const id of ["a", "b"]) {
      const trial = about.trials[state[id]];
      const facts = trial.facts.map(([name, text]) => `${name} ${text}`).join(" · ");
      $(`name-${id}`).replaceChildren(trial.label, List.element("small", "", ` ${facts}`));
    }
  }

  // The address -------------------------------------------------------------------------------
  function address() {
    const words = new URLSearchParams({ a: about.trials[state.a].key, b: about.trials[state.b].key });
    words.set("layer", state.layer < 0 ? "*" : about.layers[state.layer].name);
    words.set("by", state.by);
    words.set("of", state.of);
    if (state.up) words.set("up", "1");
    if (state.words) words.set("words", state.words);
    if (state.unit >= 0) {
      words.set("unit", `${about.layers[Units.layer(state.unit)].name}:${Units.channel(state.unit)}`);
    }
    return `#${words}`;
  }

  function told() {
    const said = address();
    if (location.hash === said) return;
    try { history.replaceState(null, "", said); } catch { /* inside another page, as MLflow's */ }
  }

  // What an address asks for; what it does not know stays as it is.
  function read() {
    const words = new URLSearchParams(location.hash.slice(1));
    for (const id of ["a", "b"]) {
      const key = words.get(id);
      const at = key ? about.trials.findIndex((trial) => trial.key === key) : -1;
      if (at >= 0) state[id] = at;
    }
    const layerOf = (name) => about.layers.findIndex((layer) => layer.name === name);
    if (words.get("layer") === "*") state.layer = -1;
    else if (layerOf(words.get("layer")) >= 0) state.layer = layerOf(words.get("layer"));
    if (BY.some(([name]) => name === words.get("by"))) state.by = words.get("by");
    if ([...$("of").options].some((each) => each.value === words.get("of"))) state.of = words.get("of");
    if (words.has("a")) state.up = words.get("up") === "1"; // a whole address, of this page
    state.words = words.get("words") ?? (words.has("a") ? "" : state.words);
    state.unit = -1;
    const unit = /^(.*):(\d+)$/.exec(words.get("unit") ?? "");
    if (unit) {
      const [layer, channel] = [layerOf(unit[1]), Number(unit[2])];
      if (layer >= 0 && channel < about.layers[layer].n) {
        state.unit = Units.number(layer, channel);
        if (state.layer >= 0) state.layer = layer;
      }
    }
  }

  // The units ---------------------------------------------------------------------------------
  async function network(trial) {
    const [scores, images] = await Promise.all([Atlas.part("scores", trial), Atlas.part("images", trial)]);
    return { scores, images, maps: Atlas.have("maps", trial) };
  }

  function textOf(unit) {
    if (texts[unit] === undefined) {
      const words = [about.layers[Units.layer(unit)].name, `#${Units.channel(unit)}`];
      for (const { scores, images } of networks) {
        words.push(about.states[scores.state[unit]] ?? "");
        const concept = about.concepts[scores.concept?.[unit]];
        if (concept) words.push(concept.name, concept.category, scores.detector[unit] ? "detector" : "");
        const best = scores.class?.[unit];
        if (best >= 0) words.push(Pictures.className(best));
        const most = answers(scores, unit) && Pictures.majority(images, "top", unit);
        if (most) words.push(Pictures.className(most.label));
      }
      texts[unit] = words.join(" ").toLowerCase();
    }
    return texts[unit];
  }

  async function draw({ keep = true } = {}) {
    const mine = ++turn;
    const before = List.unit;
    show();
    told();
    try {
      const found = await Promise.all([network(state.a), network(state.b)]);
      if (mine !== turn) return;
      if (found.some((each, i) => each.scores !== networks[i]?.scores)) { networks = found; texts = []; }
      $("problem").hidden = true;
    } catch (error) {
      $("problem").textContent = `A file of this atlas is missing: atlas/${error.message}.js`;
      $("problem").hidden = false;
      return;
    }
    const units = Order.units(state, networks[0].scores, networks[1].scores, about, textOf);
    $("count").textContent = `${units.length.toLocaleString("en")} unit${units.length === 1 ? "" : "s"}`;
    List.set(units, ...networks);
    const wanted = state.unit >= 0 ? state.unit : keep ? before : undefined;
    const place = wanted === undefined ? -1 : List.find(wanted);
    if (place >= 0) List.choose(place, { quiet: true });
    else { List.top(); List.choose(0, { quiet: true }); }
    if (state.unit >= 0) await open(state.unit);
    else if (Unit.box.open && List.length) await open(List.unit); // of another layer
  }

  async function open(unit) {
    state.unit = unit;
    told();
    Unit.show(unit, state, networks);
    const with_ = [state.a, state.b].filter((trial) => about.trials[trial].maps);
    if (!with_.length) return;
    await Promise.allSettled(with_.map((trial) => Atlas.part("maps", trial)));
    networks.forEach((each, i) => { each.maps = Atlas.have("maps", i ? state.b : state.a); });
    if (state.unit === unit) Unit.redraw();
  }

  // What people do ----------------------------------------------------------------------------
  const change = (changes, how) => { Object.assign(state, changes); draw(how); };
  const swap = () => change({ a: state.b, b: state.a });
  const turnRound = () => change({ up: !state.up }, { keep: false });
  const step = (name, by, low, high) =>
    change({ [name]: Math.min(high, Math.max(low, state[name] + by)), ...(name === "layer" ? { unit: -1 } : {}) },
      { keep: name !== "layer" });

  function theme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  }

  const KEYS = {
    j: () => List.choose(List.place + 1), ArrowDown: () => List.choose(List.place + 1),
    k: () => List.choose(List.place - 1), ArrowUp: () => List.choose(List.place - 1),
    Home: () => List.choose(0), End: () => List.choose(List.length - 1),
    PageDown: () => List.choose(List.place + List.screen), PageUp: () => List.choose(List.place - List.screen),
    Enter: () => List.length && open(List.unit),
    "[": () => step("layer", -1, -1, about.layers.length - 1),
    "]": () => step("layer", 1, -1, about.layers.length - 1),
    ",": () => step("b", -1, 0, about.trials.length - 1),
    ".": () => step("b", 1, 0, about.trials.length - 1),
    x: swap, o: turnRound, t: theme, m: Unit.toggleMaps,
    "/": () => { $("words").focus(); $("words").select(); },
    "?": () => $("help").showModal(),
  };

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const at = event.target;
    if (at.matches("input, select")) {
      if (at === $("words") && (event.key === "Enter" || event.key === "Escape")) {
        List.box.focus();
        event.preventDefault();
      }
      return;
    }
    if (at.matches("button, a") && event.key === "Enter") return;
    const action = KEYS[event.key];
    if (action) { event.preventDefault(); action(); }
  }

  function listen() {
    addEventListener("keydown", pressed);
    addEventListener("hashchange", () => { if (location.hash !== address()) { read(); draw(); } });
    for (const id of ["a", "b", "layer"]) {
      $(id).addEventListener("change", () => change({ [id]: Number($(id).value) }, { keep: id !== "layer" }));
    }
    for (const id of ["by", "of"]) $(id).addEventListener("change", () => change({ [id]: $(id).value }, { keep: false }));
    $("words").addEventListener("input", () => change({ words: $("words").value }));
    $("controls").addEventListener("submit", (event) => event.preventDefault());
    $("swap").addEventListener("click", swap);
    $("up").addEventListener("click", turnRound);
    $("theme").addEventListener("click", theme);
    $("ask").addEventListener("click", () => $("help").showModal());
    List.box.addEventListener("chosen", () => { if (Unit.box.open) open(List.unit); });
    List.box.addEventListener("opened", () => open(List.unit));
    Unit.box.addEventListener("close", () => { state.unit = -1; told(); List.box.focus(); });
    Unit.box.addEventListener("other", (event) => {
      const place = List.find(event.detail);
      if (place >= 0) List.choose(place);
      else open(event.detail);
    });
    Unit.box.addEventListener("beside", (event) => change({ b: event.detail }));
  }

  begin();
  read();
  listen();
  const ready = draw({ keep: false });
  return { ready, state };
})();
