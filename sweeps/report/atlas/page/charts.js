"use strict";
// Charts of one unit: a score in every network, and over rounds of pruning.
const Charts = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT = 150, LEFT = 44;
  const { number } = List;

  function svg(tag, attributes, text = "") {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  }

  // The frame of a chart over values, and where a value lies: {made, y}.
  function frame(width, label, values) {
    const made = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, class: "chart", role: "img", "aria-label": label });
    const known = values.filter((value) => !Number.isNaN(value));
    let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
    if (high - low < 1e-3) [low, high] = [low - 0.05, high + 0.05];
    const y = (value) => 14 + (HEIGHT - 44) * (1 - (value - low) / (high - low));
    for (const value of [low, high]) {
      made.append(svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, number(value, 2)));
      made.append(svg("line", { x1: LEFT, x2: width, y1: y(value), y2: y(value), class: "level" }));
    }
    return { made, y };
  }

  // A point per network; pick: called with the number of one that was clicked.
  function everywhere(unit, score, state, pick) {
    const { trials } = Atlas.about;
    const of = (name) => trials.map((_, i) => Atlas.have("scores", i)?.[name]?.[unit] ?? NaN);
    const [values, errors] = [of(score.name), of(score.error)];
    const width = 600, small = trials.length > 30 ? 3 : 4;
    const ends = values.flatMap((value, i) => (errors[i] >= 0 ? [value - errors[i], value + errors[i]] : [value]));
    const { made, y } = frame(width, `${score.label} of this unit in ${trials.length} networks`, ends);
    const x = (i) => LEFT + 12 + ((width - LEFT - 24) * i) / Math.max(1, trials.length - 1);
    trials.forEach((trial, i) => {
      const letter = i === state.a ? "A" : i === state.b ? "B" : "";
      const mark = svg("g", { class: `of ${letter.toLowerCase()}` });
      const [value, error] = [values[i], errors[i]];
      const none = Number.isNaN(value);
      if (none) mark.append(svg("text", { x: x(i), y: HEIGHT - 6, "text-anchor": "middle" }, "×"));
      else {
        if (error >= 0) mark.append(svg("line", { x1: x(i), x2: x(i), y1: y(value - error), y2: y(value + error) }));
        mark.append(svg("circle", { cx: x(i), cy: y(value), r: letter ? small + 2 : small }));
      }
      if (letter) {
        const at = none ? HEIGHT - 20 : y(value) + 4;
        mark.append(svg("text", { x: x(i) + (none ? 0 : 9), y: at, "text-anchor": none ? "middle" : "start" }, letter));
      }
      const said = none ? "has no score" : number(value) + (error >= 0 ? ` ± ${number(error)}` : "");
      mark.append(svg("title", {}, `${trial.label}: ${said}`));
      mark.addEventListener("click", () => pick(i));
      made.append(mark);
    });
    return made;
  }

  // Round by round, of A and of B; null where neither has a history.
  function rounds(unit, score, state) {
    const lines = [["A", state.a], ["B", state.b]].flatMap(([letter, trial]) => {
      const history = Atlas.about.trials[trial].history && Atlas.have("history", trial);
      if (!history?.[score.name]) return [];
      const values = [...history.rounds].map((_, i) => history[score.name][i * Units.count + unit]);
      values.push(Atlas.have("scores", trial)?.[score.name]?.[unit] ?? NaN);
      const last = history.rounds[history.rounds.length - 1] + 1;
      return [{ letter, values, numbers: [...history.rounds, last] }];
    });
    if (!lines.length) return null;
    const width = 480, most = Math.max(...lines.flatMap((line) => line.numbers));
    const { made, y } = frame(width, `${score.label} of this unit over ${most} rounds`, lines.flatMap((line) => line.values));
    const x = (round) => LEFT + 14 + ((width - LEFT - 40) * (round - 1)) / Math.max(1, most - 1);
    for (const { letter, values, numbers } of lines) {
      const points = numbers.map((round, i) => [x(round), values[i]]).filter(([, value]) => !Number.isNaN(value));
      const line = svg("g", { class: `course ${letter.toLowerCase()}` });
      line.append(svg("polyline", { points: points.map(([at, value]) => `${at},${y(value)}`).join(" ") }));
      points.forEach(([at, value]) => line.append(svg("circle", { cx: at, cy: y(value), r: 3.5 })));
      const end = points[points.length - 1];
      if (end) line.append(svg("text", { x: end[0] + 7, y: y(end[1]) + 4 }, letter));
      made.append(line);
    }
    for (const round of new Set([1, most])) {
      made.append(svg("text", { x: x(round), y: HEIGHT - 8, "text-anchor": "middle" }, `round ${round}`));
    }
    return made;
  }

  return { everywhere, rounds };
})();
