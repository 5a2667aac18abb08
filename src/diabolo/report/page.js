"use strict";
(() => {
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [k, v] of Object.entries(attributes)) if (v !== false && v != null) node.setAttribute(k, v === true ? "" : v);
    node.append(...children);
    return node;
  };
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const redraw = [];

  // Light and dark.
  const theme = $("theme");
  const named = () => {
    theme.textContent = dark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", dark() ? "Switch to light colors" : "Switch to dark colors");
    theme.setAttribute("aria-pressed", String(dark()));
  };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; named(); redraw.forEach((f) => f()); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { named(); redraw.forEach((f) => f()); });
  named();

  // Which section is read.
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) {
      for (const a of links.values()) a.removeAttribute("aria-current");
      const link = links.get(entry.target.id);
      if (link) {
        link.setAttribute("aria-current", "true");
        const nav = link.closest("nav");
        nav.scrollTo({ left: link.offsetLeft - nav.clientWidth / 2 + link.offsetWidth / 2 });
      }
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  document.querySelectorAll("main > section[id]").forEach((s) => watcher.observe(s));

  // Tables: sorted by a heading, filtered by a word.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      const button = make("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((h) => h.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[at].dataset.value ?? row.cells[at].textContent;
        const order = (a, b) => {
          const [x, y] = [key(a), key(b)];
          const [p, q] = [parseFloat(x), parseFloat(y)];
          return Number.isFinite(p) && Number.isFinite(q) ? p - q : x.localeCompare(y);
        };
        const rows = [...table.tBodies[0].rows].sort(order);
        table.tBodies[0].append(...(up ? rows : rows.reverse()));
      });
    });
  }
  for (const input of document.querySelectorAll("input[data-filter]")) {
    const rows = [...$(input.dataset.filter).tBodies[0].rows];
    const count = $(input.id + "-count");
    input.addEventListener("input", () => {
      const word = input.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        row.hidden = !row.cells[0].textContent.toLowerCase().includes(word);
        shown += !row.hidden;
      }
      count.textContent = `${shown} of ${rows.length}`;
    });
  }

  // The latent map.
  const given = JSON.parse($("data").textContent).map;
  if (!given || !$("map-live")) return;
  const NONE = 65535;
  const CLASSES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31", "#6B7785", "#B8B000", "#004D40", "#A00050"];
  const CLASSES_DARK = ["#56B4E9", "#F2914A", "#2FC79A", "#DD9CC0", "#F0C05A", "#8AA8FF", "#B99AE0", "#C9A96A", "#97A4B1", "#E0DC5A", "#3FA79A", "#FF7BAC"];
  const RAMP = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"].map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  const unpack = (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return new Uint16Array(bytes.buffer);
  };
  const fields = new Map(given.fields.map((f) => {
    const raw = unpack(f.data);
    const value = f.kind === "level" ? (i) => raw[i] === NONE ? NaN : raw[i] : (i) => raw[i] === NONE ? NaN : f.low + (raw[i] / (NONE - 1)) * (f.high - f.low);
    return [f.name, { ...f, raw, value }];
  }));
  const having = (use) => [...fields.values()].filter((f) => f.use.includes(use)).map((f) => f.name);
  const n = given.n;
  const axes = having("axis");
  const state = { x: axes[0], y: axes[1], color: fields.has("flagged") ? "score" : given.color, from: 0, hidden: new Set(), at: -1, kept: -1, pictures: Boolean(given.thumbs) };
  const score = fields.get("score");
  const byScore = Array.from({ length: n }, (_, i) => i).sort((a, b) => score.value(b) - score.value(a));
  const rank = new Float64Array(n);
  byScore.forEach((i, r) => { rank[i] = 1 - r / n; });
  const canvas = $("map-canvas"), tip = $("map-tip"), detail = $("map-detail"), cells = $("map-cells"), legend = $("map-legend");
  const px = new Float32Array(n), py = new Float32Array(n);
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const shown = (i) => {
    if (rank[i] < state.from) return false;
    const f = fields.get(state.color);
    return !(f.kind === "level" && state.hidden.has(f.raw[i]));
  };
  const number = (v) => {
    if (!Number.isFinite(v)) return "missing";
    const a = Math.abs(v);
    const text = a !== 0 && (a < 1e-3 || a >= 1e6) ? v.toExponential(2) : String(Number(v.toPrecision(4)));
    return text.replace("-", "−");
  };
  const said = (f, i) => {
    const v = f.value(i);
    return f.kind === "level" ? (Number.isFinite(v) ? f.levels[v] : "missing") : number(v);
  };
  const ramp = (t) => {
    // What is high stands out: dark on light, light on dark.
    const u = (dark() ? 0.12 + 0.88 * t : 0.9 - 0.9 * t) * (RAMP.length - 1);
    const k = Math.max(0, Math.min(RAMP.length - 2, Math.floor(u)));
    const mix = RAMP[k].map((a, j) => Math.round(a + (u - k) * (RAMP[k + 1][j] - a)));
    return `rgb(${mix.join(",")})`;
  };
  const share = (f, v) => Math.max(0, Math.min(1, (v - f.from) / ((f.to - f.from) || 1)));
  const color = (f, i) => {
    const v = f.value(i);
    if (!Number.isFinite(v)) return css("--s5");
    if (f.name === "flagged") return v ? css("--s4") : css("--s1");
    return f.kind === "level" ? (dark() ? CLASSES_DARK : CLASSES)[v % CLASSES.length] : ramp(share(f, v));
  };
  const pad = { left: 46, right: 14, top: 12, bottom: 36 };

  const range = (f) => {
    let low = Infinity, high = -Infinity;
    for (let i = 0; i < n; i++) { const v = f.value(i); if (v < low) low = v; if (v > high) high = v; }
    const p = 0.04 * (high - low) || 0.5;
    return [low - p, high + p];
  };
  const steps = (low, high) => {
    const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= raw);
    const out = [];
    for (let v = Math.ceil(low / step) * step; v <= high; v += step) out.push(Math.abs(v) < step / 1e6 ? 0 : v);
    return out;
  };
  const draw = () => {
    const w = canvas.clientWidth, h = canvas.clientHeight, scale = devicePixelRatio || 1;
    if (!w || !h) return;
    canvas.width = w * scale; canvas.height = h * scale;
    const g = canvas.getContext("2d");
    g.scale(scale, scale);
    const fx = fields.get(state.x), fy = fields.get(state.y), fc = fields.get(state.color);
    const [x0, x1] = range(fx), [y0, y1] = range(fy);
    const X = (v) => pad.left + ((v - x0) / (x1 - x0)) * (w - pad.left - pad.right);
    const Y = (v) => h - pad.bottom - ((v - y0) / (y1 - y0)) * (h - pad.top - pad.bottom);
    g.font = "12px system-ui, sans-serif"; g.fillStyle = css("--soft"); g.strokeStyle = css("--grid"); g.lineWidth = 1;
    g.textAlign = "center";
    for (const v of steps(x0, x1)) { g.beginPath(); g.moveTo(X(v), pad.top); g.lineTo(X(v), h - pad.bottom); g.stroke(); g.fillText(number(v), X(v), h - pad.bottom + 16); }
    g.textAlign = "right";
    for (const v of steps(y0, y1)) { g.beginPath(); g.moveTo(pad.left, Y(v)); g.lineTo(w - pad.right, Y(v)); g.stroke(); g.fillText(number(v), pad.left - 6, Y(v) + 4); }
    g.fillStyle = css("--ink"); g.textAlign = "center"; g.fillText(state.x, (pad.left + w - pad.right) / 2, h - 4);
    g.save(); g.translate(11, (pad.top + h - pad.bottom) / 2); g.rotate(-Math.PI / 2); g.fillText(state.y, 0, 0); g.restore();
    let count = 0;
    for (let k = n - 1; k >= 0; k--) {
      const i = byScore[k];
      px[i] = X(fx.value(i)); py[i] = Y(fy.value(i));
      if (!shown(i)) { px[i] = NaN; continue; }
      count++;
      g.globalAlpha = 0.78; g.fillStyle = color(fc, i);
      g.beginPath(); g.arc(px[i], py[i], 2.9, 0, 7); g.fill();
    }
    g.globalAlpha = 1;
    if (state.pictures && sheet.complete && sheet.naturalWidth) {
      // As many as have room, the most anomalous ones first.
      const t = given.thumbs, size = 26, taken = new Set();
      for (const i of byScore) {
        if (!Number.isFinite(px[i])) continue;
        const cell = `${Math.round(px[i] / size)},${Math.round(py[i] / size)}`;
        if (taken.has(cell)) continue;
        taken.add(cell);
        const [x, y] = [px[i] - size / 2, py[i] - size / 2];
        g.drawImage(sheet, (i % t.across) * t.w, Math.floor(i / t.across) * t.h, t.w, t.h, x, y, size, size);
        g.strokeStyle = color(fc, i); g.lineWidth = 1.5; g.strokeRect(x, y, size, size);
      }
    }
    for (const i of new Set([state.at, state.kept])) if (i >= 0 && Number.isFinite(px[i])) {
      g.strokeStyle = css("--ink"); g.lineWidth = 2; g.beginPath(); g.arc(px[i], py[i], 7, 0, 7); g.stroke();
    }
    canvas.dataset.count = count;
  };
  const thumb = (i) => {
    const t = given.thumbs;
    if (!t) return null;
    const c = make("canvas", { width: t.w, height: t.h, role: "img", "aria-label": `image of row ${given.rows[i]}` });
    c.getContext("2d").drawImage(sheet, (i % t.across) * t.w, Math.floor(i / t.across) * t.h, t.w, t.h, 0, 0, t.w, t.h);
    return c;
  };
  const headline = (i) => {
    const more = having("hover").concat(having("color")).filter((name) => !fields.get(name).column && !/^z\d+$/.test(name));
    const names = ["score", ...more.filter((m) => m !== "score"), ...(more.includes(state.color) || state.color === "score" ? [] : [state.color])];
    return names.map((name) => [name, said(fields.get(name), i)]);
  };
  const point = (i) => {
    state.at = i;
    draw();
    tip.hidden = i < 0 || !Number.isFinite(px[i]);
    if (tip.hidden) return;
    const lines = headline(i).map(([a, b]) => make("div", {}, `${a} `, make("b", {}, b)));
    tip.replaceChildren(make("b", {}, `Row ${given.rows[i]}`), ...(given.thumbs ? [make("div", {}, thumb(i))] : []), ...lines);
    const w = canvas.clientWidth;
    tip.style.left = `${Math.min(px[i] + 14, Math.max(0, w - tip.offsetWidth - 4))}px`;
    if (px[i] + 14 + tip.offsetWidth > w) tip.style.left = `${Math.max(0, px[i] - 14 - tip.offsetWidth)}px`;
    tip.style.top = `${Math.max(0, py[i] - tip.offsetHeight / 2)}px`;
  };
  const keep = (i) => {
    state.kept = i;
    cells.replaceChildren();
    detail.replaceChildren();
    draw();
    if (i < 0) return;
    detail.append(make("b", {}, `Row ${given.rows[i]}`), `: ${headline(i).map(([a, b]) => `${a} ${b}`).join(", ")}`);
    const there = [...fields.values()].filter((f) => f.column && Number.isFinite(f.value(i)));
    const list = there.map((f) => make("div", {}, make("dt", {}, f.name), make("dd", {}, said(f, i))));
    if (given.thumbs) cells.append(make("div", {}, thumb(i)));
    if (list.length) cells.append(make("dl", {}, ...list));
  };
  const nearest = (event) => {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = -1, least = 400;
    for (let i = 0; i < n; i++) { const d = (px[i] - x) ** 2 + (py[i] - y) ** 2; if (d < least) { least = d; best = i; } }
    return best;
  };
  canvas.addEventListener("pointermove", (event) => { const i = nearest(event); if (i !== state.at) point(i); });
  canvas.addEventListener("pointerleave", () => point(-1));
  canvas.addEventListener("click", (event) => { const i = nearest(event); point(i); keep(i); });
  canvas.addEventListener("keydown", (event) => {
    const list = byScore.filter(shown);
    if (!list.length) return;
    const now = list.indexOf(state.kept);
    const to = { ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1, Home: 0, End: list.length - 1 }[event.key];
    if (event.key === "Escape") { point(-1); keep(-1); return; }
    if (to === undefined) return;
    event.preventDefault();
    const i = list[Math.max(0, Math.min(list.length - 1, to))];
    keep(i); point(i);
  });

  const tools = $("map-tools");
  tools.addEventListener("submit", (event) => event.preventDefault());
  const choose = (text, names, key, after) => {
    const select = make("select", { id: `map-${key}` }, ...names.map((name) => make("option", { value: name }, name)));
    select.value = state[key];
    select.addEventListener("change", () => { state[key] = select.value; after(); });
    tools.append(make("label", {}, text, select));
  };
  const status = make("span", { role: "status", class: "fine", id: "map-count" });
  const update = () => { draw(); status.textContent = `${canvas.dataset.count} of ${n} rows`; };
  const renew = () => { state.hidden.clear(); keyed(); update(); };
  choose("Color", having("color"), "color", renew);
  choose("Across", axes.length > 1 ? axes : [...axes, "score"], "x", update);
  if (axes.length < 2) state.y = "score";
  choose("Up", axes.length > 1 ? axes : [...axes, "score"], "y", update);
  const slider = make("input", { type: "range", min: 0, max: 100, value: 0, id: "map-from", "aria-valuetext": "all rows" });
  slider.addEventListener("input", () => {
    state.from = slider.value / 100;
    slider.setAttribute("aria-valuetext", slider.value === "0" ? "all rows" : `the most anomalous ${100 - slider.value} %`);
    update();
  });
  tools.append(make("label", {}, "Most anomalous only", slider));
  if (given.thumbs) {
    const box = make("input", { type: "checkbox", id: "map-pictures", checked: true });
    box.addEventListener("change", () => { state.pictures = box.checked; update(); });
    tools.append(make("label", {}, box, "Images"));
  }
  tools.append(status);
  const keyed = () => {
    const f = fields.get(state.color);
    legend.replaceChildren();
    if (f.kind === "number") {
      const c = make("canvas", { class: "ramp", width: 160, height: 10, "aria-hidden": "true" });
      const g = c.getContext("2d");
      for (let x = 0; x < 160; x++) { g.fillStyle = ramp(x / 159); g.fillRect(x, 0, 1, 10); }
      legend.append(make("span", {}, `${f.name}: ${number(f.from)} `), c, make("span", {}, ` ${number(f.to)}`));
      return;
    }
    f.levels.forEach((name, k) => {
      const mark = make("i");
      const tint = f.name === "flagged" ? css(k ? "--s4" : "--s1") : (dark() ? CLASSES_DARK : CLASSES)[k % CLASSES.length];
      mark.style.background = tint;
      const button = make("button", { type: "button", "aria-pressed": String(!state.hidden.has(k)) }, mark, name);
      button.addEventListener("click", () => {
        state.hidden.has(k) ? state.hidden.delete(k) : state.hidden.add(k);
        button.setAttribute("aria-pressed", String(!state.hidden.has(k)));
        update();
      });
      legend.append(button);
    });
  };
  const sheet = new Image();
  if (given.thumbs) { sheet.addEventListener("load", draw); sheet.src = given.thumbs.sheet; }
  $("map-still").hidden = true;
  $("map-live").hidden = false;
  redraw.push(() => { keyed(); draw(); });
  new ResizeObserver(draw).observe(canvas);
  keyed(); update();
})();
