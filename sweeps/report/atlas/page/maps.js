"use strict";
// Where in its pictures a unit is active: maps of few cells, laid over the pictures.
const Maps = (() => {
  // Lay map i of a unit over the picture; nothing where it has none.
  function lay(picture, maps, unit, i) {
    return picture && maps && unit >= 0 && i >= 0 ? undefined : undefined;
  }

  return { lay };
})();
