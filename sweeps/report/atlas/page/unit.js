"use strict";
// One unit by itself: its pictures in both networks, all its scores, and where it stands in others.
const Unit = (() => {
  const box = document.getElementById("unit");
  const { element, number } = List;
  let now = null; // {unit, state, networks}
  let withMaps = true;

  function picture(sheets, place) {
    const made = element("i", "picture");
    Pictures.show(made, sheets, place);
    return made;
  }

  function pictures(network, end, unit, what) {
    const { images, maps } = network;
    const grid = element("div", `grid ${end}`);
    for (let i = 0; i < images.n; i++) {
      const made = picture("images", images[end][unit * images.n + i]);
      if (end === "top" && maps && withMaps) Maps.lay(made, maps, unit, i, images.n, 96);
      grid.append(made);
    }
    return element("figure", end, element("figcaption", "", what), grid);
  }

  function seen(network, unit) {
    const about = Atlas.about;
    const concept = about.concepts[network.scores.concept?.[unit]];
    const found = [];
    if (concept) {
      const overlap = network.scores.iou?.[unit];
      const is = network.scores.detector?.[unit] ? "◆ detects" : "goes best with";
      const head = element("figcaption", "", `${is} `, element("b", "", concept.name),
        ` (${concept.category}), IoU ${number(overlap, 2)}`);
      const grid = element("div", "grid lit");
      for (const place of concept.lit) grid.append(picture("lit", place));
      found.push(element("figure", "concept", head, grid));
    }
    const best = network.scores.class?.[unit];
    if (best !== undefined && best >= 0) {
      const head = element("figcaption", "", "the class that it goes with best: ",
        element("b", "", Pictures.className(best)));
      const grid = element("div", "grid lit");
      const of = [];
      about.labels.forEach((label, place) => { if (label === best && of.length < 6) of.push(place); });
      for (const place of of) grid.append(picture("images", place));
      found.push(element("figure", "concept", head, grid));
    }
    return found;
  }

  // Which unit of the dense network it goes with best, where that is another one; a way to it.
  function likest(network, unit) {
    const like = network.scores.like?.[unit] ?? -1;
    const layer = Units.layer(unit);
    if (like < 0 || like === Units.channel(unit) || like >= Atlas.about.layers[layer].n) return [];
    const button = element("button", "", `#${like}`);
    button.addEventListener("click", () =>
      box.dispatchEvent(new CustomEvent("other", { detail: Units.number(layer, like) })));
    return [element("p", "soft", "over images it goes best with ", button,
      ` of the dense network (correlation ${number(network.scores.likeness[unit], 2)})`)];
  }

  function side(letter, trial, network, unit) {
    const state = Atlas.about.states[network.scores.state[unit]] || "not known";
    const head = element("h3", "", element("b", "badge", letter), ` ${trial.label}`);
    const cell = element("section", "side", head);
    if (state !== "alive") cell.append(element("p", "state", state));
    if (answers(network.scores, unit)) {
      const most = Pictures.majority(network.images, "top", unit);
      const of = most ? `: ${most.count} of ${most.n} ${Pictures.className(most.label)}` : "";
      cell.append(pictures(network, "top", unit, `activate it most${of}`));
      cell.append(pictures(network, "bottom", unit, "activate it least"));
      cell.append(...likest(network, unit), ...seen(network, unit));
    } else {
      cell.append(element("p", "why", state === "constant"
        ? "all images activate it alike" : "no image activates it"));
    }
    return cell;
  }

  // Which share of the layer's units have less of a score; "" where it has none.
  function rank(values, unit) {
    const layer = Units.layer(unit), mine = values?.[unit];
    if (mine === undefined || Number.isNaN(mine)) return "";
    let less = 0, n = 0;
    for (let u = Units.first(layer); u < Units.first(layer) + Atlas.about.layers[layer].n; u++) {
      if (!Number.isNaN(values[u])) { n++; if (values[u] < mine) less++; }
    }
    return n > 1 ? `${Math.round((100 * less) / (n - 1))} %` : "";
  }

  function table(networks, unit) {
    const head = element("tr", "");
    for (const text of ["score", "A", "above", "B", "above", "B − A"]) {
      const cell = element("th", "", text);
      if (text === "above") cell.title = "the share of the layer's units that have less";
      head.append(cell);
    }
    const made = element("table", "scores", element("thead", "", head));
    for (const score of Atlas.about.scores) {
      const cells = [element("th", "", score.label)];
      cells[0].title = score.meaning;
      for (const { scores } of networks) {
        const value = scores[score.name]?.[unit];
        const error = score.error ? scores[score.error]?.[unit] : NaN;
        const spread = element("small", "", error >= 0 ? ` ± ${number(error)}` : "");
        cells.push(element("td", "", number(value), spread));
        cells.push(element("td", "soft", rank(scores[score.name], unit)));
      }
      const change = networks[1].scores[score.name]?.[unit] - networks[0].scores[score.name]?.[unit];
      cells.push(element("td", "", Number.isNaN(change) ? "–"
        : `${change < 0 ? "−" : "+"}${number(Math.abs(change))}`));
      made.append(element("tr", "", ...cells));
    }
    return made;
  }

  // A score of the unit in every network, and over the rounds of those that have a history.
  function others(unit, state) {
    const { scores, trials } = Atlas.about;
    const choice = element("select", "");
    choice.setAttribute("aria-label", "score");
    for (const score of scores) choice.append(new Option(score.label, score.name));
    choice.value = scores.some((score) => score.name === state.by) ? state.by : "mis";
    const place = element("div", "place", "…"), rounds = element("div", "rounds");
    const pick = (trial) => box.dispatchEvent(new CustomEvent("beside", { detail: trial }));
    const draw = () => {
      const score = scores.find((each) => each.name === choice.value);
      place.replaceChildren(Charts.everywhere(unit, score, state, pick));
      const history = Charts.rounds(unit, score, state);
      rounds.replaceChildren(...(history ? [element("h3", "", "Over rounds of pruning"), history] : []));
    };
    choice.addEventListener("change", draw);
    const histories = [state.a, state.b].filter((trial) => trials[trial].history);
    Promise.allSettled([...trials.map((_, i) => Atlas.part("scores", i)),
      ...histories.map((trial) => Atlas.part("history", trial))]).then(draw);
    return element("section", "others", element("h3", "", choice, " of this unit in every network"),
      element("p", "soft", "A point is a network; × where it has no score. A click puts it beside A."),
      place, rounds);
  }

  function draw() {
    const { unit, state, networks } = now;
    const { trials } = Atlas.about;
    const name = element("h2", "", Atlas.about.layers[Units.layer(unit)].name,
      element("b", "channel", ` #${Units.channel(unit)}`));
    name.id = "unit-name";
    const buttons = [["‹", "previous (k)", "before"], ["›", "next (j)", "after"], ["×", "close (Esc)", "close"]]
      .map(([text, title, what]) => {
        const button = element("button", what, text);
        button.title = title;
        button.setAttribute("aria-label", title);
        button.addEventListener("click", () => (what === "close" ? box.close()
          : List.choose(List.place + (what === "after" ? 1 : -1))));
        return button;
      });
    const bar = element("div", "bar", name, ...buttons);
    if (networks.some((network) => network.maps?.layers[Units.layer(unit)].side)) {
      const button = element("button", "maps", withMaps ? "hide maps" : "show maps");
      button.title = "where in its pictures the unit is active (m)";
      button.addEventListener("click", toggleMaps);
      name.after(button);
    }
    const sides = element("div", "sides", ...["A", "B"].map((letter, i) =>
      side(letter, trials[i ? state.b : state.a], networks[i], unit)));
    box.replaceChildren(bar, sides,
      element("div", "numbers", table(networks, unit), others(unit, state)));
  }

  function show(unit, state, networks) {
    const top = now?.unit === unit ? box.scrollTop : 0;
    now = { unit, state, networks };
    draw();
    if (!box.open) box.showModal();
    box.scrollTop = top;
  }

  function toggleMaps() {
    withMaps = !withMaps;
    if (box.open) draw();
  }

  return { show, toggleMaps, box, redraw: () => box.open && draw() };
})();
