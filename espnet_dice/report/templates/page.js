"use strict";
// Tables: a button in each heading sorts by its column, first down for numbers, up for words.
for (const button of document.querySelectorAll("button.sort")) {
  button.addEventListener("click", () => {
    const th = button.closest("th"), table = th.closest("table"), body = table.tBodies[0];
    const column = [...th.parentNode.children].indexOf(th), numeric = th.classList.contains("n");
    const was = th.getAttribute("aria-sort");
    const down = was === "none" ? numeric : was === "ascending";
    const value = (row) => {
      const cell = row.children[column], text = cell.dataset.v ?? cell.textContent.trim();
      if (!numeric) return text;
      const n = parseFloat(text);
      return Number.isNaN(n) ? null : n;
    };
    const rows = [...body.rows].map((row) => [value(row), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // nothing is last
      const order = numeric ? a - b : a.localeCompare(b);
      return down ? -order : order;
    });
    body.append(...rows.map(([, row]) => row));
    for (const other of th.parentNode.children) other.setAttribute("aria-sort", "none");
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
  });
}

// Cards of utterances.
const cards = document.getElementById("cards");
for (const button of document.querySelectorAll("button.order")) {
  button.addEventListener("click", () => {
    const by = button.dataset.by, of = (card) => card.dataset[by];
    const order = by === "id" ? (a, b) => of(a).localeCompare(of(b)) : (a, b) => of(b) - of(a);
    cards.append(...[...cards.children].sort(order));
    for (const other of document.querySelectorAll("button.order")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
  });
}

// Token by token: probability and σ² of each model, drawn from the numbers in the page.
const holder = document.getElementById("token-data");
if (holder) {
  const data = JSON.parse(holder.textContent);
  const select = document.getElementById("utterance"), models = document.getElementById("models");
  const drawn = document.getElementById("drawn"), numbers = document.getElementById("numbers");
  const svgNode = (name, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const cell = (row, name, text) => {
    const node = document.createElement(name);
    node.textContent = text;
    row.append(node);
    return node;
  };
  for (const id of Object.keys(data.utterances)) select.append(new Option(id, id));
  data.systems.forEach((system) => {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.value = system.name;
    box.checked = system.shown;
    const name = document.createElement("span");
    name.style.color = `var(--c${system.style % 8})`;
    name.textContent = `${"●■◆▼▲✚✖★"[system.style % 8]} ${system.name}`;
    label.append(box, " ", name, system.sigma ? "" : " (entropy)");
    models.append(label);
    box.addEventListener("change", draw);
  });
  select.addEventListener("change", draw);

  function draw() {
    const entry = data.utterances[select.value];
    const on = new Set([...models.querySelectorAll("input:checked")].map((box) => box.value));
    const shown = data.systems.filter((s) => on.has(s.name) && entry.systems[s.name]);
    const longest = Math.max(...entry.tokens.map((token) => token.length)); // letters of 8 pixels
    const step = Math.max(30, 8 * longest + 6), left = 44, high = 130, gap = 34, n = entry.tokens.length;
    const width = left + step * n + 10, height = 2 * high + gap + 58;
    const svg = svgNode("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Probability and σ² of ${n} tokens; the numbers are below` });
    const most = Math.max(0.1, ...shown.flatMap((s) => entry.systems[s.name].v));
    const x = (k) => left + step * (k + 0.5);
    const panels = [["p", 1, 14, "probability"], ["v", most, 14 + high + gap, "σ²"]];
    for (const [what, top, start, title] of panels) {
      const y = (v) => start + high * (1 - v / top);
      for (const part of [0, 0.5, 1]) {
        svg.append(svgNode("line", { x1: left, x2: width - 10, y1: y(part * top), y2: y(part * top), stroke: "var(--line)" }));
        svg.append(svgNode("text", { x: left - 6, y: y(part * top) + 4, "text-anchor": "end", "font-size": 11, fill: "var(--soft)" },
          (part * top).toPrecision(2).replace(/\.?0+$/, "") || "0"));
      }
      svg.append(svgNode("text", { x: left, y: start - 4, "font-size": 12, fill: "var(--ink)" }, title));
      for (const system of shown) {
        const said = entry.systems[system.name], colour = `var(--c${system.style % 8})`;
        const points = said[what].map((v, k) => `${x(k)},${y(v)}`).join(" ");
        const dash = what === "v" && !system.sigma ? "5 3" : ["", "6 3", "1 3", "6 2 1 2"][system.style % 4];
        svg.append(svgNode("polyline", { points, fill: "none", stroke: colour, "stroke-width": 1.5, "stroke-dasharray": dash }));
        said[what].forEach((v, k) => {
          const wrong = said.top[k] !== entry.tokens[k];
          const mark = svgNode("text", { x: x(k), y: y(v) + 4, "text-anchor": "middle", "font-size": wrong ? 14 : 9, fill: colour, class: wrong ? "cross" : "" },
            wrong ? "×" : "●■◆▼▲✚✖★"[system.style % 8]);
          mark.append(svgNode("title", {}, `${system.name}: ${title} ${v}${wrong ? `, would say ${said.top[k]}` : ""}`));
          svg.append(mark);
        });
      }
    }
    entry.tokens.forEach((token, k) => svg.append(svgNode("text", { x: x(k), y: height - 12, "text-anchor": "middle", "font-size": 12, fill: "var(--ink)" }, token)));
    drawn.replaceChildren(svg);
    const head = document.createElement("tr");
    cell(head, "th", "");
    entry.tokens.forEach((token) => cell(head, "th", token).scope = "col");
    numbers.replaceChildren(head);
    for (const system of shown) {
      for (const [what, title] of [["p", "p"], ["v", system.sigma ? "σ²" : "entropy"], ["top", "likeliest"]]) {
        const row = document.createElement("tr");
        cell(row, "th", `${system.name} ${title}`).scope = "row";
        entry.systems[system.name][what].forEach((v) => cell(row, "td", v));
        numbers.append(row);
      }
    }
  }
  for (const button of document.querySelectorAll("button.show")) {
    button.addEventListener("click", () => {
      select.value = button.dataset.utt;
      draw();
      document.getElementById("tokens").scrollIntoView();
      select.focus({ preventScroll: true });
    });
  }
  draw();
}
