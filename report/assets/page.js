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
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const count = n => { for (const [s, u] of [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (Math.abs(n) >= s) return +(n / s).toPrecision(3) + u; return String(+(+n).toPrecision(3)); };
  const bytes = n => { for (const [s, u] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) if (n >= s) return +(n / s).toPrecision(3) + " " + u; return n + " B"; };
  const time = s => s >= 3600 ? (s / 3600).toFixed(1) + " h" : s >= 60 ? (s / 60).toFixed(1) + " min" : s.toFixed(1) + " s";
  const fixed = (x, n) => typeof x === "number" && isFinite(x) ? x.toFixed(n) : "";
  const measured = (v, name, n) => v[name] === null && v.not_finite ? v.not_finite[name] || "" : fixed(v[name], n); // a value, or the word of one that is not finite
  const when = t => t ? t.slice(0, 16).replace("T", " ") + " UTC" : "";
  const slug = s => s.replace(/[^A-Za-z0-9]+/g, "-").toLowerCase();
  const last = a => a && a.length ? a[a.length - 1] : undefined;

  let page = JSON.parse(document.getElementById("data").textContent);
  const choice = { x: "tokens", y: "loss" };
  const charts = new Map();
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

  const table = (caption, heads, rows) => $("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    $("table", {}, $("caption", {}, caption), $("thead", {}, $("tr", {}, heads.map(h => $("th", { scope: "col", class: h[1] }, h[0])))),
      $("tbody", {}, rows.map(r => $("tr", {}, r.map((c, i) => i ? $("td", { class: (heads[i] || [])[1] }, c) : $("th", { scope: "row" }, c)))))));
  const section = (id, title, ...kids) => $("section", { id, "aria-labelledby": id + "-h" }, $("h2", { id: id + "-h" }, title), kids);
  const details = (key, title, ...kids) => $("details", { "data-key": key }, $("summary", {}, title), kids);
  const status = s => $("span", { class: "status " + slug(s) }, s);

  // Charts.
  const chart = (name, text, cls) => $("div", { class: "chart " + (cls || ""), "data-chart": name, role: "img", "aria-label": text });
  const axisNames = { tokens: "tokens", flops: "FLOPs", seconds: "training time" };
  const xformat = v => choice.x === "seconds" ? time(v) : count(v);
  const base = () => ({
    animation: false, backgroundColor: "transparent", textStyle: { color: css("--fg"), fontFamily: "system-ui, sans-serif" }, color: [0, 1, 2, 3, 4, 5, 6, 7].map(i => css("--c" + i)),
    grid: { left: 30, right: 24, top: 44, bottom: 54, containLabel: true },
    legend: { type: "scroll", top: 4, textStyle: { color: css("--fg") }, pageTextStyle: { color: css("--fg") } },
    tooltip: { trigger: "axis", renderMode: "richText", backgroundColor: css("--card"), borderColor: css("--line"), textStyle: { color: css("--fg") } }, // text, not HTML
  });
  const axis = (name, o) => Object.assign({ name, nameLocation: "middle", nameGap: 32, nameTextStyle: { color: css("--soft") }, axisLabel: { color: css("--soft"), hideOverlap: true }, axisLine: { lineStyle: { color: css("--line") } }, splitLine: { lineStyle: { color: css("--line") } } }, o);
  const curves = (values, yName, yFormat, o = {}) => {
    const list = [], option = base();
    let n = 0;
    for (const r of page.runs) {
      const { at } = starts(r);
      for (const b of stages(r)) {
        const s = b.stage.series, color = option.color[n++ % 8];
        if (!s) continue;
        const from = at[b.address][choice.x], y = values(s);
        const data = s[choice.x].map((x, i) => [from + x, y[i]]);
        const grown = b.stage.grow && { silent: true, symbol: "none", lineStyle: { type: "dashed", color: css("--soft") }, label: { formatter: "+" + b.stage.added, color: css("--soft"), position: "insideEndTop" }, data: [{ xAxis: from }] };
        const raw = { name: label(r, b), type: "line", showSymbol: data.length < 3, data, itemStyle: { color }, lineStyle: { color, width: 1, opacity: o.smooth ? .3 : 1 }, sampling: "lttb", markLine: grown || undefined };
        list.push(raw);
        if (o.smooth) {
          let m = 0, w = 0;
          list.push({ name: label(r, b), type: "line", showSymbol: data.length < 3, itemStyle: { color }, lineStyle: { color, width: 2.2 }, tooltip: { show: false },
            data: data.map(([x, v]) => { if (v !== null) { m = .9 * m + .1 * v; w = .9 * w + .1; } return [x, w ? m / w : null]; }) });
        }
        if (o.ends) for (const e of r.blocks) if (e.model === b.address && e.values && typeof e.values[o.ends] === "number")
          list.push({ name: "validation", type: "scatter", symbol: "diamond", symbolSize: 13, itemStyle: { color, borderColor: css("--fg"), borderWidth: 1 }, data: [[last(data)[0], e.values[o.ends]]] });
      }
    }
    if (!list.length) return null;
    return Object.assign(option, { series: list, dataZoom: [{ type: "inside", filterMode: "none" }],
      xAxis: axis(axisNames[choice.x], { type: "value", min: 0, max: "dataMax", axisLabel: { formatter: xformat, color: css("--soft"), hideOverlap: true } }),
      yAxis: axis(yName, { type: "value", scale: true, nameGap: 46, axisLabel: { formatter: yFormat, color: css("--soft") } }),
      tooltip: Object.assign(option.tooltip, { valueFormatter: v => v === null || v === undefined ? "–" : yFormat(v) }) });
  };
  const options = {
    loss: () => choice.y === "loss" ? curves(s => s.loss, "loss, nats a token", v => fixed(v, 3), { smooth: true, ends: "loss" })
      : curves(s => s.loss.map(l => l === null ? null : Math.exp(l)), "perplexity", v => count(v), { smooth: true, ends: "perplexity" }),
    speed: () => curves(s => s.tokens_per_second, "", count),
    mfu: () => curves(s => s.mfu.map(v => 100 * v), "", v => fixed(v, 0)),
    lr: () => curves(s => s.learning_rate, "", v => v.toExponential(1)),
    norm: () => curves(s => s.grad_norm, "", v => count(v), { smooth: true }),
    memory: () => {
      const rows = [];
      for (const r of page.runs) for (const b of stages(r)) {
        const s = b.stage;
        rows.push({ name: label(r, b) + " planned", by: s.planned.bytes });
        if (s.measured_bytes) rows.push({ name: "measured", by: { measured: s.measured_bytes } });
        rows.push({ name: "vanilla", by: s.vanilla.bytes });
      }
      if (!rows.length) return null;
      rows.reverse();
      const option = base();
      return Object.assign(option, { legend: Object.assign(option.legend, { type: innerWidth < 600 ? "plain" : "scroll" }),
        grid: { left: 12, right: 30, top: innerWidth < 600 ? 96 : 44, bottom: 40, containLabel: true }, tooltip: Object.assign(option.tooltip, { axisPointer: { type: "shadow" }, valueFormatter: v => v ? bytes(v) : "–" }),
        xAxis: axis("", { type: "value", axisLabel: { formatter: bytes, color: css("--soft"), hideOverlap: true } }),
        yAxis: { type: "category", data: rows.map((r, i) => r.name + "\u200b".repeat(i)), axisLabel: { color: css("--fg"), width: innerWidth < 600 ? 110 : 260, overflow: "truncate" }, axisTick: { show: false } },
        series: page.kinds.concat("measured").map(k => ({ name: k, type: "bar", stack: "all", barMaxWidth: 22, itemStyle: k === "measured" ? { color: css("--soft") } : undefined, data: rows.map(r => r.by[k] || 0) })) });
    },
  };
  const draw = () => {
    for (const e of document.querySelectorAll("[data-chart]")) {
      const o = options[e.dataset.chart]();
      let c = charts.get(e.dataset.chart);
      if (c && c.getDom() !== e) { c.dispose(); c = null; }
      if (!o) continue;
      if (!c) charts.set(e.dataset.chart, c = echarts.init(e, null, { renderer: "svg" }));
      c.setOption(o, { notMerge: true });
    }
  };
  const radios = (name, what, list) => $("fieldset", {}, $("legend", {}, what), list.map(([v, text]) => {
    const i = $("input", { type: "radio", name, value: v, checked: choice[name] === v });
    i.addEventListener("change", () => { choice[name] = v; draw(); });
    return $("label", {}, i, " " + text);
  }));

  // The graph of blocks; each leads to what the configuration says of it.
  const graph = r => {
    const g = r.graph;
    const svg = S("svg", { viewBox: `0 0 ${g.width} ${g.height}`, width: g.width, height: g.height, role: "group", "aria-label": "Graph of the pipeline's blocks" });
    for (const e of g.edges) svg.append(S("path", { class: "edge", d: e.path }));
    for (const n of g.nodes) {
      const id = "block-" + page.runs.indexOf(r) + slug(n.id), a = S("a", { href: "#" + id });
      a.addEventListener("click", () => { const d = document.getElementById(id); if (d) d.open = true; });
      const short = n.label.length > 27 ? "…" + n.label.slice(-26) : n.label;
      if (short !== n.label) a.append(S("title", {}, n.label));
      a.append(S("rect", { class: "box " + slug(n.status), x: n.x, y: n.y, width: n.w, height: n.h, rx: 6 }),
        S("text", { x: n.x + n.w / 2, y: n.y + 18, "text-anchor": "middle" }, short), S("text", { class: "sub", x: n.x + n.w / 2, y: n.y + 34, "text-anchor": "middle" }, n.sub));
      svg.append(a);
    }
    return $("div", { class: "card scroll", tabindex: 0, role: "region", "aria-label": "graph" + of(r) }, svg);
  };

  // Layers of each stage side by side, bottom first: kept ones lead straight on, new ones come from two below.
  const layers = r => {
    const list = stages(r), W = 168, H = 30, GX = 64, GY = 8, most = Math.max(0, ...list.map(b => b.stage.layers.length));
    if (!most) return null;
    const height = most * (H + GY) + 44, svg = S("svg", { viewBox: `0 0 ${list.length * (W + GX)} ${height}`, width: list.length * (W + GX), height, role: "img", "aria-label": "Layers of each stage, and the layers they came from; the table below says the same" });
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
      svg.append(S("text", { x: n * (W + GX) + W / 2, y: height - 22, "text-anchor": "middle" }, b.address), S("text", { class: "sub", x: n * (W + GX) + W / 2, y: height - 6, "text-anchor": "middle" }, b.stage.grow || `${b.stage.layers.length} layers`));
    });
    const rows = list.flatMap(b => b.stage.layers.map((l, i) => [b.address, i, l.old >= 0 && b.stage.from ? "layer " + l.old + " of " + b.stage.from : (l.from || []).map(f => `${+f.weight.toPrecision(3)} × layer ${f.layer}`).join(" + ") || "first weights", l.frozen ? "frozen" : "trained", l.rank ? "r = " + l.rank : "none"]));
    return [$("div", { class: "card scroll", tabindex: 0, role: "region", "aria-label": "layers" + of(r) }, svg), $("ul", { class: "key" }, [["trained", "--train"], ["new, trained", "--new"], ["frozen", "--frozen"]].map(([t, c]) => $("li", { style: `--k: var(${c})` }, t))),
      details("layers " + r.name, "The layers as a table", table("Layers of each stage" + of(r), [["stage"], ["layer", "n"], ["made of"], ["state"], ["adapter"]], rows))];
  };

  const evaluations = () => {
    const rows = [];
    for (const r of page.runs) for (const b of r.blocks) if (b.kind === "evaluate" && b.values && b.values.loss !== undefined) {
      const v = b.values;
      rows.push([label(r, b), b.model, measured(v, "loss", 4), measured(v, "stderr", 4), measured(v, "perplexity", 2), measured(v, "bits_per_byte", 4), v.tokens !== undefined ? count(v.tokens) : "", fixed(v.unigram_entropy, 4), fixed(v.random_guess, 4)]);
    }
    return rows.length > 0 && section("evaluation", "Evaluation", $("div", { class: "card" }, table("Held-out loss in nats a token, with its standard error; beside it what guessing by frequency, and guessing at random, would give", [["evaluation"], ["model"], ["loss", "n"], ["± stderr", "n"], ["perplexity", "n"], ["bits a byte", "n"], ["tokens", "n"], ["unigram", "n"], ["random", "n"]], rows)));
  };
  const samples = () => {
    const list = page.runs.flatMap(r => r.blocks.filter(b => b.values && Array.isArray(b.values.texts)).map(b => [label(r, b), b.values.texts]));
    return list.length > 0 && section("samples", "Samples", list.map(([n, texts]) => $("div", { class: "card" }, $("code", {}, n), texts.map(t => $("blockquote", { tabindex: 0 }, t)))));
  };
  const stageTable = () => {
    const rows = page.runs.flatMap(r => stages(r).map(b => {
      const s = b.stage, f = s.planned, x = s.series;
      return [label(r, b), status(b.status), `${s.done} / ${s.steps}`, s.layers.length, count(f.trainable_parameters + f.adapter_parameters), count(f.frozen_parameters), count(f.tokens), count(f.flops), bytes(f.peak_bytes),
        s.measured_bytes ? (s.measured_bytes === f.peak_bytes ? "the same" : bytes(s.measured_bytes)) : "not run", bytes(s.vanilla.peak_bytes), (100 * (1 - f.peak_bytes / s.vanilla.peak_bytes)).toFixed(1) + " %",
        x && x.mean !== null ? fixed(x.mean, 4) : "", x ? count(last(x.tokens) / last(x.seconds)) : "", x && x.skipped ? x.skipped : "0"];
    }));
    return rows.length > 0 && section("stages", "Stages", $("div", { class: "card" }, table("Stages: planned, and what the run took", [["stage"], ["status"], ["steps", "n"], ["layers", "n"], ["trained", "n"], ["frozen", "n"], ["tokens", "n"], ["FLOPs", "n"], ["peak", "n"], ["measured", "n"], ["vanilla", "n"], ["saved", "n"], ["loss", "n"], ["tokens/s", "n"], ["skipped", "n"]], rows)));
  };

  const summary = r => {
    const list = stages(r), { end } = starts(r), val = r.blocks.filter(b => b.kind === "evaluate" && b.values && b.values.loss !== undefined).map(b => b.values);
    const seen = Object.values(end), peak = Math.max(0, ...list.map(b => b.stage.measured_bytes || b.stage.planned.peak_bytes)), states = Math.max(0, ...list.map(b => b.stage.planned.model_state_bytes));
    const most = k => Math.max(0, ...seen.map(e => e[k]));
    return { peak, states, vanilla: Math.max(0, ...list.map(b => b.stage.vanilla.peak_bytes)), tokens: most("tokens"), flops: most("flops"), seconds: most("seconds"), val: last(val), loss: last(list.map(b => b.stage.series && b.stage.series.mean).filter(x => typeof x === "number")) };
  };
  const comparison = () => {
    const s = page.runs.map(summary), row = (name, f) => [name, ...s.map(f)];
    return section("compare", "Side by side", $("div", { class: "card" }, table("The runs side by side", [["measure", ""], ...page.runs.map(r => [r.name, "n"])], [
      row("validation loss, nats a token", x => x.val ? `${measured(x.val, "loss", 4)}${x.val.stderr ? " ± " + fixed(x.val.stderr, 4) : ""}` : "–"), row("validation perplexity", x => x.val ? measured(x.val, "perplexity", 2) : "–"),
      row("training loss at the end", x => x.loss !== undefined ? fixed(x.loss, 4) : "–"), row("largest peak of device memory", x => bytes(x.peak)), row("largest model states", x => bytes(x.states)),
      row("longest chain: tokens", x => count(x.tokens)), row("longest chain: FLOPs", x => count(x.flops)), row("longest chain: training time", x => time(x.seconds)), row("stages", (_, i) => stages(page.runs[i]).length)])),
      variables());
  };
  const units = { tokens: count, FLOP: count, bytes, seconds: time, nats: v => fixed(v, 4) };
  const cell = (c, v) => v === undefined || v === null ? "" : typeof v === "number" && units[c.unit] ? units[c.unit](v) : String(v);
  const sweep = () => { // stages from which no other goes on, each with what it is made from
    const t = page.table, name = r => [r.run ? r.run + ": " : "", $("code", {}, r.address), r.best ? [" ", $("span", { class: "status done" }, "lowest loss")] : ""];
    const means = t.means || [], shared = t.columns.filter(c => means.length && (c.name in means[0].settings || c.group === "result"));
    const mean = (c, m) => { if (c.group !== "result") return cell(c, m.settings[c.name]); const x = m.results[c.name]; return x ? cell(c, x.mean) + (x.half === undefined ? "" : " ± " + cell(c, x.half)) : ""; };
    return section("runs", "Runs", $("div", { class: "card" }, table("In what the runs differ, and what came of them", [["run"], ["status"], ...t.columns.map(c => [c.name, "n"])], t.rows.map(r => [name(r), status(r.status), ...t.columns.map(c => cell(c, r.values[c.name]))]))),
      means.length > 0 && $("div", { class: "card" }, table("Means over seeds, with the interval of 95 % confidence", [["runs", "n"], ...shared.map(c => [c.name, "n"])], means.map(m => [m.runs, ...shared.map(c => mean(c, m))]))));
  };
  const variables = () => { // only what differs
    const names = [...new Set(page.runs.flatMap(r => (r.variables || []).map(v => v.name)))], value = (r, n) => ((r.variables || []).find(v => v.name === n) || { value: "–" }).value;
    const rows = names.filter(n => new Set(page.runs.map(r => value(r, n))).size > 1).map(n => [n, ...page.runs.map(r => value(r, n))]);
    return rows.length ? $("div", { class: "card" }, table("Variables that differ", [["variable"], ...page.runs.map(r => [r.name])], rows)) : null;
  };
  const tiles = r => {
    const s = summary(r), list = [], long = (r.outputs || []).filter(o => o.value.length > 60);
    for (const o of r.outputs || []) if (!long.includes(o)) list.push([o.value, o.name + (o.description ? " — " + o.description : "")]);
    if (s.peak) list.push([bytes(s.peak), `largest peak of device memory; vanilla ${bytes(s.vanilla)}`]);
    if (s.tokens) list.push([count(s.tokens), "tokens trained on"], [time(s.seconds), "of training"]);
    return [list.length > 0 && $("div", { class: "tiles" }, list.map(([v, n]) => $("div", { class: "tile" }, $("b", {}, v), $("span", {}, n)))),
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
      r.blocks.map(b => { const d = details("block " + r.name + b.address, [$("code", {}, b.address), " ", status(b.status), b.why ? $("span", { class: "soft" }, " " + b.why) : ""],
        $("div", { class: "card" }, $("p", { class: "soft" }, `${b.file}:${b.line}`, b.trace_id ? ` · trace ${b.trace_id}` : "", b.stage && b.stage.adapter ? ` · ${b.stage.adapter}` : ""), table("Attributes of " + b.address + of(r), [["attribute"], ["value"]], (b.attributes || []).map(a => [a[0], $("code", {}, a[1])]))));
        d.id = "block-" + page.runs.indexOf(r) + slug(b.address); return d; })];
  };

  const render = () => {
    const open = new Set([...document.querySelectorAll("details[open]")].map(d => d.dataset.key)), focus = document.activeElement && document.activeElement.id;
    const running = page.runs.some(r => r.running), one = page.runs[0], steps = page.runs.some(r => stages(r).some(b => b.stage.series));
    const main = $("main", { id: "main", tabindex: -1 }, page.runs.map(r => r.note && $("p", {}, (many() ? r.name + ": " : "") + r.note)), !many() && tiles(one), troubles(), many() && comparison(), page.table && sweep(),
      steps && section("training", "Training", $("div", { class: "card" }, radios("x", "against", [["tokens", "tokens"], ["flops", "FLOPs"], ["seconds", "time"]]), radios("y", "show", [["loss", "loss"], ["perplexity", "perplexity"]]), chart("loss", "Training loss of every stage; the table of stages and that of evaluations have the numbers"),
        $("p", { class: "soft" }, "Thin: each step. Thick: exponential mean over about ten. Dashed: the model grew by so many layers. Diamonds: held-out. Scroll to zoom.")),
        $("div", { class: "pair" }, [["speed", "Throughput, tokens a second"], ["mfu", "MFU, % of the measured peak"], ["lr", "Learning rate"], ["norm", "Gradient norm"]].map(([k, t]) => $("div", { class: "card" }, $("h3", {}, t), chart(k, t + " of every stage", "low"))))),
      page.runs.some(r => stages(r).length) && section("memory", "Device memory", (() => { const n = page.runs.flatMap(stages).length, e = chart("memory", "Device memory of every stage by kind: planned, measured and vanilla; the table of stages has the numbers"); e.style.height = 120 + n * 84 + "px"; return $("div", { class: "card" }, e, $("p", { class: "soft" }, "Planned: the arena that the plan lays out. Measured: what the run allocated. Vanilla: the full model trained at once with the same batch.")); })()),
      stageTable(), evaluations(), page.runs.some(r => stages(r).length) && section("growth", "Growth, layer by layer", page.runs.map(r => [many() && $("h3", {}, r.name), layers(r)])), samples(),
      section("graph", "Pipeline", page.runs.map(r => [many() && $("h3", {}, r.name), r.graph && r.graph.nodes ? graph(r) : null])),
      section("configuration", "Configuration", page.runs.map(r => [many() && $("h3", {}, r.name), configuration(r)])),
      section("environment", "Environment", page.runs.map(r => $("div", { class: "card" }, table("Where it was planned and run" + of(r), [["what"], ["value"]], r.environment.concat([["planned", when(r.planned)], ["state", r.dir]]).map(e => [e[0], e[1]]))))));
    const header = $("header", {}, $("h1", {}, page.title, running ? $("span", { class: "live", role: "status" }, page.live ? "live" : "running") : null), $("p", { class: "meta" }, many() ? page.runs.map(r => r.name).join(" · ") : [one.device, " · planned ", when(one.planned)]),
      $("nav", { "aria-label": "sections" }, $("ul", {}, [...main.querySelectorAll("section")].map(s => $("li", {}, $("a", { href: "#" + s.id }, s.querySelector("h2").textContent))))));
    document.getElementById("app").replaceChildren(header, main);
    for (const d of document.querySelectorAll("details")) if (open.has(d.dataset.key)) d.open = true;
    if (focus && document.getElementById(focus)) document.getElementById(focus).focus({ preventScroll: true });
    draw();
  };
  render();
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target) { if (target.tagName === "DETAILS") target.open = true; target.scrollIntoView(); }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("resize", () => { for (const c of charts.values()) c.resize(); });
  if (page.live) {
    const source = new EventSource("/events" + location.search);
    source.onmessage = e => { page = JSON.parse(e.data); const y = scrollY; render(); scrollTo(0, y); };
    source.addEventListener("end", () => { source.close(); page.live = false; });
  }
})();
