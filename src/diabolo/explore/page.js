"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const { make, drawn, number } = Draw;
  const root = document.documentElement;
  const whole = (n) => n.toLocaleString("en");
  const percent = (v, digits = 3) => v === null ? "–" : `${Number((100 * v).toPrecision(digits))} %`;
  const SHOWN = 8, NEAR = 12;
  const state = { about: null, view: null, filters: new Map(), box: null, shown: null, drag: null, axes: ["", ""], current: null, row: null, fields: [], listed: [], mode: "move" };
  const map = new Draw.Map($("map"));

  // ── light and dark ──────────────────────────────────────────────────────────────────────────────
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const themed = () => { $("theme").textContent = dark() ? "Light" : "Dark"; $("theme").setAttribute("aria-pressed", String(dark())); };
  const repaint = () => { if (state.shown?.density) state.shown.image = map.shade(state.shown.density); paint(); };
  $("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; themed(); repaint(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { themed(); repaint(); });
  themed();

  // ── asking ──────────────────────────────────────────────────────────────────────────────────────
  const ask = async (address, body) => {
    const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(address, options), told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    return told;
  };
  // One request of a kind at a time; of those that wait, the last one counts.
  const lane = (work) => {
    let busy = false, again = false;
    const run = async () => {
      if (busy) { again = true; return; }
      busy = true;
      try { await work(); } catch (error) { $("map-said").textContent = error.message; }
      busy = false;
      if (again) { again = false; run(); }
    };
    return run;
  };
  const selection = (box = true) => ({
    filters: [...state.filters].map(([field, [low, high]]) => [field, low, high]),
    box: box ? state.box : null, anomalies: $("anomalies").checked, marked: $("only-marked").checked,
  });
  const narrowed = () => state.filters.size > 0 || state.box !== null || $("anomalies").checked || $("only-marked").checked;

  // ── the map ─────────────────────────────────────────────────────────────────────────────────────
  let frame = 0;
  const paint = () => { if (!frame) frame = requestAnimationFrame(() => { frame = 0; map.draw(state); }); };
  const loadMap = lane(async () => {
    const view = [...state.view];
    const told = await ask("/map", { ...selection(false), view, size: map.cells() });
    state.shown = { view, ...told, image: told.density && map.shade(told.density) };
    const outside = told.of - told.rows, more = told.points.row.length - told.odd;
    const above = [told.odd ? `the ${whole(told.odd)} most anomalous` : "", more > 0 ? `${whole(more)} other marked ones` : ""].filter(Boolean).join(" and ");
    const what = told.density ? `${whole(told.rows)} rows as a density` + (above ? `, ${above} as points` : "") : `${whole(told.rows)} rows, each a point`;
    $("map-said").textContent = what + (outside ? `; ${whole(outside)} outside this view` : "");
    paint();
  });
  const show = (view) => { state.view = view; paint(); loadMap(); };
  const zoom = (factor, px = Draw.PAD.left + map.inner.w / 2, py = Draw.PAD.top + map.inner.h / 2) => {
    const v = state.view, [x, y] = map.at(px, py, v), w = state.about.whole;
    const span = [(v[1] - v[0]) * factor, (v[3] - v[2]) * factor];
    if (span[0] > 20 * (w[1] - w[0]) || span[0] < 1e-5 * (w[1] - w[0])) return;
    const a = (x - v[0]) / (v[1] - v[0]), b = (y - v[2]) / (v[3] - v[2]);
    show([x - a * span[0], x + (1 - a) * span[0], y - b * span[1], y + (1 - b) * span[1]]);
  };
  const pan = (dx, dy) => {
    const v = state.view, x = dx * (v[1] - v[0]), y = dy * (v[3] - v[2]);
    show([v[0] + x, v[1] + x, v[2] + y, v[3] + y]);
  };
  const nearest = (px, py) => {
    const p = state.shown?.points;
    let best = -1, least = NEAR * NEAR;
    for (let i = 0; p && i < p.row.length; i++) {
      const d = (map.x(p.x[i], state.view) - px) ** 2 + (map.y(p.y[i], state.view) - py) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  };
  const place = (event) => { const box = $("map").getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const mode = (name) => {
    state.mode = name;
    for (const id of ["move", "select"]) $(id).setAttribute("aria-pressed", String(id === name));
    document.querySelector(".map").classList.toggle("box", name === "select");
  };
  $("move").addEventListener("click", () => mode("move"));
  $("select").addEventListener("click", () => mode("select"));
  $("in").addEventListener("click", () => zoom(1 / 1.6));
  $("out").addEventListener("click", () => zoom(1.6));
  $("middle").addEventListener("click", () => show([...state.about.first]));
  $("whole").addEventListener("click", () => show([...state.about.whole]));

  const held = new Map();
  let begun = null;
  $("map").addEventListener("pointerdown", (event) => {
    $("map").setPointerCapture(event.pointerId);
    held.set(event.pointerId, place(event));
    begun = { at: place(event), view: [...state.view], box: state.mode === "select" || event.shiftKey, moved: false };
    $("tip").hidden = true;
  });
  $("map").addEventListener("pointermove", (event) => {
    const at = place(event);
    if (!held.has(event.pointerId)) { hover(at); return; }
    const before = held.get(event.pointerId);
    held.set(event.pointerId, at);
    if (held.size === 2) {
      const [a, b] = [...held.values()], other = a === at ? b : a;
      const far = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
      begun.moved = true;
      zoom(far(before) / Math.max(1, far(at)), (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
      return;
    }
    if (Math.hypot(at[0] - begun.at[0], at[1] - begun.at[1]) > 4) begun.moved = true;
    if (!begun.moved) return;
    if (begun.box) {
      const [x0, y0] = map.at(...begun.at, state.view), [x1, y1] = map.at(...at, state.view);
      state.drag = [Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)];
      paint();
    } else {
      const v = begun.view, dx = (begun.at[0] - at[0]) / map.inner.w * (v[1] - v[0]), dy = (at[1] - begun.at[1]) / map.inner.h * (v[3] - v[2]);
      show([v[0] + dx, v[1] + dx, v[2] + dy, v[3] + dy]);
    }
  });
  const dropped = (event) => {
    if (!held.delete(event.pointerId) || held.size) return;
    if (state.drag) {
      const [a, b, c, d] = state.drag;
      state.box = b > a && d > c ? state.drag : null;
      state.drag = null;
      changed(false);
    } else if (begun && !begun.moved && event.type === "pointerup") {
      const i = nearest(...place(event));
      if (i >= 0) take(state.shown.points.row[i]);
      else if (state.box) { state.box = null; changed(false); }
    }
    paint();
  };
  for (const kind of ["pointerup", "pointercancel"]) $("map").addEventListener(kind, dropped);
  $("map").addEventListener("pointerleave", () => { $("tip").hidden = true; });
  $("map").addEventListener("wheel", (event) => { event.preventDefault(); zoom(1.0015 ** Math.max(-300, Math.min(300, event.deltaY)), ...place(event)); }, { passive: false });
  $("map").addEventListener("dblclick", (event) => zoom(0.5, ...place(event)));
  const hover = (at) => {
    const i = nearest(...at), p = state.shown?.points;
    $("tip").hidden = i < 0;
    if (i < 0) return;
    $("tip").replaceChildren(make("b", {}, `row ${whole(p.row[i])}`), make("br"), `score ${number(p.score[i])}${p.is_anomaly[i] ? ", an anomaly" : ""}${p.marked[i] ? ", marked" : ""}`);
    const left = Math.min(at[0] + 14, map.w - 190);
    $("tip").style.left = `${Math.max(0, left)}px`;
    $("tip").style.top = `${at[1] + 14}px`;
  };
  $("map").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      ArrowLeft: () => pan(-0.15, 0), ArrowRight: () => pan(0.15, 0), ArrowUp: () => pan(0, 0.15), ArrowDown: () => pan(0, -0.15),
      "+": () => zoom(1 / 1.4), "=": () => zoom(1 / 1.4), "-": () => zoom(1.4), Home: () => show([...state.about.first]),
      n: () => along(1), p: () => along(-1), m: () => state.row && markOne(state.row.row, !state.row.marked), Escape: letGo,
    };
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act) { event.preventDefault(); act(); }
  });
  const along = (by) => {
    const rows = state.listed.map((r) => r.row);
    if (!rows.length) return;
    const at = state.row ? rows.indexOf(state.row.row) : -1;
    take(rows[Math.max(0, Math.min(rows.length - 1, at + by))], true);
  };
  const letGo = () => { state.current = state.row = null; state.box = null; rowNote(); changed(false); };
  new ResizeObserver(() => { if (state.about && map.resize()) { paint(); loadMap(); } }).observe($("map"));

  // ── columns ─────────────────────────────────────────────────────────────────────────────────────
  const end = (field, v) => field.kind === "date" ? new Date(1000 * v).toISOString().slice(0, 16).replace("T", " ") : number(v);
  const single = (field) => field.kind === "number" && field.edges[1] - field.edges[0] === 1 && (field.edges[0] * 2) % 2 !== 0;
  const rangeOf = (field, low, high) => {
    if (field.kind === "level") return field.levels.slice(low, high + 1).join(", ");
    const e = field.edges;
    if (single(field)) return low === high ? number(e[low] + 0.5) : `${number(e[low] + 0.5)} to ${number(e[high] + 0.5)}`;
    const from = low === 0 && field.open[0] ? null : end(field, e[low]), to = high === e.length - 2 && field.open[1] ? null : end(field, e[high + 1]);
    if (from === null && to === null) return "any value";
    return from === null ? `below ${to}` : to === null ? `${from} and above` : `${from} to ${to}`;
  };
  const hist = (index) => {
    const field = state.about.fields[index], n = field.counts.length, half = single(field) ? 0.5 : 0;
    const svg = drawn("svg", { tabindex: 0, role: "group", "aria-label": `Histogram of ${field.name}, ${n} bars` });
    const said = make("p", { class: "said", role: "status" }), close = make("button", { type: "button", "aria-label": `Hide ${field.name}` }, "×");
    const ends = field.kind === "level" ? make("div", { class: "ends" }, make("span", {}, field.levels[0] ?? ""), make("span", {}, n > 1 ? field.levels[n - 1] : ""))
      : make("div", { class: "ends" }, make("span", {}, (field.open[0] ? "≤ " : "") + end(field, field.edges[0] + half)), make("span", {}, (field.open[1] ? "≥ " : "") + end(field, field.edges[n] - half)));
    const card = make("div", { class: "hist" }, make("div", { class: "title" }, make("h3", { title: field.name }, field.own ? (field.name === "p_value" ? "p-value" : field.name) : field.name), close), svg, ends, said);
    const bar = (event) => { const box = svg.getBoundingClientRect(); return Math.max(0, Math.min(n - 1, Math.floor((event.clientX - box.left) / box.width * n))); };
    let from = null, was = null;
    const put = (range) => { if (range) state.filters.set(index, range); else state.filters.delete(index); one.draw(); changed(true); };
    svg.addEventListener("pointerdown", (event) => { from = bar(event); was = state.filters.get(index); svg.setPointerCapture(event.pointerId); });
    svg.addEventListener("pointermove", (event) => {
      const to = bar(event);
      if (from === null) { if (!state.filters.has(index)) said.textContent = `${rangeOf(field, to, to)}: ${whole(field.counts[to])} of all rows`; return; }
      if (to !== from || state.filters.get(index) !== was) put([Math.min(from, to), Math.max(from, to)]);
    });
    svg.addEventListener("pointerleave", () => one.draw());
    svg.addEventListener("pointerup", (event) => {
      const to = bar(event);
      if (from !== null && state.filters.get(index) === was) put(was && to >= was[0] && to <= was[1] ? null : [to, to]);
      from = null;
    });
    svg.addEventListener("pointercancel", () => { from = null; });
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key], now = state.filters.get(index);
      if (event.key === "Escape" || event.key === "Delete") { event.preventDefault(); put(null); }
      if (!by) return;
      event.preventDefault();
      if (!now) { const at = by > 0 ? 0 : n - 1; put([at, at]); return; }
      if (event.shiftKey) put([now[0], Math.max(now[0], Math.min(n - 1, now[1] + by))]);
      else if (now[0] + by >= 0 && now[1] + by < n) put([now[0] + by, now[1] + by]);
    });
    close.addEventListener("click", () => { state.fields = state.fields.filter((f) => f !== index); state.filters.delete(index); build(); changed(true); $("add").focus(); });
    const one = {
      index, card, some: null,
      draw() {
        const range = state.filters.get(index);
        card.classList.toggle("on", Boolean(range));
        Draw.bars(svg, field.counts, narrowed() ? one.some : field.counts, range);
        said.textContent = range ? rangeOf(field, ...range) : field.missing ? `${whole(field.missing)} missing` : "";
        said.title = said.textContent;
      },
    };
    return one;
  };
  let hists = [];
  const build = () => {
    const before = new Map(hists.map((h) => [h.index, h]));
    hists = state.fields.map((index) => before.get(index) || hist(index));
    $("hists").replaceChildren(...hists.map((h) => h.card));
    const left = state.about.fields.map((f, i) => [f, i]).filter(([, i]) => !state.fields.includes(i));
    $("add").replaceChildren(make("option", { value: "" }, left.length ? "another column" : "all are shown"), ...left.map(([f, i]) => make("option", { value: i }, f.name)));
    $("add").disabled = !left.length || state.fields.length >= 24;
    for (const h of hists) h.draw();
  };
  $("add").addEventListener("change", () => {
    if ($("add").value === "") return;
    state.fields = [...state.fields, Number($("add").value)];
    build(); loadColumns(); loadTable();
  });
  const loadColumns = lane(async () => {
    const fields = [...state.fields];
    const told = await ask("/histograms", { ...selection(), fields });
    fields.forEach((index, i) => { const one = hists.find((h) => h.index === index); if (one) one.some = told.bars[i]; });
    for (const h of hists) h.draw();
    state.count = told.rows;
    counted();
  });
  const counted = () => {
    const a = state.about, some = narrowed();
    $("selected").textContent = `${some ? `${whole(state.count ?? 0)} of ${whole(a.rows)} rows selected` : `${whole(a.rows)} rows, none selected`}; ${whole(a.marked)} marked`;
    $("clear").disabled = !some;
    $("mark").disabled = $("unmark").disabled = !some || !state.count;
    $("save").setAttribute("aria-disabled", String(!a.marked));
    $("save").tabIndex = a.marked ? 0 : -1;
    $("rows-said").textContent = `${some ? `${whole(state.count ?? 0)} rows` : `All ${whole(a.rows)} rows`}, the most anomalous first.`;
  };

  // ── rows ────────────────────────────────────────────────────────────────────────────────────────
  const cell = (v) => make("td", { class: typeof v === "number" ? "n" : null, title: typeof v === "string" && v.length > 24 ? v : null }, v === null ? make("span", { class: "fine" }, "missing") : number(v));
  const line = (r) => {
    const check = make("input", { type: "checkbox", "aria-label": `Mark row ${r.row}` });
    check.checked = r.marked;
    check.addEventListener("change", () => markOne(r.row, check.checked));
    const go = make("button", { type: "button", class: "link" }, String(r.row));
    go.addEventListener("click", () => take(r.row, true));
    const tr = make("tr", { class: r.is_anomaly ? "odd" : null, "data-row": r.row }, make("td", {}, check), make("th", { scope: "row", class: "n" }, go),
      make("td", { class: "n" }, number(r.score)), make("td", { class: "n" }, r.p_value === null ? "–" : number(r.p_value)),
      make("td", {}, r.is_anomaly ? make("span", { class: "bad" }, r.top.length ? `anomaly: ${r.top.join(", ")}` : "anomaly") : "normal"));
    if (state.about.clusters) tr.append(make("td", { class: "n" }, r.cluster < 0 ? "none" : String(r.cluster)));
    tr.append(...r.cells.map(cell));
    return tr;
  };
  const tableHead = () => {
    const names = state.fields.map((f) => state.about.fields[f]).filter((f) => !f.own).map((f) => [f.name, f.kind === "number"]);
    const heads = [["mark", false], ["row", true], ["score", true], ["p-value", true], ["verdict", false], ...(state.about.clusters ? [["cluster", true]] : []), ...names];
    return make("thead", {}, make("tr", {}, ...heads.map(([h, n]) => make("th", { scope: "col", class: n ? "n" : null }, h))));
  };
  const loadTable = lane(async () => {
    const told = await ask("/table", { ...selection(), fields: state.fields, start: 0 });
    state.listed = told.rows;
    $("table").replaceChildren(make("caption", { class: "sr" }, "Rows of the selection, the most anomalous first"), tableHead(), make("tbody", {}, ...told.rows.map(line)));
    $("more").hidden = told.rows.length < 50;
    current();
  });
  $("more").addEventListener("click", async () => {
    const told = await ask("/table", { ...selection(), fields: state.fields, start: state.listed.length });
    state.listed.push(...told.rows);
    $("table").querySelector("tbody").append(...told.rows.map(line));
    $("more").hidden = told.rows.length < 50;
  });
  const current = () => {
    for (const tr of $("table").querySelectorAll("tbody tr")) tr.setAttribute("aria-current", String(Number(tr.dataset.row) === state.row?.row));
  };

  // ── a row ───────────────────────────────────────────────────────────────────────────────────────
  const rowNote = (text = "Click a row on the map or in the table: its explanation comes here.") => $("row").replaceChildren(make("p", { class: "fine" }, text));
  let asked = 0;
  const take = async (row, centre = false) => {
    const mine = ++asked;
    try {
      const told = await ask(`/rows/${row}`);
      if (mine !== asked) return;
      state.row = told;
      state.current = told.place[0] === null || told.place[1] === null ? null : told.place;
      const v = state.view, c = state.current;
      if (centre && c && !(c[0] > v[0] && c[0] < v[1] && c[1] > v[2] && c[1] < v[3])) {
        const w = (v[1] - v[0]) / 2, h = (v[3] - v[2]) / 2;
        show([c[0] - w, c[0] + w, c[1] - h, c[1] + h]);
      }
      showRow(); current(); paint();
    } catch (error) { if (mine === asked) rowNote(error.message); }
  };
  const showRow = () => {
    const r = state.row, mark = make("button", { type: "button" }, r.marked ? "Unmark" : "Mark");
    mark.addEventListener("click", () => markOne(r.row, !r.marked));
    const facts = r.flag ? `It cannot be scored: ${r.flag}.` : `score ${number(r.score)} (an anomaly above ${number(r.threshold)}), p = ${number(r.p_value)}`
      + (r.cluster === null ? "" : r.cluster < 0 ? ", in no cluster" : `, cluster ${r.cluster}`);
    const head = make("tr", {}, ...["column", "seen", "expected", "p"].map((h, i) => make("th", { scope: "col", class: i === 3 ? "n" : null }, h)));
    const lines = r.columns.slice(0, 14).map((c) => make("tr", { class: c.changed ? "changed" : null }, make("th", { scope: "row" }, c.column), make("td", {}, number(c.seen)), make("td", {}, number(c.expected)), make("td", { class: "n" }, number(c.p_value))));
    const odd = r.columns.filter((c) => c.changed).length;
    const why = odd ? `The ${odd === 1 ? "coloured column has" : `${odd} coloured columns have`} to change for the row to be normal.` : r.is_anomaly ? "" : "Nothing has to change: the row is normal.";
    const others = Object.entries(r.others);
    $("row").replaceChildren(
      make("p", { class: `verdict-line ${r.is_anomaly ? "odd" : ""}` }, `Row ${whole(r.row)}: ${r.is_anomaly ? "an anomaly" : "normal"}`),
      make("p", { class: "fine" }, facts), make("p", { class: "fine" }, why), make("div", { class: "tools" }, mark),
      make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines)),
      ...(r.columns.length > 14 ? [make("p", { class: "fine" }, `${r.columns.length - 14} more columns: diabolo explain shows them`)] : []),
      ...(others.length ? [make("h3", { class: "apart" }, "Columns that the model does not see"), make("dl", {}, ...others.slice(0, 30).map(([k, v]) => make("div", {}, make("dt", {}, k), make("dd", {}, number(v)))))] : []),
      ...(r.neighbors.length ? [make("p", { class: "fine" }, `The nearest normal training rows lie ${r.neighbors.map((n) => number(n.distance)).join(", ")} away, in standardised units.`)] : []),
    );
  };
  $("find").addEventListener("submit", (event) => { event.preventDefault(); if ($("number").value !== "") take(Number($("number").value), true); });

  // ── marks ───────────────────────────────────────────────────────────────────────────────────────
  const marked = (told) => { state.about.marked = told.marked; counted(); loadMap(); if ($("only-marked").checked) { loadColumns(); loadTable(); } };
  const markOne = async (row, on) => {
    marked(await ask("/mark", { rows: [row], on }));
    for (const r of state.listed) if (r.row === row) r.marked = on;
    const check = $("table").querySelector(`tr[data-row="${row}"] input`);
    if (check) check.checked = on;
    if (state.row?.row === row) { state.row.marked = on; showRow(); }
  };
  const markAll = async (on) => {
    marked(await ask("/mark", { ...selection(), on }));
    loadTable();
    if (state.row) take(state.row.row);
  };
  $("mark").addEventListener("click", () => markAll(true));
  $("unmark").addEventListener("click", () => markAll(false));
  $("clear").addEventListener("click", () => {
    state.filters.clear(); state.box = null; $("anomalies").checked = $("only-marked").checked = false;
    changed(true); $("map").focus();
  });
  for (const id of ["anomalies", "only-marked"]) $(id).addEventListener("change", () => changed(true));
  const changed = (onMap) => { for (const h of hists) h.draw(); paint(); counted(); if (onMap) loadMap(); loadColumns(); loadTable(); };

  // ── the beginning ───────────────────────────────────────────────────────────────────────────────
  const begin = async () => {
    const a = state.about = await ask("/about");
    document.title = `${a.data}: diabolo explore`;
    $("name").textContent = `${a.data} by ${a.model}`;
    const sample = a.total > a.rows ? `A uniform sample of ${whole(a.rows)} of ${whole(a.total)} rows` : `${whole(a.rows)} rows`;
    $("lead").textContent = `${sample}, ${whole(a.anomalies)} anomalies (${percent(a.anomalies / Math.max(1, a.rows))}) by ${a.score} above ${number(a.threshold)}. Of rows exchangeable with the ${a.calibration} at most ${percent(a.rate)} are flagged, on average over calibrations.`
      + (a.unscored ? ` ${whole(a.unscored)} rows could not be scored.` : "");
    state.axes = a.axes;
    const dot = (name, text, kind = "") => { const i = make("i", { class: kind }); i.style.setProperty("--c", `var(${name})`); return make("li", {}, i, text); };
    $("legend").replaceChildren(dot("--r1", "few to many rows", "ramp"), dot("--s1", "a row"), dot("--s4", "an anomaly"), dot("--ink", "marked", "ring"));
    $("commands").textContent = Object.values(a.commands).join("\n");
    const own = a.fields.map((f, i) => i).filter((i) => a.fields[i].own && a.fields[i].name !== "p_value" && a.fields[i].counts.length > 1);
    const rest = a.fields.map((f, i) => i).filter((i) => !a.fields[i].own && a.fields[i].counts.length > 1).sort((i, j) => a.fields[j].apart - a.fields[i].apart);
    state.fields = [...own, ...rest].slice(0, SHOWN);
    state.view = [...a.first];
    map.resize(); build(); counted(); loadMap(); loadColumns(); loadTable();
    root.dataset.ready = "yes";
  };
  begin().catch((error) => { $("lead").textContent = error.message; });
})();
