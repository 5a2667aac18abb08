"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  const MOST_CELLS = 200;
  const TYPES = { csv: "text/csv", parquet: "application/vnd.apache.parquet", pq: "application/vnd.apache.parquet", arrow: "application/vnd.apache.arrow.file", feather: "application/vnd.apache.arrow.file" };
  const state = { models: [], model: null, asked: 0, timer: 0, slow: 0 };

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
    node.append(...children);
    return node;
  };
  const drawn = (name, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const number = (v) => {
    if (v === null || v === undefined) return "missing";
    if (typeof v !== "number") return /^\d{4}-\d\d-\d\dT/.test(v) ? v.slice(0, 19).replace("T", " ") : String(v);
    const a = Math.abs(v);
    if (Number.isInteger(v) && a < 1e6) return String(v).replace("-", "−");
    return (a !== 0 && (a < 1e-3 || a >= 1e6) ? v.toExponential(2) : String(Number(v.toPrecision(4)))).replace("-", "−");
  };
  const percent = (v, digits = 3) => v === null ? "–" : `${Number((100 * v).toPrecision(digits))} %`;

  // ── light and dark ──────────────────────────────────────────────────────────────────────────────
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const said = () => { $("theme").textContent = dark() ? "Light" : "Dark"; $("theme").setAttribute("aria-pressed", String(dark())); };
  $("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; said(); });
  said();

  // ── asking ──────────────────────────────────────────────────────────────────────────────────────
  const ask = async (address, options = {}) => {
    const token = sessionStorage.getItem("token");
    const headers = { ...(options.headers || {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const answer = await fetch(address, { ...options, headers });
    if (answer.status === 401) {
      $("token").hidden = false; $("shown").hidden = true;
      if (token) $("token-said").textContent = "That is not the token.";
      sessionStorage.removeItem("token");
      $("word").focus();
      throw new Error("a token is needed");
    }
    const told = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(told.error), told);
    return told;
  };
  const named = (address) => `${address}?model=${encodeURIComponent(state.model.name)}`;
  const post = (address, body, type = "application/json") => ask(address, { method: "POST", headers: { "Content-Type": type }, body });

  // ── the model ───────────────────────────────────────────────────────────────────────────────────
  const show = (model) => {
    state.model = model;
    const card = model.card;
    document.title = `${model.name}: diabolo`;
    $("model").textContent = model.name;
    $("version").textContent = `version ${model.version}`;
    $("lead").textContent = `${[card.fitted_by, card.parameters && `${card.parameters.toLocaleString("en")} parameters`, card.latent && `${card.latent} latent dimensions`].filter(Boolean).join(", ")}. ${(card.remarks || []).join(" ")}`;
    const role = { train: "trained", stop: "decided when to stop", calibrate: "calibrated" };
    const used = card.rows || {};
    const rows = Object.keys(role).filter((r) => used[r]).map((r) => `${used[r].toLocaleString("en")} ${role[r]}`).join(", ");
    const tiles = [
      ["false-alarm rate", percent(card.false_alarm_rate), `promised by ${card.calibration}`],
      ["score", card.score, card.threshold === null ? `p at most ${percent(card.false_alarm_rate)} is an anomaly` : `above ${number(card.threshold)} is an anomaly`],
      ["columns", card.columns, "of a row"],
    ];
    if (rows) tiles.push(["rows", Object.values(used).reduce((a, b) => a + b, 0).toLocaleString("en"), rows]);
    $("tiles").replaceChildren(...tiles.map(([name, value, note]) => make("div", {}, make("dt", {}, name), make("dd", {}, make("strong", {}, String(value)), make("span", {}, note)))));
    form();
    drift(false);
  };

  // ── a row ───────────────────────────────────────────────────────────────────────────────────────
  const plain = (v) => typeof v === "number" && !Number.isInteger(v) ? Number(v.toPrecision(6)) : v;
  const field = (column) => {
    const id = `cell-${column.name}`, value = plain(state.model.typical[column.name] ?? null);
    let input;
    if (column.cells === "truth" || (column.cells === "text" && column.levels.length <= 40)) {
      const words = column.cells === "truth" ? ["true", "false"] : column.levels;
      input = make("select", { id }, ...words.map((w) => make("option", { value: w }, w)), make("option", { value: "" }, "missing"));
      input.value = value === null ? "" : String(value);
    } else {
      const zoned = column.cells === "date" && /\s/.test(column.type);
      const type = { number: "number", duration: "number", date: zoned ? "text" : "datetime-local", time: "time", text: "text" }[column.cells];
      input = make("input", { id, type, step: type === "number" ? "any" : type === "text" ? null : 1 });
      input.value = value === null ? "" : type === "datetime-local" ? String(value).slice(0, 19) : String(value);
    }
    input.setAttribute("aria-describedby", `${id}-hint`);
    const unit = column.unit || (column.cells === "duration" ? "s" : "");
    return make("div", { class: `cell${column.cells === "date" ? " wide" : ""}`, "data-column": column.name },
      make("label", { for: id }, make("b", {}, column.name), make("span", {}, unit || column.kind)), input,
      make("p", { class: "hint", id: `${id}-hint` }));
  };
  const form = () => {
    const columns = state.model.columns;
    if (columns.length > MOST_CELLS) {
      $("cells").replaceChildren(make("p", {}, `${columns.length} columns are too many for a form: drop a file below.`));
      $("verdict").hidden = true;
      return;
    }
    $("verdict").hidden = false;
    $("cells").replaceChildren(...columns.map(field));
    live();
  };
  const entered = () => {
    const row = {};
    for (const column of state.model.columns) {
      const word = $(`cell-${column.name}`).value;
      if (word === "") row[column.name] = null;
      else if (column.cells === "number" || column.cells === "duration") row[column.name] = Number(word);
      else row[column.name] = column.cells === "truth" ? word === "true" : word;
    }
    return row;
  };
  const verdict = (told) => {
    const box = $("verdict"), odd = told.is_anomaly;
    box.className = `card verdict${odd ? " odd" : ""}`;
    const facts = told.score === null ? told.flag : `p = ${number(told.p_value)} · score ${number(told.score)}${state.model.card.threshold === null ? "" : `, threshold ${number(state.model.card.threshold)}`}`;
    box.replaceChildren(make("strong", {}, odd ? "Anomaly" : "Normal"), make("span", { class: "facts" }, facts), make("p", { class: "why" }, ""));
  };
  const failed = (error) => {
    const box = $("verdict");
    box.className = "card verdict none";
    box.replaceChildren(make("strong", {}, "No score"), make("span", { class: "facts" }, error.message), make("p", { class: "why" }, ""));
    if (error.column) document.querySelector(`[data-column="${CSS.escape(error.column)}"]`)?.classList.add("wrong");
  };
  const expected = (part) => {
    const truth = state.model.columns.find((c) => c.name === part.column).cells === "truth";
    return truth && typeof part.expected === "number" ? String(part.expected >= 0.5) : number(part.expected);
  };
  const explain = (told) => {
    const first = [];
    for (const part of told.columns) {
      const box = document.querySelector(`[data-column="${CSS.escape(part.column)}"]`);
      if (!box) continue;
      box.classList.toggle("changed", part.changed);
      box.querySelector(".hint").textContent = `expected ${expected(part)} · p ${number(part.p_value)}`;
      if (part.changed) first.push(`${part.column} (${number(part.seen)}, expected ${expected(part)})`);
    }
    const why = document.querySelector("#verdict .why");
    if (why) why.textContent = first.length ? `With other values of these it would be normal: ${first.join(", ")}.` : "Below each cell: what is expected there, and how usual the cell is.";
  };
  const live = async () => {
    const turn = ++state.asked, row = JSON.stringify(entered());
    $("curl").textContent = `curl ${location.origin}/score?model=${state.model.name} -H 'Content-Type: application/json' \\\n  -d '${JSON.stringify(entered(), null, 1).replaceAll("'", "'\\''")}'`;
    document.querySelectorAll(".cell.wrong").forEach((c) => c.classList.remove("wrong"));
    try {
      const told = await post(`${named("/score")}&drift=no`, row);
      if (turn !== state.asked) return;
      verdict(told);
      clearTimeout(state.slow);
      state.slow = setTimeout(async () => {
        try {
          const why = await post(named("/explain"), row);
          if (turn === state.asked) explain(why);
        } catch (error) { if (turn === state.asked) document.querySelector("#verdict .why").textContent = error.message; }
      }, 200);
    } catch (error) { if (turn === state.asked) failed(error); }
  };
  $("cells").addEventListener("input", () => { clearTimeout(state.timer); state.timer = setTimeout(live, 120); });
  $("cells").addEventListener("submit", (event) => { event.preventDefault(); live(); });
  $("again").addEventListener("click", form);

  // ── a file ──────────────────────────────────────────────────────────────────────────────────────
  const send = async (file) => {
    const type = TYPES[file.name.toLowerCase().split(".").pop()];
    $("report").hidden = true;
    if (!type) { $("file-said").textContent = `${file.name}: allowed are .csv, .parquet and .arrow`; return; }
    $("file-said").textContent = `${file.name}: writing the report …`;
    try {
      const told = await post(`${named("/report")}&name=${encodeURIComponent(file.name)}`, file, type);
      $("file-said").replaceChildren(`${file.name}: `, make("a", { href: told.report, target: "_blank", rel: "noopener" }, "open the report by itself"));
      $("report").src = told.report;
      $("report").hidden = false;
    } catch (error) { $("file-said").textContent = `${file.name}: ${error.message}`; }
  };
  $("chosen").addEventListener("change", (event) => { if (event.target.files[0]) send(event.target.files[0]); });
  for (const kind of ["dragover", "dragleave", "drop"]) $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
  });

  // ── drift ───────────────────────────────────────────────────────────────────────────────────────
  const chart = (history, promised) => {
    const w = Math.min(640, Math.max(280, $("drift-chart").clientWidth)), h = 190, left = 52, right = 12, top = 12, bottom = 30;
    const most = 1.1 * Math.max(2 * promised, ...history.map((p) => p.high ?? 0));
    const X = (i) => left + ((i + 0.5) / history.length) * (w - left - right), Y = (v) => h - bottom - (v / most) * (h - top - bottom);
    const time = (p) => new Date(1000 * p.time).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    const svg = drawn("svg", { viewBox: `0 0 ${w} ${h}`, class: "chart", role: "img", "aria-label": `Share of rows flagged in ${history.length} verdicts; promised is ${percent(promised)}` });
    for (const v of [0, promised, most / 1.1]) {
      svg.append(drawn("line", { x1: left, x2: w - right, y1: Y(v), y2: Y(v), class: v === promised ? "rule" : "grid" }));
      svg.append(drawn("text", { x: left - 6, y: Y(v) + 4, "text-anchor": "end" }, percent(v, 2)));
    }
    history.forEach((p, i) => {
      if (p.now === null) return;
      const group = drawn("g", { class: p.alarm ? "c4" : "c1" });
      group.append(drawn("line", { x1: X(i), x2: X(i), y1: Y(p.low), y2: Y(p.high), class: "line" }), drawn("circle", { cx: X(i), cy: Y(p.now), r: 4, class: "fill" }));
      group.append(drawn("title", {}, `${time(p)}: ${percent(p.now)} of ${p.rows} rows${p.alarm ? ", alarm" : ""}`));
      svg.append(group);
    });
    const ends = history.length > 1 ? [0, history.length - 1] : [0];
    for (const i of ends) svg.append(drawn("text", { x: X(i), y: h - 8, "text-anchor": "middle" }, time(history[i])));
    return svg;
  };
  const drift = async () => {
    $("drift-chart").replaceChildren();
    $("drift-columns").replaceChildren();
    try {
      const told = await ask(named("/health/drift"));
      $("drift-lead").textContent = `Whether the last ${told.window.toLocaleString("en")} rows look like the calibration rows, as diabolo health says it.`;
      $("drift-card").classList.toggle("alarm", told.alarm);
      if (!told.n_rows) { $("drift-said").textContent = "No rows have come yet."; return; }
      const rate = told.rate;
      $("drift-said").replaceChildren(make("b", {}, told.alarm ? "Alarm. " : "No alarm. "),
        `${told.n_rows.toLocaleString("en")} rows: ${percent(rate.now)} flagged [${percent(rate.low)} to ${percent(rate.high)}], ${percent(rate.promised)} promised` +
        (told.p_value <= told.level ? "; the scores are distributed otherwise" : "") + (rate.p_value <= told.level ? "; the rate has risen" : "") +
        (told.unscorable_p_value <= told.level ? "; more rows cannot be scored" : "") +
        (told.drifted.length ? `; drifted: ${told.drifted.slice(0, 5).join(", ")}${told.drifted.length > 5 ? ` and ${told.drifted.length - 5} more` : ""}.` : "."));
      if (told.history.length) $("drift-chart").replaceChildren(chart(told.history, rate.promised), make("p", { class: "fine" }, "Each point is a verdict on the rows of its time: the share flagged with its 95 % interval; the dashed line is the promise."));
    } catch (error) { $("drift-card").classList.remove("alarm"); $("drift-said").textContent = error.message; }
  };
  $("look").addEventListener("click", drift);

  // ── the beginning ───────────────────────────────────────────────────────────────────────────────
  const begin = async () => {
    try {
      const told = await ask("/models");
      state.models = told.models;
      $("token").hidden = true; $("shown").hidden = false;
      $("foot").textContent = `diabolo ${told.diabolo}. No cell that you enter is kept in a log; the last ${told.limits.window.toLocaleString("en")} rows are kept in memory, to judge drift.`;
      $("models").replaceChildren(...told.models.map((m) => make("option", { value: m.name }, m.name)));
      $("pick").hidden = told.models.length < 2;
      show(told.models[0]);
    } catch (error) { if (!$("token").hidden) return; $("foot").textContent = error.message; }
  };
  $("models").addEventListener("change", (event) => show(state.models.find((m) => m.name === event.target.value)));
  $("token").addEventListener("submit", (event) => { event.preventDefault(); sessionStorage.setItem("token", $("word").value); begin(); });
  begin();
})();
