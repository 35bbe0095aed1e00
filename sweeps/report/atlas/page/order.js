"use strict";
// Which units are listed, and in which order. Pure: of the data of two networks, no page.
const Order = (() => {
  const apartOf = new WeakMap(); // scores of a trial -> how far apart its scores rank each unit

  // Of each unit the highest minus the lowest of its ranks (0 to 1, within its layer) by all scores;
  // NaN where one of them is not known.
  function apart(scores, names, layers) {
    if (apartOf.has(scores)) return apartOf.get(scores);
    const known = names.filter((name) => scores[name]);
    const low = new Float32Array(Units.count).fill(Infinity);
    const high = new Float32Array(Units.count).fill(-Infinity);
    const count = new Uint8Array(Units.count);
    layers.forEach((layer, at) => {
      const units = [];
      for (let u = Units.first(at); u < Units.first(at) + layer.n; u++) {
        if (known.every((name) => !Number.isNaN(scores[name][u]))) units.push(u);
      }
      for (const name of known) {
        const values = scores[name];
        units.sort((x, y) => values[x] - values[y] || x - y);
        units.forEach((u, place) => {
          const rank = units.length > 1 ? place / (units.length - 1) : 0.5;
          low[u] = Math.min(low[u], rank);
          high[u] = Math.max(high[u], rank);
          count[u]++;
        });
      }
    });
    const found = high.map((value, u) => (count[u] > 1 ? value - low[u] : NaN));
    apartOf.set(scores, found);
    return found;
  }

  const gone = (scores, unit) => !answers(scores, unit);

  // 3: answers in A alone, lost; 2: in neither; 1: in B alone; 0: in both.
  const lost = (a, b, unit) => [0, 1, 3, 2][2 * gone(b, unit) + gone(a, unit)];

  // What units are sorted by: a function of the unit, more first; null for their own order.
  function value(state, a, b, about) {
    if (state.by === "number") return null;
    if (state.by === "lost") return (unit) => lost(a, b, unit);
    const of = (scores) => (state.by === "apart"
      ? apart(scores, about.scores.filter((score) => score.ranks).map((score) => score.name), about.layers)
      : scores[state.by]) || new Float32Array(Units.count).fill(NaN);
    const [x, y] = [of(a), of(b)];
    if (state.of === "a") return (unit) => x[unit];
    if (state.of === "b") return (unit) => y[unit];
    if (state.of === "change") return (unit) => y[unit] - x[unit];
    return (unit) => Math.abs(y[unit] - x[unit]);
  }

  // The units of a layer (or of all) that have the words, sorted; those without a value last.
  function units(state, a, b, about, textOf) {
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    const whole = state.layer < 0;
    const first = whole ? 0 : Units.first(state.layer);
    const end = whole ? Units.count : first + about.layers[state.layer].n;
    const found = [];
    for (let unit = first; unit < end; unit++) {
      if (!words.length || words.every((word) => textOf(unit).includes(word))) found.push(unit);
    }
    const key = value(state, a, b, about);
    if (key === null) return state.up ? found.reverse() : found;
    const sign = state.up ? 1 : -1;
    const values = new Map(found.map((unit) => [unit, key(unit)]));
    return found.sort((x, y) => {
      const [v, w] = [values.get(x), values.get(y)];
      if (Number.isNaN(v) || Number.isNaN(w)) return Number.isNaN(v) - Number.isNaN(w) || x - y;
      return sign * (v - w) || x - y;
    });
  }

  return { units, value, apart };
})();
