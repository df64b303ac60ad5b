"use strict";
(() => {
  const $ = (tag, attrs, ...kids) => { // elements of text alone: nothing of the data is ever parsed as HTML
    const e = document.createElement(tag);
    for (const [k, v] of Object.entries(attrs || {})) if (v !== undefined && v !== null && v !== false) e.setAttribute(k, v === true ? "" : v);
    for (const k of kids.flat(9)) if (k !== null && k !== undefined && k !== false) e.append(k.nodeType ? k : String(k));
    return e;
  };
  const S = (tag, attrs, ...kids) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [k, v] of Object.entries(attrs || {})) e.setAttribute(k, v);
    for (const k of kids) e.append(k.nodeType ? k : document.createTextNode(k));
    return e;
  };
  const { count, bytes, took: time } = units;
  const fixed = (x, n) => typeof x === "number" && isFinite(x) ? x.toFixed(n) : "";
  const percent = x => typeof x === "number" ? fixed(100 * x, 1) + " %" : "";
  const measured = (v, name, n) => v[name] === null && v.not_finite ? v.not_finite[name] || "" : fixed(v[name], n); // a value, or the word of one that is not finite
  const when = t => t && !t.startsWith("0001") ? t.slice(0, 16).replace("T", " ") + " UTC" : "";
  const slug = s => s.replace(/[^A-Za-z0-9]+/g, "-").toLowerCase();
  const last = a => a && a.length ? a[a.length - 1] : undefined;

  const read = text => { // empty lists come as null
    const p = JSON.parse(text);
    for (const r of p.runs) {
      r.blocks ||= []; r.environment ||= [];
      for (const b of r.blocks) if (b.stage) { b.stage.layers ||= []; for (const f of [b.stage.planned, b.stage.vanilla]) if (f) f.bytes ||= {}; }
    }
    return p;
  };
  let page = read(document.getElementById("data").textContent);
  const choice = { x: "tokens", y: "loss", each: "stage" };
  const many = () => page.runs.length > 1;
  const stages = r => r.blocks.filter(b => b.stage);
  const of = r => many() ? ` of run ${page.runs.indexOf(r) + 1}, ${r.name}` : "";
  const label = (r, b) => many() ? r.name + ": " + b.address : b.address;

  // starts gives what the stages before each stage have seen: a stage's chain leads back over from.
  const starts = r => {
    const end = {}, at = {};
    for (const b of stages(r)) {
      const from = end[b.stage.from] || { tokens: 0, flops: 0, seconds: 0 }, s = b.stage.series;
      at[b.address] = from;
      end[b.address] = s ? { tokens: from.tokens + last(s.tokens), flops: from.flops + last(s.flops), seconds: from.seconds + last(s.seconds) } : from;
    }
    return { at, end };
  };

  // A table with more rows than anybody reads at once shows the first ones, and the others when asked.
  const mostRows = 100, shownWhole = new Set();
  const table = (caption, heads, rows) => {
    const row = r => $("tr", {}, r.map((c, i) => i ? $("td", { class: (heads[i] || [])[1] }, c) : $("th", { scope: "row" }, c)));
    const few = shownWhole.has(caption) ? rows.length : mostRows, body = $("tbody", {}, rows.slice(0, few).map(row));
    const more = rows.length > few && $("button", { type: "button" }, `Show all ${rows.length.toLocaleString("en")} rows`);
    if (more) more.addEventListener("click", () => { shownWhole.add(caption); body.append(...rows.slice(few).map(row)); more.remove(); });
    return [$("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
      $("table", {}, $("caption", {}, caption), $("thead", {}, $("tr", {}, heads.map(h => $("th", { scope: "col", class: h[1] }, h[0])))), body)), more];
  };
  const section = (id, title, ...kids) => $("section", { id, "aria-labelledby": id + "-h" }, $("h2", { id: id + "-h" }, title), kids);
  const details = (key, title, ...kids) => { // kids that are a function are made when it is opened first
    const d = $("details", { "data-key": key }, $("summary", {}, title), kids.filter(k => typeof k !== "function"));
    for (const late of kids.filter(k => typeof k === "function")) d.addEventListener("toggle", () => d.append(...[late()].flat(9)), { once: true });
    return d;
  };
  const status = s => $("span", { class: "status " + slug(s) }, s);

  // Charts of training.
  const axes = { tokens: ["count", "tokens"], flops: ["count", "FLOPs"], seconds: ["seconds", "time of training"] };
  const named = [["loss", "", ""], ["speed", "Throughput, tokens a second", "count"], ["mfu", "MFU, share of the measured peak", "percent"], ["lr", "Learning rate", "number"], ["norm", "Gradient norm", "number"], ["share", "Tasks between steps, where higher is better", "number"]];
  const hidden = new Set(), mostCurves = 24;
  let filter = "";

  // trained lists the stages that have steps, each with its colour; chosen those that are drawn.
  const trained = () => page.runs.flatMap(r => { const { at } = starts(r); return stages(r).filter(b => b.stage.series).map(b => ({ r, b, s: b.stage.series, name: label(r, b), at: at[b.address] })); }).map((t, i) => Object.assign(t, { color: i % 8 }));
  // averaged are the curves of runs that differ in seeds alone, point by point, with Student's interval.
  const averaged = () => {
    const list = trained(), settings = m => Object.entries(m.settings).map(([k, v]) => `${k} ${v}`).join(", ");
    return ((page.table || {}).means || []).flatMap((m, i) => {
      const all = m.members.map(x => list.find(t => t.b.address === x.address && (!x.run || t.r.name === x.run))).filter(t => t), first = all[0];
      if (!first) return [];
      const n = Math.min(...all.map(t => t.s.every === first.s.every ? t.s.step.length : 0)), mean = of => Array.from({ length: n }, (_, k) => { const v = all.map(t => of(t.s)[k]); return v.includes(null) ? null : v.reduce((a, b) => a + b, 0) / v.length; });
      const loss = mean(s => s.trend.mean), half = loss.map((x, k) => x === null || all.length < 2 ? null : student(m, all.length) * Math.sqrt(all.reduce((sum, t) => sum + (t.s.trend.mean[k] - x) ** 2, 0) / (all.length - 1) / all.length));
      const to = sign => all.length < 2 ? undefined : loss.map((x, k) => half[k] === null ? null : x + sign * half[k]);
      const s = { every: first.s.every, step: first.s.step.slice(0, n), loss: {}, trend: { mean: loss, low: to(-1), high: to(1) }, tokens_per_second: { mean: mean(s => s.tokens_per_second.mean) }, mfu: mean(s => s.mfu), learning_rate: mean(s => s.learning_rate), grad_norm: { mean: mean(s => s.grad_norm.mean) } };
      for (const k of ["tokens", "flops", "seconds"]) s[k] = mean(s => s[k]);
      return n ? [Object.assign({}, first, { name: `${settings(m) || "all"}, n = ${all.length}`, s, color: i % 8, band: "95 % interval" })] : [];
    });
  };
  const student = (m, n) => n === m.runs ? m.student : NaN; // of runs that have no curve here there is no interval
  const seeded = () => ((page.table || {}).means || []).some(m => m.runs > 1);
  const drawable = () => choice.each === "seeds" ? averaged() : trained();
  const chosen = () => drawable().filter(t => t.name.includes(filter)).slice(0, mostCurves);
  const ended = t => { // where the model of the result stands
    const step = (t.b.values || {}).result_step, k = step === undefined ? -1 : t.s.step.findIndex(s => s >= step);
    return k < 0 ? last(t.s[choice.x]) : t.s[choice.x][k];
  };
  const asked = t => t.s.evaluations || [], titled = e => e.value === "loss" ? e.name : `${e.name} ${e.value}`;
  const specs = () => {
    const list = chosen().filter(t => !hidden.has(t.name)), [xKind, xName] = axes[choice.x], exp = choice.y === "perplexity";
    const to = l => exp && l ? l.map(v => v === null ? null : Math.exp(v)) : l;
    const curves = of => list.map(t => {
      const from = t.at[choice.x];
      return Object.assign({ name: t.name, color: t.color, from, x: t.s[choice.x].map(v => from + v), step: t.s.step, band: t.band || "80 % of steps", grown: t.b.stage.grow ? from : undefined, says: `+${t.b.stage.added} layer${t.b.stage.added === 1 ? "" : "s"}` }, of(t.s));
    });
    const points = list.flatMap(t => t.r.blocks.filter(e => e.model === t.b.address && e.values && typeof e.values[choice.y] === "number").map(e => ({ x: t.at[choice.x] + ended(t), y: e.values[choice.y], color: t.color })));
    const between = list.flatMap(t => asked(t).filter(e => e.value === "loss").map(e => ({ name: `${t.name} · ${e.name}`, color: t.color, from: t.at[choice.x], x: e[choice.x].map(v => t.at[choice.x] + v), step: e.step, main: to(e.values) })));
    const shares = list.flatMap(t => asked(t).filter(e => e.higher_is_better).map(e => ({ name: `${t.name} · ${titled(e)}`, color: t.color, from: t.at[choice.x], x: e[choice.x].map(v => t.at[choice.x] + v), step: e.step, main: e.values, dots: true })));
    const spread = c => ({ main: c.mean, min: c.min, max: c.max });
    const made = {
      loss: { y: exp ? "number" : "nats", says: true, points, between, curves: curves(s => ({ main: to(s.trend.mean), low: to(s.trend.low), high: to(s.trend.high), raw: to(s.loss.mean), min: to(s.loss.min), max: to(s.loss.max) })) },
      speed: { curves: curves(s => spread(s.tokens_per_second)) }, mfu: { curves: curves(s => ({ main: s.mfu.map(v => v === null ? null : 100 * v) })) },
      lr: { curves: curves(s => ({ main: s.learning_rate })) }, norm: { curves: curves(s => spread(s.grad_norm)) }, share: { curves: shares },
    };
    for (const [k, , y] of named) Object.assign(made[k], { x: xKind, xName, thin: k !== "loss" }, y && { y });
    return made;
  };
  const explained = () => {
    if (choice.each === "seeds") return "Line: mean over the runs that differ in seeds alone. Band: the interval that holds the true mean with a confidence of 95 % (Student's t, point by point); one run has none. ";
    const every = Math.max(...trained().map(t => t.s.every));
    return `Line: mean over a fiftieth of the stage's steps, ten at least. Band: where 80 % of these steps lie, between the quantiles of 10 and 90 %. Faint: ${every > 1 ? `up to ${every.toLocaleString("en")} steps a point, from the least to the most of them` : "each step"}. Triangles: beyond the axis. Diamonds: held-out, at the end. ${trained().some(t => (t.s.evaluations || []).length) ? "Dots: evaluations between steps. " : ""}Dashed: the model grew. `;
  };
  const draw = () => {
    document.getElementById("loss-says").textContent = explained() + "Drag to zoom, double-click for all.";
    document.getElementById("loss-title").textContent = choice.y === "loss" ? "Training loss, nats a token" : "Training perplexity";
    const made = specs();
    for (const [k] of named) { const e = document.querySelector(`[data-chart=${k}]`); if (e) charts.set(k, e, made[k]); }
    charts.redraw();
    moved();
  };
  const moved = () => { // what is seen
    const out = document.getElementById("seen");
    if (!out) return;
    const [lo, hi] = charts.range(), text = units.kinds[axes[choice.x][0]].text;
    out.textContent = charts.view.range ? `${text(lo)} to ${text(hi)}` : "";
    document.getElementById("zoom-all").disabled = document.getElementById("zoom-out").disabled = document.getElementById("zoom-left").disabled = document.getElementById("zoom-right").disabled = !charts.view.range;
  };
  charts.view.onchange = moved;
  const radios = (name, what, list) => $("fieldset", {}, $("legend", {}, what), list.map(([v, text]) => {
    const i = $("input", { type: "radio", name, value: v, checked: choice[name] === v });
    i.addEventListener("change", () => { choice[name] = v; if (name === "x") charts.view.range = null; legend(); draw(); });
    return $("label", {}, i, " " + text);
  }));
  const button = (id, text, says, click) => { const b = $("button", { type: "button", id, "aria-label": says, title: says }, text); b.addEventListener("click", click); return b; };
  const chart = (name, text, cls) => $("div", { class: "chart " + (cls || ""), "data-chart": name, role: "img", "aria-label": text });
  // The legend of all charts: a button a stage, which hides it.
  const legend = () => {
    const list = chosen(), total = drawable().length;
    const note = total > list.length ? `${list.length} of ${total.toLocaleString("en")} stages are drawn: name a part of the addresses of others. ` : "";
    document.getElementById("legend-note").textContent = note + (list.length > 8 ? "Of more than eight stages the lines alone are drawn." : "");
    const ul = document.getElementById("legend"), key = list.map(t => t.name + t.color).join("\n");
    if (ul.dataset.key === key) return;
    ul.dataset.key = key;
    ul.replaceChildren(...list.map((t, i) => {
      const b = $("button", { type: "button", id: "legend-" + i, "aria-pressed": String(!hidden.has(t.name)), style: `--k: var(--c${t.color})` }, t.name);
      b.addEventListener("click", () => { if (!hidden.delete(t.name)) hidden.add(t.name); b.setAttribute("aria-pressed", String(!hidden.has(t.name))); draw(); });
      return $("li", {}, b);
    }));
  };
  const training = () => {
    const search = $("input", { type: "search", id: "filter", value: filter });
    search.addEventListener("input", () => { filter = search.value.trim(); legend(); draw(); });
    return section("training", "Training", $("div", { class: "card" },
      $("div", { class: "controls" }, radios("x", "against", [["tokens", "tokens"], ["flops", "FLOPs"], ["seconds", "time"]]), radios("y", "show", [["loss", "loss"], ["perplexity", "perplexity"]]), seeded() && radios("each", "a curve for", [["stage", "each stage"], ["seeds", "the mean over seeds, with its interval of 95 %"]]),
        $("div", { class: "zoom", role: "group", "aria-label": "zoom" }, button("zoom-in", "+", "zoom in", () => charts.by(.5, 0)), button("zoom-out", "−", "zoom out", () => charts.by(2, 0)), button("zoom-left", "←", "earlier", () => charts.by(1, -.5)), button("zoom-right", "→", "later", () => charts.by(1, .5)), button("zoom-all", "All", "show all", () => charts.zoom(null)), $("span", { id: "seen", class: "soft" }))),
      $("div", { id: "legend-filter", hidden: trained().length <= 12 }, $("label", { for: "filter" }, "Stages with "), search), $("p", { id: "legend-note", class: "soft" }), $("ul", { id: "legend" }),
      $("h3", { id: "loss-title" }, "Training loss, nats a token"), chart("loss", "Training loss of every stage; the table of stages and that of evaluations have the numbers"),
      $("p", { class: "soft", id: "loss-says" })),
      $("div", { class: "pair" }, named.slice(1).filter(([k]) => k !== "share" || trained().some(t => asked(t).some(e => e.higher_is_better))).map(([k, t]) => $("div", { class: "card" }, $("h3", {}, t), chart(k, t + " of every stage", "low")))));
  };

  // Device memory: a bar for each stage that differs, and one for the full model.
  const memory = () => {
    const rows = [], seen = new Map();
    const bar = (r, b, what, f, at) => {
      const key = what + JSON.stringify([f.bytes, f.peak_bytes, at]), known = seen.get(key);
      if (known) { known.names.push(label(r, b)); return; }
      const row = { names: [label(r, b)], what, f, at };
      seen.set(key, row);
      rows.push(row);
    };
    for (const r of page.runs) for (const b of stages(r)) bar(r, b, "stage", b.stage.planned, b.stage.measured_bytes);
    for (const r of page.runs) for (const b of stages(r)) if (b.stage.vanilla) bar(r, b, "vanilla", b.stage.vanilla);
    if (!rows.length) return null;
    const most = 60, vanillas = rows.filter(x => x.what === "vanilla").length, cut = rows.length - most;
    const list = cut > 0 ? rows.slice(0, most) : rows;
    const t = units.ticks("bytes", 0, Math.max(...list.map(x => Math.max(x.f.peak_bytes, x.at || 0))), innerWidth < 360 ? 3 : innerWidth < 600 ? 4 : 8), share = v => 100 * v / (t.hi * 1.02) + "%";
    const used = page.kinds.filter(k => list.some(x => x.f.bytes[k]));
    const names = x => x.names.length > 1 ? `${x.names[0]} and ${x.names.length - 1} more` : x.names[0];
    const title = x => x.what === "stage" ? $("code", { title: x.names.join("\n").slice(0, 2000) }, names(x)) : ["vanilla: the full model at once", vanillas > 1 ? [", batch of ", $("code", { title: x.names.join("\n").slice(0, 2000) }, names(x))] : ""];
    return section("memory", "Device memory", $("div", { class: "card" },
      $("ul", { class: "key" }, used.map(k => $("li", { style: `--k: var(--c${page.kinds.indexOf(k)})` }, k)), list.some(x => x.at) && $("li", { class: "tick" }, "measured")),
      $("ul", { class: "bars" }, list.map(x => $("li", {}, $("div", { class: "bar-name" }, $("span", {}, title(x)), $("span", { class: "soft" }, x.at ? x.at === x.f.peak_bytes ? `${bytes(x.at)}, as planned` : `${bytes(x.at)}, planned ${bytes(x.f.peak_bytes)}` : bytes(x.f.peak_bytes))),
        $("div", { class: "bar" }, t.values.map(v => $("i", { class: "grid", style: `left: ${share(v)}` })), page.kinds.map((k, i) => x.f.bytes[k] > 0 && $("span", { class: "part", style: `width: ${share(x.f.bytes[k])}; background: var(--c${i})`, title: `${k} ${bytes(x.f.bytes[k])}` })), x.at && $("i", { class: "measured", style: `left: ${share(x.at)}` }))))),
      $("div", { class: "bar-axis", "aria-hidden": "true" }, t.values.map((v, i) => $("span", { style: `left: ${share(v)}`, class: i === 0 ? "first" : v > t.hi * .94 ? "last" : "" }, t.labels[i]))),
      cut > 0 && $("p", { class: "soft" }, `${cut} more are in the table.`),
      $("p", { class: "soft" }, "Bars: the arena that the plan lays out. Measured: what the run allocated. Vanilla: the full model trained at once with the same batch."),
      memoryTable()));
  };
  const memoryTable = () => table("Device memory of the stages, and of the full model", [["stage"], ["planned", "n"], ["measured", "n"], ["model states", "n"], ["vanilla", "n"], ["vanilla's states", "n"], ["saved", "n"]],
    page.runs.flatMap(r => stages(r).map(b => { const s = b.stage, f = s.planned, v = s.vanilla; return [label(r, b), bytes(f.peak_bytes), s.measured_bytes ? bytes(s.measured_bytes) : "not run", bytes(f.model_state_bytes), v ? bytes(v.peak_bytes) : "", v ? bytes(v.model_state_bytes) : "", v ? (100 * (1 - f.peak_bytes / v.peak_bytes)).toFixed(1) + " %" : ""]; })));

  // What the full model would have taken.
  const costs = () => {
    const list = page.runs.flatMap(r => (r.costs || []).map(c => [r, c]));
    if (!list.length) return false;
    const going = (r, c) => r.blocks.some(b => b.address === c.address && b.status !== "done" && b.stage.done < b.stage.steps);
    const less = (a, b) => `${Math.abs(100 * (1 - a / b)).toFixed(1)} % ${a <= b ? "less" : "more"}`;
    const one = ([r, c]) => table(`${many() ? r.name + ": " : ""}${c.address}${c.planned ? ", as planned" : going(r, c) ? ", so far" : ""}`, [["what"], ["these stages", "n"], ["vanilla, estimated", "n"], ["stages take", "n"]], [
      ["tokens", count(c.tokens), count(c.tokens), "the same"], ["FLOPs", count(c.run.flops), count(c.vanilla.flops), less(c.run.flops, c.vanilla.flops)],
      c.run.seconds ? ["time of training", time(c.run.seconds), time(c.vanilla.seconds), less(c.run.seconds, c.vanilla.seconds)] : null,
      ["largest peak of device memory", bytes(c.run.peak_bytes), bytes(c.vanilla.peak_bytes), less(c.run.peak_bytes, c.vanilla.peak_bytes)],
      ["largest model states", bytes(c.run.model_state_bytes), bytes(c.vanilla.model_state_bytes), less(c.run.model_state_bytes, c.vanilla.model_state_bytes)],
      ["tokens for the FLOPs of these stages", count(c.tokens), count(c.tokens_at_same_flops), ""]].filter(x => x));
    const rows = list.map(([r, c]) => [[many() ? r.name + ": " : "", $("code", {}, c.address)], count(c.tokens), count(c.run.flops), count(c.vanilla.flops), c.run.seconds ? time(c.run.seconds) : "", c.run.seconds ? time(c.vanilla.seconds) : "", bytes(c.run.peak_bytes), bytes(c.vanilla.peak_bytes), count(c.tokens_at_same_flops)]);
    return section("cost", "What vanilla would have cost", $("div", { class: "card" }, list.length <= 3 ? list.map(one) : table("Each chain of stages, and the full model in its place", [["last stage"], ["tokens", "n"], ["FLOPs", "n"], ["vanilla", "n"], ["time", "n"], ["vanilla", "n"], ["peak", "n"], ["vanilla", "n"], ["vanilla's tokens for the FLOPs", "n"]], rows),
      $("p", { class: "soft" }, "Vanilla is the full model, all layers trained from the start, on the same tokens in the same batches. Its FLOPs: of each stage, its steps × the FLOPs of a step of the full model as planned, added up. Its time: those FLOPs at the FLOPs a second that these stages reached. Its memory: the largest that the plan lays out for it. It says nothing of the loss that it would have reached.")));
  };

  // A drawing is as wide as its frame, down to what can still be read; then the frame scrolls.
  const drawing = (svg, w, name) => { svg.style.cssText = `width: 100%; height: auto; max-width: ${Math.round(w)}px; min-width: ${Math.round(w * .75)}px`; return $("div", { class: "card scroll frame", tabindex: 0, role: "region", "aria-label": name }, svg); };
  const blockID = (r, id) => "block-" + page.runs.indexOf(r) + "-" + id.replace(/[^A-Za-z0-9_.-]/g, c => "~" + c.codePointAt(0).toString(16));

  // The graph of blocks; each leads to what the configuration says of it.
  const graph = r => {
    const g = r.graph;
    const svg = S("svg", { viewBox: `0 0 ${g.width} ${g.height}`, role: "group", "aria-label": "Graph of the pipeline's blocks" });
    for (const e of g.edges) svg.append(S("path", { class: "edge", d: e.path }));
    for (const n of g.nodes) {
      const id = blockID(r, n.id), a = S("a", { href: "#" + id }), mid = n.x + n.w / 2;
      a.addEventListener("click", () => { const d = document.getElementById(id); if (d) d.open = true; });
      const text = (what, y, cls) => { const t = S("text", { x: mid, y: n.y + y, "text-anchor": "middle" }, charts.fit(what, n.w - 10)); if (cls) t.setAttribute("class", cls); return t; };
      a.append(S("title", {}, `${n.id}: ${n.sub}`), S("rect", { class: "box " + slug(n.status), x: n.x, y: n.y, width: n.w, height: n.h, rx: 6 }), text(n.over || "", 17, "sub"), text(n.label, 33), text(n.sub, 49, "sub"));
      svg.append(a);
    }
    return drawing(svg, g.width, "graph" + of(r));
  };

  // Layers of each stage side by side, bottom first: kept ones lead straight on, new ones come from two below.
  const layers = r => {
    const alike = new Set(), list = [], W = 168, H = 30, GX = 64, GY = 8, total = stages(r).length; // instances with the same layers are drawn once
    for (const b of stages(r)) { const k = JSON.stringify([b.address.replace(/\[[^\]]*\]/g, ""), b.stage.layers]); if (!alike.has(k) && list.length < 12) { alike.add(k); list.push(b); } }
    const most = Math.max(0, ...list.map(b => b.stage.layers.length));
    if (!most) return null;
    const height = most * (H + GY) + 44, across = list.length * (W + GX) - GX, svg = S("svg", { viewBox: `0 0 ${across} ${height}`, role: "img", "aria-label": "Layers of each stage, and the layers they came from; the table below says the same" });
    const column = {}, y = i => height - 40 - (i + 1) * (H + GY) + GY;
    list.forEach((b, n) => column[b.address] = n);
    list.forEach((b, n) => {
      const from = column[b.stage.from];
      b.stage.layers.forEach((l, i) => {
        const links = from === undefined ? [] : l.old >= 0 ? [l.old] : (l.from || []).map(f => f.layer);
        for (const o of links) svg.append(S("path", { class: "edge" + (l.old < 0 ? " new" : ""), d: `M${from * (W + GX) + W},${y(o) + H / 2} C${from * (W + GX) + W + GX / 2},${y(o) + H / 2} ${n * (W + GX) - GX / 2},${y(i) + H / 2} ${n * (W + GX)},${y(i) + H / 2}` }));
      });
    });
    list.forEach((b, n) => {
      b.stage.layers.forEach((l, i) => {
        svg.append(S("rect", { class: "layer " + (l.frozen ? "frozen" : l.old < 0 && b.stage.from ? "new" : "train"), x: n * (W + GX) + 1, y: y(i), width: W - 2, height: H, rx: 5 }),
          S("text", { x: n * (W + GX) + 8, y: y(i) + 19 }, `${i}  ${l.frozen ? "frozen" : l.old < 0 && b.stage.from ? "new" : "trained"}${l.rank ? ", r = " + l.rank : ""}`));
      });
      svg.append(S("text", { x: n * (W + GX) + W / 2, y: height - 22, "text-anchor": "middle" }, S("title", {}, b.address), charts.fit(b.address, W)), S("text", { class: "sub", x: n * (W + GX) + W / 2, y: height - 6, "text-anchor": "middle" }, charts.fit(b.stage.grow || `${b.stage.layers.length} layers`, W * 12 / 11)));
    });
    const rows = list.flatMap(b => b.stage.layers.map((l, i) => [b.address, i, l.old >= 0 && b.stage.from ? "layer " + l.old + " of " + b.stage.from : (l.from || []).map(f => `${+f.weight.toPrecision(3)} × layer ${f.layer}`).join(" + ") || "first weights", l.frozen ? "frozen" : "trained", l.rank ? "r = " + l.rank : "none"]));
    return [drawing(svg, across, "layers" + of(r)), total > list.length && $("p", { class: "soft" }, `${list.length} of ${total.toLocaleString("en")} stages are drawn: instances with the same layers are drawn once.`), $("ul", { class: "key" }, [["trained", "--train"], ["new, trained", "--new"], ["frozen", "--frozen"]].map(([t, c]) => $("li", { style: `--k: var(${c})` }, t))),
      details("layers " + r.name, "The layers as a table", table("Layers of each stage" + of(r), [["stage"], ["layer", "n"], ["made of"], ["state"], ["adapter"]], rows))];
  };

  const evaluations = () => {
    const rows = [];
    for (const r of page.runs) for (const b of r.blocks) if (b.kind === "evaluate" && b.values && b.values.loss !== undefined) {
      const v = b.values;
      rows.push([label(r, b), b.model, measured(v, "loss", 4), measured(v, "stderr", 4), measured(v, "perplexity", 2), measured(v, "bits_per_byte", 4), v.tokens !== undefined ? count(v.tokens) : "", percent(v.contamination), fixed(v.unigram_entropy, 4), fixed(v.random_guess, 4)]);
    }
    const between = page.runs.flatMap(r => stages(r).flatMap(b => ((b.stage.series || {}).evaluations || []).map(e => [`${label(r, b)} · ${titled(e)}`, e.count.toLocaleString("en"), e.last === null ? "not finite" : plusMinus(e.last, e.stderr), fixed(e.best, 4), e.best_step.toLocaleString("en"), time(e.took)])));
    const early = page.runs.flatMap(r => stages(r).filter(b => b.values && typeof b.values.ended === "string").map(b => $("p", {}, $("code", {}, label(r, b)), ": ", b.values.ended)));
    return (rows.length > 0 || between.length > 0) && section("evaluation", "Evaluation", rows.length > 0 && $("div", { class: "card" }, table("Held-out loss in nats a token, with its standard error; beside it the share of the documents that have 13 words in a row in common with what was trained on, and what guessing by frequency, and guessing at random, would give", [["evaluation"], ["model"], ["loss", "n"], ["± stderr", "n"], ["perplexity", "n"], ["bits a byte", "n"], ["tokens", "n"], ["contaminated", "n"], ["unigram", "n"], ["random", "n"]], rows)), between.length > 0 && $("div", { class: "card" }, table("Between the steps of stages: loss in nats a token, and metrics of tasks ± the standard error over documents", [["evaluation"], ["times", "n"], ["last", "n"], ["best", "n"], ["at step", "n"], ["took", "n"]], between), early));
  };
  // Tasks: what each evaluated model made of them, and differences on the same documents.
  const plusMinus = (v, e) => fixed(v, 4) + (typeof e === "number" ? " ± " + fixed(e, 4) : "");
  const signed = (x, n) => typeof x === "number" ? (x < 0 ? "−" : x > 0 ? "+" : "") + fixed(Math.abs(x), n) : "";
  const likely = p => p < 0.0001 ? "< 0.0001" : fixed(p, 4);
  const numbers = s => s.metrics.map(m => $("div", {}, $("span", { class: "soft" }, m.name + " "), m.value === null ? "not finite" : plusMinus(m.value, m.stderr), m.guess && $("span", { class: "guess" }, " ≈ chance")));
  const guessing = s => fixed(s.chance, 4);
  const clean = s => s.clean && $("div", { class: "soft" }, `on ${(s.clean.documents || 0).toLocaleString("en")} clean documents: `, s.clean.metrics.filter(m => m.value !== null).map(m => `${m.name} ${plusMinus(m.value, m.stderr)}`).join(", "));
  const folded = (kind, list, shown) => [...new Set(list.map(x => x.group))].map(g => { const own = list.filter(x => x.group === g), n = new Set(own.map(x => x.task)).size; return details(`${kind} of ${g}`, `${g}: ${n} ${n === 1 ? "task" : "tasks"}`, () => shown(own, ` of ${g}`)); });
  const tasks = () => {
    const rows = page.runs.flatMap(r => r.blocks.filter(b => b.scores && b.scores.length).map(b => ({ b, name: label(r, { address: b.model || b.address }), by: b.address })));
    if (!rows.length) return false;
    const several = x => rows.filter(o => o.name === x.name).length > 1;
    const names = [...new Set(rows.flatMap(x => x.b.scores.filter(s => !s.group).map(s => s.task)))];
    const cell = s => s ? [numbers(s), $("div", { class: "soft" }, [typeof s.chance === "number" && "chance " + guessing(s), typeof s.contamination === "number" && percent(s.contamination) + " contaminated"].filter(Boolean).join(", ")), clean(s)] : "";
    const parts = rows.flatMap(x => x.b.scores.filter(s => s.group).map(s => Object.assign({ of: x.name }, s)));
    const whole = table("Tasks: what each model reached, ± the standard error over documents, and what guessing reaches", [["model"], ...names.map(n => [$("span", { class: "name" }, n), "n"])], rows.map(x => [[$("code", {}, x.name), several(x) && $("div", { class: "soft" }, x.by)], ...names.map(n => cell(x.b.scores.find(s => s.task === n)))]));
    const subjects = (list, of) => table(`Tasks${of}`, [["task"], ["model", "m"], ["documents", "n"], ["reached", "n"], ["chance", "n"], ["contaminated", "n"]], list.map(s => [s.task, $("code", {}, s.of), (s.documents || 0).toLocaleString("en"), [numbers(s), clean(s)], guessing(s), percent(s.contamination)]));
    return section("tasks", "Tasks", $("div", { class: "card" }, whole, folded("tasks", parts, subjects),
      $("p", { class: "soft" }, "≈ chance: within two standard errors of guessing, the score's own or that of guessing. On so few documents the model cannot be told from one that guesses. Contaminated: the share of the documents of which 13 words in a row stand in what the model was trained on; the others are clean.")),
    differences("before", "Before and after", page.runs.flatMap(r => (r.pairs || []).map(p => Object.assign({}, p, { run: many() ? r.name + ": " : "" }))), "Each model and the one that it was made from, on the same documents"),
    differences("beside", "Against the first run", (page.table || {}).pairs || [], "Each run and the first one, on the same documents"));
  };
  const differences = (kind, title, list, caption) => {
    if (!list.length) return null;
    const who = m => $("code", {}, (m.run ? m.run + ": " : "") + m.model);
    const interval = p => p.half === undefined ? (p.difference === 0 ? "no document differs" : "all documents differ alike") : `${signed(p.difference - p.half, 4)} to ${signed(p.difference + p.half, 4)}`;
    const shown = (own, of) => {
      const told = own.filter(p => !p.why), not = own.filter(p => p.why);
      return [told.length > 0 && table(caption + of, [["task"], ["model", "m"], ["compared with", "m"], ["documents", "n"], ["difference", "n"], ["95 % interval", "n"], ["only this one right", "n"], ["only the other", "n"], ["p", "n"]],
        told.map(p => [`${p.task} ${p.metric}`, [p.run, who(p.to)], [p.run, who(p.from)], p.documents.toLocaleString("en"), signed(p.difference, 4), interval(p), ...(p.only ? [p.only[1].toLocaleString("en"), p.only[0].toLocaleString("en"), likely(p.p)] : ["", "", ""])])),
      not.length > 0 && table(`${title}: not compared${of}`, [["task"], ["model", "m"], ["compared with", "m"], ["why", "m"]], not.map(p => [p.metric ? `${p.task} ${p.metric}` : p.task, [p.run, who(p.to)], [p.run, who(p.from)], p.why]))];
    };
    return $("div", { class: "card" }, $("h3", {}, title), shown(list.filter(p => !p.group), ""), folded(kind, list.filter(p => p.group), shown),
      list.some(p => !p.why) && $("p", { class: "soft" }, "The interval holds the true difference with a confidence of 95 %; it is made of the differences on each document (Student's t, n − 1 degrees of freedom). p: how likely counts so far apart are if both models are equally good (McNemar's exact test). Of twenty comparisons of equally good models, about one has p < 0.05. They say nothing of another seed of the training."));
  };
  const samples = () => {
    const list = page.runs.flatMap(r => r.blocks.filter(b => b.values && Array.isArray(b.values.texts)).map(b => [label(r, b), b.values.texts]));
    return list.length > 0 && section("samples", "Samples", list.map(([n, texts]) => $("div", { class: "card" }, $("code", {}, n), texts.map(t => $("blockquote", { tabindex: 0 }, t)))));
  };
  const stageTable = () => {
    const rows = page.runs.flatMap(r => stages(r).map(b => {
      const s = b.stage, f = s.planned, x = s.series;
      return [label(r, b), status(b.status), `${s.done.toLocaleString("en")} / ${s.steps.toLocaleString("en")}`, s.layers.length, count(f.trainable_parameters + f.adapter_parameters), count(f.frozen_parameters), count(b.stage.early ? last(x.tokens) : f.tokens), count(b.stage.early ? last(x.flops) : f.flops),
        x && x.mean !== null ? fixed(x.mean, 4) : "", x && last(x.seconds) ? count(last(x.tokens) / last(x.seconds)) : "", x && last(x.seconds) ? time(last(x.seconds)) : "", x && x.skipped ? x.skipped : "0"];
    }));
    return rows.length > 0 && section("stages", "Stages", $("div", { class: "card" }, table("Stages: planned, and what the run took", [["stage"], ["status"], ["steps", "n"], ["layers", "n"], ["trained", "n"], ["frozen", "n"], ["tokens", "n"], ["FLOPs", "n"], ["loss", "n"], ["tokens/s", "n"], ["time", "n"], ["skipped", "n"]], rows)));
  };

  const summary = r => {
    const list = stages(r), { end } = starts(r), val = r.blocks.filter(b => b.kind === "evaluate" && b.values && b.values.loss !== undefined).map(b => b.values);
    const seen = Object.values(end), peak = Math.max(0, ...list.map(b => b.stage.measured_bytes || b.stage.planned.peak_bytes)), states = Math.max(0, ...list.map(b => b.stage.planned.model_state_bytes));
    const most = k => Math.max(0, ...seen.map(e => e[k]));
    return { peak, states, vanilla: Math.max(0, ...list.map(b => b.stage.vanilla ? b.stage.vanilla.peak_bytes : 0)), tokens: most("tokens"), flops: most("flops"), seconds: most("seconds"), val: last(val), loss: last(list.map(b => b.stage.series && b.stage.series.mean).filter(x => typeof x === "number")) };
  };
  const comparison = () => {
    const s = page.runs.map(summary), row = (name, f) => [name, ...s.map(f)];
    return section("compare", "Side by side", $("div", { class: "card" }, table("The runs side by side", [["measure", ""], ...page.runs.map(r => [r.name, "n"])], [
      row("validation loss, nats a token", x => x.val ? `${measured(x.val, "loss", 4)}${x.val.stderr ? " ± " + fixed(x.val.stderr, 4) : ""}` : "–"), row("validation perplexity", x => x.val ? measured(x.val, "perplexity", 2) : "–"),
      row("training loss at the end", x => x.loss !== undefined ? fixed(x.loss, 4) : "–"), row("largest peak of device memory", x => bytes(x.peak)), row("largest model states", x => bytes(x.states)),
      row("longest chain: tokens", x => count(x.tokens)), row("longest chain: FLOPs", x => count(x.flops)), row("longest chain: training time", x => time(x.seconds)), row("stages", (_, i) => stages(page.runs[i]).length)])),
      variables());
  };
  const written = { tokens: count, FLOP: count, bytes, seconds: time, nats: v => fixed(v, 4), share: v => fixed(v, 4) };
  const cell = (c, v) => v === undefined || v === null ? "" : typeof v === "number" && written[c.unit] ? written[c.unit](v) : String(v);
  const sweep = () => { // stages from which no other goes on, each with what it is made from
    const t = page.table, ofTask = c => c.path.startsWith("tasks."), columns = t.columns.filter(c => !ofTask(c)), name = r => [r.run ? r.run + ": " : "", $("code", {}, r.address), r.best ? [" ", $("span", { class: "status done" }, "lowest loss")] : ""];
    const means = t.means || [], shared = columns.filter(c => means.length && (c.name in means[0].settings || c.group === "result"));
    const seeds = n => n === 1 ? "one seed: no interval" : "", mean = (c, m) => { if (c.group !== "result") return cell(c, m.settings[c.name]); const x = m.results[c.name]; return x ? cell(c, x.mean) + (x.half === undefined ? "" : " ± " + cell(c, x.half)) : ""; };
    return section("runs", "Runs", $("div", { class: "card" }, table("In what the runs differ, and what came of them", [["run"], ["status"], ...columns.map(c => [c.name, "n"])], t.rows.map(r => [name(r), status(r.status), ...columns.map(c => cell(c, r.values[c.name]))]))),
      shared.some(c => c.group === "result") && $("div", { class: "card" }, table("Means over seeds ± half of the interval of 95 % confidence (Student's t, n − 1 degrees of freedom)", [...shared.filter(c => c.group !== "result").map((c, i) => [c.name, i > 0 && "n"]), ["n", "n"], ...shared.filter(c => c.group === "result").map(c => [c.name, "n"]), ["remark", ""]], means.map(m => [...shared.filter(c => c.group !== "result").map(c => mean(c, m)), m.runs, ...shared.filter(c => c.group === "result").map(c => mean(c, m)), seeds(m.runs)])),
        shared.filter(c => c.group === "result").map(c => intervals(c, shared.filter(c => c.group !== "result"), means))),
      meansOfTasks(t.columns.filter(c => ofTask(c) && c.group === "result"), shared.filter(c => c.group !== "result"), means));
  };
  // Tasks are too many for columns: a row for each, with the difference to the first mean.
  const meansOfTasks = (columns, settings, means) => {
    const of = m => settings.map(c => `${c.name} ${cell(c, m.settings[c.name])}`).join(", ") || "all", mean = (x, show) => x ? show(x.mean, 4) + (x.half === undefined ? "" : " ± " + fixed(x.half, 4)) : "";
    const rows = columns.flatMap(c => means.filter(m => m.results[c.name]).map(m => { const x = m.results[c.name], d = (m.differences || {})[c.name]; return [c.name, of(m), x.values.length, mean(x, fixed), mean(d, signed), d ? d.values.length : "", x.half === undefined ? "one seed: no interval" : ""]; }));
    return rows.length > 0 && $("div", { class: "card" }, table("Tasks: means over seeds ± half of the interval of 95 % confidence", [["task"], ["runs", "m"], ["n", "n"], ["mean", "n"], ["difference to the first", "n"], ["n", "n"], ["remark"]], rows),
      $("p", { class: "soft" }, "The difference is that of trainings with the same seed on the same documents; its interval is over seeds (Student's t, n − 1 degrees of freedom)."),
      columns.slice(0, 12).map(c => intervals(c, settings, means)));
  };
  // Intervals side by side: a line for each, its mean, and a dot a seed.
  const intervals = (c, settings, means) => {
    const list = means.filter(m => m.results[c.name]).slice(0, 40);
    if (list.length < 2) return null;
    const ends = list.flatMap(m => { const x = m.results[c.name]; return [...x.values, x.mean - (x.half || 0), x.mean + (x.half || 0)]; });
    const t = units.ticks(c.unit === "nats" ? "nats" : "number", Math.min(...ends), Math.max(...ends), innerWidth < 600 ? 3 : 6, true), at = v => 100 * (v - t.lo) / (t.hi - t.lo) + "%";
    return [$("h3", {}, c.name + (c.unit === "nats" ? ", nats a token" : "")), $("ul", { class: "bars", "aria-label": "Intervals of " + c.name }, list.map(m => {
      const x = m.results[c.name], what = settings.map(s => `${s.name} ${cell(s, m.settings[s.name])}`).join(", ");
      return $("li", {}, $("div", { class: "bar-name" }, $("span", {}, what || "all"), $("span", { class: "soft" }, `n = ${x.values.length}`)), $("div", { class: "bar thin" }, t.values.map(v => $("i", { class: "grid", style: `left: ${at(v)}` })),
        x.half !== undefined && $("span", { class: "interval", style: `left: ${at(x.mean - x.half)}; width: ${200 * x.half / (t.hi - t.lo)}%` }), x.values.map(v => $("i", { class: "dot", style: `left: ${at(v)}` })), $("i", { class: "mean", style: `left: ${at(x.mean)}` })));
    })), $("div", { class: "bar-axis", "aria-hidden": "true" }, t.values.map((v, i) => $("span", { style: `left: ${at(v)}`, class: i === 0 ? "first" : i === t.values.length - 1 ? "last" : "" }, t.labels[i])))];
  };
  const variables = () => { // only what differs
    const names = [...new Set(page.runs.flatMap(r => (r.variables || []).map(v => v.name)))], value = (r, n) => ((r.variables || []).find(v => v.name === n) || { value: "–" }).value;
    const rows = names.filter(n => new Set(page.runs.map(r => value(r, n))).size > 1).map(n => [n, ...page.runs.map(r => value(r, n))]);
    return rows.length ? $("div", { class: "card" }, table("Variables that differ", [["variable"], ...page.runs.map(r => [r.name])], rows)) : null;
  };
  const tiles = r => {
    const s = summary(r), list = [], long = (r.outputs || []).filter(o => o.value.length > 60);
    for (const o of r.outputs || []) if (!long.includes(o)) list.push([/^[\d.-]+$|^\{/.test(o.value) ? o.value.replace(/-?\d+\.\d{6,}/g, x => String(+(+x).toPrecision(6))) : o.value, o.name + (o.description ? " — " + o.description : ""), o.value]);
    if (s.peak) list.push([bytes(s.peak), "largest peak of device memory" + (s.vanilla ? `; vanilla ${bytes(s.vanilla)}` : "")]);
    if (s.tokens) list.push([count(s.tokens), "tokens trained on"], [time(s.seconds), "of training"]);
    return [list.length > 0 && $("div", { class: "tiles", id: "tiles" }, list.map(([v, n, exact]) => $("div", { class: "tile", title: exact }, $("b", { class: v.length > 16 ? "long" : "" }, v), $("span", {}, n)))),
      long.map(o => details("output " + o.name, "Output " + o.name + (o.description ? " — " + o.description : ""), $("pre", {}, o.value)))];
  };
  const troubles = () => {
    const say = (r, b, t) => $("li", {}, $("code", {}, label(r, b)), ": ", t);
    const errors = page.runs.flatMap(r => r.blocks.filter(b => b.error).map(b => say(r, b, b.error))), warnings = page.runs.flatMap(r => r.blocks.flatMap(b => (b.warnings || []).map(w => say(r, b, w))));
    return [errors.length > 0 && section("errors", "Failed", $("div", { class: "card error" }, $("ul", {}, errors))), warnings.length > 0 && section("warnings", "Warnings", $("div", { class: "card warn" }, $("ul", {}, warnings)))];
  };
  const configuration = r => {
    const rows = (r.variables || []).map(v => [v.name, $("code", {}, v.value), v.source]);
    return [rows.length ? $("div", { class: "card" }, table("Variables" + of(r), [["variable"], ["value"], ["from"]], rows)) : null,
      boxes(r).map(n => {
        const by = n.members && new Set(n.members), run = page.runs.indexOf(r), d = by ? details("boxes " + r.name + n.id, [$("code", {}, n.id), ` × ${n.members.length.toLocaleString("en")} `, $("span", { class: "soft" }, n.sub)], () => page.runs[run].blocks.filter(b => by.has(b.address)).map(b => block(page.runs[run], b))) : block(r, r.blocks.find(b => b.address === n.id));
        d.id = blockID(r, n.id);
        return d;
      })];
  };
  const boxes = r => r.graph && r.graph.nodes ? r.graph.nodes : r.blocks.map(b => ({ id: b.address }));
  const block = (r, b) => details("block " + r.name + b.address, [$("code", {}, b.address), " ", status(b.status), b.why ? $("span", { class: "soft" }, " " + b.why) : ""],
    $("div", { class: "card" }, $("p", { class: "soft" }, `${b.file}:${b.line}`, b.trace_id ? ` · trace ${b.trace_id}` : "", b.stage && b.stage.adapter ? ` · ${b.stage.adapter}` : "", b.stage && b.stage.ranks ? ` · ranks: ${b.stage.ranks}` : ""), table("Attributes of " + b.address + of(r), [["attribute"], ["value"]], (b.attributes || []).map(a => [a[0], $("code", {}, a[1])]))));

  // What is drawn, and what did not change, stays in its place when there is more to show: what a reader does with it
  // goes on.
  const drawn = ["training"];
  const place = (parent, wanted) => {
    let at = parent.firstChild;
    const drop = until => { while (at !== until) { const next = at.nextSibling; at.remove(); at = next; } };
    for (const e of wanted) {
      const old = e.id && document.getElementById(e.id);
      if (!old || !(drawn.includes(e.id) || old.isEqualNode(e))) { parent.insertBefore(e, at); continue; }
      drop(old);
      at = old.nextSibling;
    }
    drop(null);
  };
  const render = () => {
    const open = new Set([...document.querySelectorAll("details[open]")].map(d => d.dataset.key)), focus = document.activeElement && document.activeElement.id;
    const sideways = new Map([...document.querySelectorAll(".scroll")].filter(e => e.scrollLeft || e.scrollTop).map(e => [e.getAttribute("aria-label"), [e.scrollLeft, e.scrollTop]]));
    const running = page.runs.some(r => r.running), one = page.runs[0], any = page.runs.some(r => stages(r).length);
    const parts = [page.runs.map(r => r.note && $("p", {}, (many() ? r.name + ": " : "") + r.note)), !many() && tiles(one), troubles(), many() && comparison(), page.table && sweep(), trained().length > 0 && training(), costs(),
      any && memory(), stageTable(), evaluations(), tasks(), page.runs.some(r => stages(r).some(b => b.stage.layers.length)) && section("growth", "Growth, layer by layer", page.runs.map(r => [many() && $("h3", {}, r.name), layers(r)])), samples(),
      section("graph", "Pipeline", page.runs.map(r => [many() && $("h3", {}, r.name), r.graph && r.graph.nodes ? graph(r) : null])),
      section("configuration", "Configuration", page.runs.map(r => [many() && $("h3", {}, r.name), configuration(r)])),
      section("environment", "Environment", page.runs.map(r => $("div", { class: "card" }, table("Where it was planned and run" + of(r), [["what"], ["value"]], r.environment.concat([["planned", when(r.planned)], ["state", r.dir]]).map(e => [e[0], e[1]])))))].flat(9).filter(x => x);
    const header = $("header", {}, $("h1", {}, page.title, running ? $("span", { class: "live", role: "status" }, page.live ? "live" : "running") : null), $("p", { class: "meta" }, many() ? page.runs.map(r => r.name).join(" · ") : [one.device, when(one.planned) && " · planned " + when(one.planned)]),
      $("nav", { "aria-label": "sections" }, $("ul", {}, parts.filter(s => s.tagName === "SECTION").map(s => $("li", {}, $("a", { href: "#" + s.id }, s.querySelector("h2").textContent))))));
    const app = document.getElementById("app");
    let main = document.getElementById("main");
    if (!main) app.append(header, main = $("main", { id: "main", tabindex: -1 }));
    else if (!app.firstChild.isEqualNode(header)) app.firstChild.replaceWith(header);
    for (const e of parts) for (const d of e.tagName === "DETAILS" ? [e] : e.querySelectorAll("details")) if (open.has(d.dataset.key)) d.open = true;
    place(main, parts);
    for (const e of sideways.size ? document.querySelectorAll(".scroll") : []) { const at = sideways.get(e.getAttribute("aria-label")); if (at) [e.scrollLeft, e.scrollTop] = at; }
    if (focus && document.activeElement.id !== focus && document.getElementById(focus)) document.getElementById(focus).focus({ preventScroll: true });
    if (document.getElementById("legend")) { document.getElementById("legend-filter").hidden = trained().length <= 12; legend(); draw(); }
  };
  render();
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target) { if (target.tagName === "DETAILS") target.open = true; target.scrollIntoView(); }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", charts.redraw);
  addEventListener("resize", charts.resize);
  // Paper is light, and narrower than most windows.
  const paper = on => { document.documentElement.toggleAttribute("data-print", on); charts.resize(); };
  addEventListener("beforeprint", () => paper(true));
  addEventListener("afterprint", () => paper(false));
  if (page.live) {
    const source = new EventSource("/events" + location.search);
    source.onmessage = e => { page = read(e.data); const y = scrollY; render(); scrollTo(0, y); };
    source.addEventListener("end", () => { source.close(); page.live = false; });
  }
})();
