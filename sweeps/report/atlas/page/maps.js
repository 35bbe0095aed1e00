"use strict";
// Where in its pictures a unit is active: what is not is darkened, as pictures of concepts are.
const Maps = (() => {
  const DARK = 0.72; // of the light that is taken where a unit is at rest

  const at = (cells, place) => (cells[place >> 1] >> (4 * (place & 1))) & 15;

  // Bilinear between the centres of cells; at the edges as the last cell is.
  function between(position, side) {
    const held = Math.min(side - 1, Math.max(0, position));
    const low = Math.min(side - 1, Math.floor(held));
    return [low, Math.min(side - 1, low + 1), held - low];
  }

  // Lay map i of a unit over the picture; nothing where its layer has none.
  function lay(picture, maps, unit, i, n, size) {
    const layer = maps.layers[Units.layer(unit)];
    const { side, first, step } = layer;
    if (!side) return;
    const begin = layer.begin + (Units.channel(unit) * n + i) * side * side;
    const value = new Float32Array(side * side);
    for (let c = 0; c < value.length; c++) value[c] = at(maps.cells, begin + c) / 15;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = size;
    const pen = canvas.getContext("2d");
    const light = pen.createImageData(size, size);
    const along = Array.from({ length: size }, (_, p) => between(((p + 0.5) / size - first) / step, side));
    for (let y = 0; y < size; y++) {
      const [up, down, v] = along[y];
      for (let x = 0; x < size; x++) {
        const [left, right, h] = along[x];
        const above = value[up * side + left] * (1 - h) + value[up * side + right] * h;
        const below = value[down * side + left] * (1 - h) + value[down * side + right] * h;
        const active = above * (1 - v) + below * v;
        light.data[4 * (y * size + x) + 3] = Math.round(255 * DARK * (1 - Math.min(1, 1.4 * active)));
      }
    }
    pen.putImageData(light, 0, 0);
    picture.append(canvas);
  }

  return { lay, at };
})();
