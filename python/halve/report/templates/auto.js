"use strict";
// The precision map: zoom, pan, and what a node is. The page is whole without it.
(() => {
  const strip = document.getElementById("strip");
  if (!strip) return;
  const svg = strip.querySelector("svg");
  const data = JSON.parse(document.getElementById("nodes").textContent);
  const said = document.getElementById("said");
  const cursor = strip.querySelector(".cursor");
  const count = data.ids.length;
  const NARROWEST = Math.min(count, 8);
  let first = 0, span = count, at = -1;

  // Float32 cells keep a visible width however many nodes share a pixel.
  const emphasised = [...svg.querySelectorAll("[data-state]")].map((path) => ({
    path,
    top: Number(path.dataset.top),
    cells: data.states.flatMap((s, i) => (s === Number(path.dataset.state) ? [i] : [])),
  }));
  const beyond = document.getElementById("beyond");
  const bars = [...(beyond.getAttribute("d") || "").matchAll(/M(\d+) ([\d.]+)V([\d.]+)/g)];
  const widest = () => Math.max(1, (2.5 * span) / Math.max(1, strip.clientWidth));

  function draw() {
    svg.setAttribute("viewBox", `${first} 0 ${span} 100`);
    const width = widest();
    const left = (place) => Math.min(Number(place), count - width);
    for (const { path, top, cells } of emphasised)
      path.setAttribute("d", cells.map((i) => `M${left(i)} ${top}h${width}V30h${-width}z`).join(""));
    beyond.setAttribute("d", bars.map(([, x, base, y]) => `M${left(x)} ${base}V${y}h${width}V${base}z`).join(""));
    document.getElementById("from").textContent = `node ${data.ids[Math.floor(first)]}`;
    const last = Math.min(count - 1, Math.ceil(first + span) - 1);
    document.getElementById("to").textContent = `node ${data.ids[last]}`;
    place();
  }
  function zoom(factor, centre) {
    const wide = Math.min(count, Math.max(NARROWEST, span * factor));
    first += (span - wide) * ((centre - first) / span);
    span = wide;
    first = Math.min(count - span, Math.max(0, first));
    draw();
  }
  function pan(share) {
    first = Math.min(count - span, Math.max(0, first + share * span));
    draw();
  }
  function place() {
    const shown = at >= first && at < first + span;
    cursor.hidden = !shown;
    if (shown) cursor.style.left = `${(100 * (at + 0.5 - first)) / span}%`;
  }
  function line(parent, text, strong) {
    const element = document.createElement(strong ? "strong" : "div");
    element.textContent = text;
    parent.append(element);
  }
  function say(index) {
    at = Math.min(count - 1, Math.max(0, index));
    said.textContent = "";
    const scope = data.scopes[at] ? `, in ${data.scopes[at]}` : "";
    line(said, `${data.ids[at]}  ${data.types[at]}  ${data.names[at]}`, true);
    line(said, `${data.state_names[data.states[at]]}${scope}`);
    const parts = [];
    if (data.reasons[at]) parts.push(data.reasons[at]);
    if (data.errors[at]) parts.push(`error alone: ${data.errors[at]} of the tolerance`);
    if (parts.length) line(said, parts.join("; "));
    place();
  }
  function nodeAt(event) {
    const box = strip.getBoundingClientRect();
    const x = first + (span * (event.clientX - box.left)) / box.width;
    const reach = widest();
    // Where a cell was widened, the pointer finds the node that it stands for.
    for (const { cells } of emphasised)
      for (const i of cells) if (reach > 1 && x >= Math.min(i, count - reach) && x <= i + reach) return i;
    return Math.floor(x);
  }
  strip.addEventListener("pointermove", (event) => {
    if (event.buttons === 1 && span < count) {
      pan(-event.movementX / strip.clientWidth);
      return;
    }
    say(nodeAt(event));
  });
  strip.addEventListener("pointerdown", (event) => say(nodeAt(event)));
  strip.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return; // plain scrolling moves the page
    event.preventDefault();
    const box = strip.getBoundingClientRect();
    zoom(event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, first + (span * (event.clientX - box.left)) / box.width);
  }, { passive: false });
  strip.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, PageDown: Math.ceil(span / 10), PageUp: -Math.ceil(span / 10) };
    if (event.key === "+" || event.key === "=") zoom(0.5, at >= 0 ? at : first + span / 2);
    else if (event.key === "-") zoom(2, at >= 0 ? at : first + span / 2);
    else if (event.key === "Home") say(0);
    else if (event.key === "End") say(count - 1);
    else if (event.key in steps) say(at + steps[event.key]);
    else return;
    event.preventDefault();
    if (at >= 0 && (at < first || at >= first + span)) {
      first = Math.min(count - span, Math.max(0, at - span / 2));
      draw();
    }
  });
  const kept = emphasised.flatMap(({ cells }) => cells).sort((a, b) => a - b);
  function next() {
    const index = kept.find((i) => i > at) ?? kept[0];
    if (index === undefined) return;
    say(index);
    if (at < first || at >= first + span) {
      first = Math.min(count - span, Math.max(0, at - span / 2));
      draw();
    }
  }
  const actions = {
    in: () => zoom(0.5, at >= first && at < first + span ? at : first + span / 2),
    out: () => zoom(2, first + span / 2),
    left: () => pan(-0.5),
    right: () => pan(0.5),
    all: () => zoom(Infinity, 0),
    next,
  };
  for (const button of document.querySelectorAll("[data-action]"))
    button.addEventListener("click", actions[button.dataset.action]);
  document.getElementById("tools").hidden = false;
  window.addEventListener("resize", draw);
  draw();
})();
