"use strict";
// What the page draws: the map on a canvas, a column's bars as SVG. Nothing here asks the server.
const Draw = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const PAD = { left: 46, right: 10, top: 8, bottom: 34 };

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
    node.append(...children);
    return node;
  };
  const drawn = (name, attributes = {}) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const number = (v) => {
    if (v === null || v === undefined) return "missing";
    if (typeof v !== "number") return String(v);
    const a = Math.abs(v);
    if (Number.isInteger(v) && a < 1e15) return String(v).replace("-", "−");
    return (a !== 0 && (a < 1e-3 || a >= 1e6) ? v.toExponential(2) : String(Number(v.toPrecision(4)))).replace("-", "−");
  };
  const step = (span) => {
    const raw = span / 5, power = 10 ** Math.floor(Math.log10(raw)), part = raw / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
  };

  // ── the map ─────────────────────────────────────────────────────────────────────────────────────
  class Map {
    constructor(canvas) { this.canvas = canvas; this.w = this.h = 0; this.inner = { w: 300, h: 300 }; this.resize(); }
    resize() {
      const ratio = window.devicePixelRatio || 1, box = this.canvas.getBoundingClientRect();
      if (box.width < 100 || (box.width === this.w && box.height === this.h && ratio === this.ratio)) return false;
      this.canvas.width = Math.round(box.width * ratio); this.canvas.height = Math.round(box.height * ratio);
      this.w = box.width; this.h = box.height; this.ratio = ratio;
      this.inner = { w: box.width - PAD.left - PAD.right, h: Math.max(40, box.height - PAD.top - PAD.bottom) };
      return true;
    }
    cells() { return [Math.min(300, Math.max(20, Math.round(this.inner.w / 4))), Math.min(300, Math.max(20, Math.round(this.inner.h / 4)))]; }
    x(v, view) { return PAD.left + (v - view[0]) / (view[1] - view[0]) * this.inner.w; }
    y(v, view) { return PAD.top + (view[3] - v) / (view[3] - view[2]) * this.inner.h; }
    at(px, py, view) { return [view[0] + (px - PAD.left) / this.inner.w * (view[1] - view[0]), view[3] - (py - PAD.top) / this.inner.h * (view[3] - view[2])]; }
    shade(counts) {
      const h = counts.length, w = h ? counts[0].length : 0, ramp = ["--r0", "--r1", "--r2"].map((n) => rgb(css(n)));
      const most = Math.log1p(Math.max(1, ...counts.map((line) => Math.max(...line))));
      const image = new ImageData(w, h);
      for (let j = 0; j < h; j++) for (let i = 0; i < w; i++) {
        const n = counts[j][i];
        if (!n) continue;
        const t = most > 0 ? 2 * Math.log1p(n) / most : 0, k = Math.min(1, Math.floor(t)), f = Math.min(1, t - k), o = 4 * ((h - 1 - j) * w + i);
        for (let c = 0; c < 3; c++) image.data[o + c] = ramp[k][c] + f * (ramp[k + 1][c] - ramp[k][c]);
        image.data[o + 3] = 255;
      }
      const held = make("canvas", { width: w, height: h });
      held.getContext("2d").putImageData(image, 0, 0);
      return held;
    }
    draw(state) {
      const { view, shown, box, drag, axes, current } = state, g = this.canvas.getContext("2d");
      g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      g.clearRect(0, 0, this.w, this.h);
      g.save();
      g.beginPath(); g.rect(PAD.left, PAD.top, this.inner.w, this.inner.h); g.clip();
      if (shown) {
        if (shown.image) {
          g.imageSmoothingEnabled = false;
          const [a, b, c, d] = shown.view, x = this.x(a, view), y = this.y(d, view);
          g.drawImage(shown.image, x, y, this.x(b, view) - x, this.y(c, view) - y);
        }
        this.points(g, shown.points, view, Boolean(shown.image));
      }
      const frame = drag || box;
      if (frame) {
        const x = this.x(frame[0], view), y = this.y(frame[3], view), w = this.x(frame[1], view) - x, h = this.y(frame[2], view) - y;
        g.fillStyle = css("--accent"); g.globalAlpha = 0.1; g.fillRect(x, y, w, h); g.globalAlpha = 1;
        g.strokeStyle = css("--accent"); g.lineWidth = 1.5; g.strokeRect(x, y, w, h);
      }
      if (current) {
        const x = this.x(current[0], view), y = this.y(current[1], view);
        g.strokeStyle = css("--card"); g.lineWidth = 5; g.beginPath(); g.arc(x, y, 9, 0, 7); g.stroke();
        g.strokeStyle = css("--ink"); g.lineWidth = 2.5; g.beginPath(); g.arc(x, y, 9, 0, 7); g.stroke();
      }
      g.restore();
      this.axes(g, view, axes);
    }
    points(g, points, view, over) {
      const n = points.row.length, size = over ? 2.4 : n > 800 ? 2.2 : 3.2;
      for (const odd of [false, true]) {
        g.fillStyle = css(odd ? "--s4" : "--s1"); g.globalAlpha = odd ? 0.95 : 0.6;
        for (let i = 0; i < n; i++) if (points.is_anomaly[i] === odd) {
          g.beginPath(); g.arc(this.x(points.x[i], view), this.y(points.y[i], view), odd ? size + 0.5 : size, 0, 7); g.fill();
        }
      }
      g.globalAlpha = 1; g.strokeStyle = css("--ink"); g.lineWidth = 1.6;
      for (let i = 0; i < n; i++) if (points.marked[i]) { g.beginPath(); g.arc(this.x(points.x[i], view), this.y(points.y[i], view), size + 2.2, 0, 7); g.stroke(); }
    }
    axes(g, view, names) {
      g.font = "11.5px system-ui, sans-serif"; g.fillStyle = css("--soft"); g.strokeStyle = css("--line"); g.lineWidth = 1;
      g.strokeRect(PAD.left + 0.5, PAD.top + 0.5, this.inner.w - 1, this.inner.h - 1);
      g.textAlign = "center"; g.textBaseline = "top";
      const sx = step((view[1] - view[0]) * 480 / Math.max(240, this.inner.w)), sy = step(view[3] - view[2]);
      const told = (v, s) => number(Math.abs(v) < s / 1e6 ? 0 : Number(v.toPrecision(6)));
      for (let v = Math.ceil(view[0] / sx) * sx; v <= view[1]; v += sx) g.fillText(told(v, sx), this.x(v, view), PAD.top + this.inner.h + 5);
      g.textAlign = "right"; g.textBaseline = "middle";
      for (let v = Math.ceil(view[2] / sy) * sy; v <= view[3]; v += sy) g.fillText(told(v, sy), PAD.left - 6, this.y(v, view));
      g.textAlign = "center"; g.textBaseline = "bottom";
      g.fillText(names[0], PAD.left + this.inner.w / 2, this.h - 2);
      g.save(); g.translate(10, PAD.top + this.inner.h / 2); g.rotate(-Math.PI / 2); g.textBaseline = "middle"; g.fillText(names[1], 0, 0); g.restore();
    }
  }

  // ── a column's bars ─────────────────────────────────────────────────────────────────────────────
  const bars = (svg, every, some, range) => {
    const n = every.length, share = (counts) => { const all = counts.reduce((a, b) => a + b, 0) || 1; return counts.map((c) => c / all); };
    const grey = share(every), blue = some ? share(some) : grey.map(() => 0), top = Math.max(1e-9, ...grey, ...blue);
    svg.setAttribute("viewBox", `0 0 ${n} 1`);
    svg.setAttribute("preserveAspectRatio", "none");
    const out = [];
    if (range) out.push(drawn("rect", { class: "range", x: range[0], y: 0, width: range[1] - range[0] + 1, height: 1 }));
    for (let i = 0; i < n; i++) {
      out.push(drawn("rect", { class: "every", x: i + 0.04, y: 1 - grey[i] / top, width: 0.92, height: grey[i] / top }));
      if (blue[i]) out.push(drawn("rect", { class: "some", x: i + 0.22, y: 1 - blue[i] / top, width: 0.56, height: blue[i] / top }));
    }
    svg.replaceChildren(...out);
  };

  return { Map, bars, make, drawn, number, PAD };
})();
