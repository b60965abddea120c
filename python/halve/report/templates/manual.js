"use strict";
// One selected node in the strip, the graph and the table; sorting and filtering of the table. The
// page is whole without it.
(() => {
  const data = JSON.parse(document.getElementById("nodes").textContent);
  const said = document.getElementById("said");
  const strip = document.getElementById("strip");
  const cursor = strip.querySelector(".cursor");
  const graph = document.getElementById("graph");
  const table = document.getElementById("tensors");
  const count = data.ids.length;
  const placeOf = new Map(data.ids.map((id, place) => [id, place]));
  const boxes = new Map();
  if (graph) for (const box of graph.querySelectorAll("[data-node]")) boxes.set(Number(box.dataset.node), box);
  const rows = new Map();
  if (table)
    for (const row of table.tBodies[0].rows) {
      const id = Number(row.dataset.node);
      if (!rows.has(id)) rows.set(id, []);
      rows.get(id).push(row);
    }
  let at = -1;

  function line(text, strong) {
    const element = document.createElement(strong ? "strong" : "div");
    element.textContent = text;
    said.append(element);
  }
  function bigDistribution(row) {
    const small = row.querySelector(".dist");
    if (!small) return;
    line(small.getAttribute("aria-label"));
    said.append(small.cloneNode(true));
    const scale = document.createElement("div");
    scale.className = "scale";
    for (const text of ["2⁻³²", "2⁻¹⁸", "2⁻⁴", "2¹⁰", "2²⁴"]) {
      const mark = document.createElement("span");
      mark.textContent = text;
      scale.append(mark);
    }
    said.append(scale);
  }
  function say(place) {
    const id = data.ids[place];
    said.textContent = "";
    line(`${id}  ${data.types[place]}  ${data.names[place]}`, true);
    const scope = data.scopes[place] ? `, in ${data.scopes[place]}` : "";
    const why = data.reasons[place] ? ` (${data.reasons[place]})` : "";
    line(`${data.dtypes[place] || "no float operands"}${why}${scope}`);
    const error = data.errors[place] ? `local error ${data.errors[place]}: ` : "";
    line(data.unmeasured[place] ? `not measured: ${data.unmeasured[place]}` : error + data.grade_names[data.grades[place]]);
    for (const row of rows.get(id) || []) bigDistribution(row);
  }
  function within(container, element) {
    const outer = container.getBoundingClientRect(), inner = element.getBoundingClientRect();
    container.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
    if (inner.width < outer.width) container.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
  }
  function mark(id, on) {
    boxes.get(id)?.classList.toggle("at", on);
    for (const row of rows.get(id) || []) row.classList.toggle("at", on);
  }
  function select(place, from) {
    if (at >= 0) mark(data.ids[at], false);
    at = Math.min(count - 1, Math.max(0, place));
    const id = data.ids[at];
    mark(id, true);
    cursor.hidden = false;
    cursor.style.left = `${(100 * (at + 0.5)) / count}%`;
    if (from !== graph && boxes.has(id)) within(graph, boxes.get(id));
    if (from !== table && rows.has(id) && !rows.get(id)[0].hidden) within(table.parentElement, rows.get(id)[0]);
    say(at);
  }
  const placeAt = (event) => {
    const box = strip.getBoundingClientRect();
    return Math.floor((count * (event.clientX - box.left)) / box.width);
  };
  strip.addEventListener("pointerdown", (event) => select(placeAt(event), strip));
  strip.addEventListener("pointermove", (event) => {
    if (event.buttons === 1) select(placeAt(event), strip);
  });
  strip.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, PageDown: Math.ceil(count / 10), PageUp: -Math.ceil(count / 10) };
    if (event.key === "Home") select(0, strip);
    else if (event.key === "End") select(count - 1, strip);
    else if (event.key in steps) select(at + steps[event.key], strip);
    else return;
    event.preventDefault();
  });
  for (const link of document.querySelectorAll("a[data-node]"))
    link.addEventListener("click", (event) => {
      event.preventDefault();
      select(placeOf.get(Number(link.dataset.node)), link);
      strip.scrollIntoView({ block: "center" });
    });

  if (graph) {
    const drawing = graph.querySelector("svg");
    const wide = Number(drawing.getAttribute("width")), tall = Number(drawing.getAttribute("height"));
    let scale = 1;
    function zoom(factor) {
      const whole = Math.min(1, graph.clientWidth / wide);
      const before = scale;
      scale = factor ? Math.min(2, Math.max(0.05, scale * factor)) : whole;
      const x = (graph.scrollLeft + graph.clientWidth / 2) / before;
      const y = (graph.scrollTop + graph.clientHeight / 2) / before;
      drawing.setAttribute("width", wide * scale);
      drawing.setAttribute("height", tall * scale);
      graph.scrollLeft = x * scale - graph.clientWidth / 2;
      graph.scrollTop = y * scale - graph.clientHeight / 2;
    }
    graph.addEventListener("click", (event) => {
      const box = event.target.closest("[data-node]");
      if (box) select(placeOf.get(Number(box.dataset.node)), graph);
    });
    for (const button of document.querySelectorAll("[data-zoom]"))
      button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
    const over = data.ids.map((_, place) => place).filter((place) => data.grades[place] === 0);
    const next = document.getElementById("next");
    if (next) next.addEventListener("click", () => select(over.find((place) => place > at) ?? over[0], strip));
    document.getElementById("tools").hidden = false;
    graph.style.height = `${Math.min(520, tall + 20)}px`;
    const first = boxes.get(data.ids.find((id) => boxes.has(id)));
    if (first) within(graph, first);
    graph.scrollTop = 0;
  }

  if (table) {
    const body = table.tBodies[0];
    const text = (row, column) => row.cells[column].textContent.trim();
    function sort(head) {
      const column = Number(head.dataset.column);
      const numbers = head.classList.contains("n");
      const first = numbers && column > 0 ? "descending" : "ascending";
      const other = first === "descending" ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const value = (row) => Number(row.cells[column].dataset.v);
      const all = [...body.rows];
      all.sort((a, b) => {
        if (!numbers) return sign * text(a, column).localeCompare(text(b, column));
        // What is not known comes last in either order.
        const known = (value(a) < 0) - (value(b) < 0);
        const [x, y] = [value(a), value(b)];
        return known || (x === y ? 0 : sign * (x < y ? -1 : 1));
      });
      body.append(...all);
    }
    for (const head of table.tHead.rows[0].cells) {
      if (head.dataset.column === undefined) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => sort(head));
      head.replaceChildren(button);
    }
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) select(placeOf.get(Number(row.dataset.node)), table);
    });
    const words = document.getElementById("words");
    words.addEventListener("input", () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of body.rows) {
        const has = `${text(row, 0)} ${text(row, 1)} ${text(row, 2)}`.toLowerCase();
        row.hidden = !wanted.every((word) => has.includes(word));
        if (!row.hidden) shown += 1;
      }
      document.getElementById("shown").textContent = `${shown} of ${body.rows.length}`;
    });
    document.getElementById("filter").hidden = false;
  }
})();
