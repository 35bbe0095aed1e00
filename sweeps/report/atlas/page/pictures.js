"use strict";
// Pictures of sheets, and what is said of them.
const Pictures = (() => {
  const N_SIDE = () => Atlas.about.sheets.across;

  // The address of a sheet: a file, or of a page in one file what its text holds.
  const held = new Map();
  function addressOf(sheets, number) {
    const sheet = Atlas.about.sheets[sheets][number];
    if (!sheet.startsWith("data:")) return `atlas/${sheet}`;
    const name = `${sheets} ${number}`;
    if (!held.has(name)) {
      const bytes = Uint8Array.from(atob(sheet.split(",")[1]), (each) => each.charCodeAt(0));
      held.set(name, URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })));
    }
    return held.get(name);
  }

  // An element that shows picture `place` of the sheets "images" or "lit"; its size is its style's.
  function show(element, sheets, place) {
    const across = N_SIDE();
    const perSheet = across * across;
    const url = `url("${addressOf(sheets, Math.floor(place / perSheet))}")`;
    if (element.dataset.url !== url) {
      element.dataset.url = url;
      element.style.backgroundImage = url;
    }
    const at = place % perSheet;
    const [x, y] = [at % across, Math.floor(at / across)];
    element.style.backgroundPosition = `calc(var(--side) * ${-x}) calc(var(--side) * ${-y})`;
    element.dataset.place = place;
    element.dataset.sheets = sheets;
  }

  function strip(n, kind) {
    const box = document.createElement("div");
    box.className = `strip ${kind}`;
    box.setAttribute("role", "img");
    for (let i = 0; i < n; i++) {
      const picture = document.createElement("i");
      picture.className = "picture";
      box.append(picture);
    }
    return box;
  }

  // Fill a strip with the pictures of a unit at one end ("top", "bottom").
  function fill(box, images, end, unit) {
    const n = images.n;
    for (let i = 0; i < box.children.length; i++) {
      const picture = box.children[i];
      picture.hidden = i >= n;
      if (i < n) show(picture, "images", images[end][unit * n + i]);
    }
    const most = majority(images, end, unit);
    const what = end === "top" ? "most" : "least";
    box.setAttribute("aria-label", `${n} images that activate it ${what}`
      + (most ? `, ${most.count} of ${className(most.label)}` : ""));
  }

  const className = (label) => Atlas.about.classes[label] ?? `class ${label}`;

  // The class that most of a unit's pictures at one end are of; null where no two are alike.
  function majority(images, end, unit) {
    const n = images.n;
    const counts = new Map();
    for (let i = 0; i < n; i++) {
      const label = Atlas.about.labels[images[end][unit * n + i]];
      counts.set(label, (counts.get(label) || 0) + 1);
    }
    let best = null;
    for (const [label, count] of counts) {
      if (count > 1 && (best === null || count > best.count)) best = { label, count, n };
    }
    return best;
  }

  // What a pointer over a picture is told.
  function told(element) {
    if (element.dataset.sheets !== "images") return "";
    const place = Number(element.dataset.place);
    return `image ${Atlas.about.ids[place]}: ${className(Atlas.about.labels[place])}`;
  }

  document.addEventListener("mouseover", (event) => {
    const element = event.target;
    if (element.classList?.contains("picture") && element.dataset.place) {
      element.title = told(element);
    }
  });

  return { show, strip, fill, majority, className };
})();
