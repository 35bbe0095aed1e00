"use strict";
// What the page knows: scripts of data call `Atlas.take`, since a page that was opened from the
// disk may load scripts and nothing else.
const Atlas = (() => {
  const KINDS = { Uint8Array, Uint16Array, Uint32Array, Int16Array, Float32Array };
  const parts = new Map(); // name -> what its script gave
  const asked = new Map(); // name -> promise

  function decoded(value) {
    if (!(value.kind in KINDS)) return value;
    const text = atob(value.data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new KINDS[value.kind](bytes.buffer);
  }

  function take(name, value) {
    const found = {};
    for (const [key, each] of Object.entries(value)) {
      found[key] = each !== null && typeof each === "object" && "kind" in each && "data" in each
        ? decoded(each) : each;
    }
    parts.set(name, found);
  }

  const nameOf = (kind, trial) => `${kind}-${String(trial).padStart(3, "0")}`;

  // What there is by now of a kind ("scores", "images", "maps") of a trial; undefined: not loaded.
  const have = (kind, trial) => parts.get(nameOf(kind, trial));

  // The same, loaded once.
  function part(kind, trial) {
    const name = nameOf(kind, trial);
    if (parts.has(name)) return Promise.resolve(parts.get(name));
    if (!asked.has(name)) {
      asked.set(name, new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = `atlas/${name}.js`;
        script.onload = () => (parts.has(name) ? done(parts.get(name)) : failed(new Error(name)));
        script.onerror = () => { asked.delete(name); failed(new Error(name)); };
        document.head.append(script);
      }));
    }
    return asked.get(name);
  }

  return {
    take, have, part,
    get about() { return parts.get("about"); },
  };
})();

// The units, numbered through all layers: layer and channel of each.
const Units = (() => {
  let firsts = [];
  let layerOf = new Uint16Array(0);

  function begin(layers) {
    firsts = [];
    let n = 0;
    for (const layer of layers) { firsts.push(n); n += layer.n; }
    layerOf = new Uint16Array(n);
    layers.forEach((layer, i) => layerOf.fill(i, firsts[i], firsts[i] + layer.n));
  }

  return {
    begin,
    get count() { return layerOf.length; },
    layer: (unit) => layerOf[unit],
    channel: (unit) => unit - firsts[layerOf[unit]],
    first: (layer) => firsts[layer],
    number: (layer, channel) => firsts[layer] + channel,
  };
})();

const DEAD = 3, CONSTANT = 2; // places in about.states
const answers = (scores, unit) => scores.state[unit] !== DEAD && scores.state[unit] !== CONSTANT;
