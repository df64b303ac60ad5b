"use strict";
// charts draws lines over what was trained. They share what part of it is seen, so that all zoom together, and keep it
// when there is more to draw.
const charts = (() => {
  const view = { range: null, onchange: () => {} }; // null for all
  const all = new Map(); // by name: { element, chart, spec, x, y }
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const font = "12px system-ui, -apple-system, \"Segoe UI\", sans-serif";
  const pen = document.createElement("canvas").getContext("2d");
  const width = text => { pen.font = font; return pen.measureText(text).width; };

  // fit shortens a text from its start to a width: ends of addresses tell more.
  const fit = (text, most) => {
    if (width(text) <= most) return text;
    const letters = [...text];
    let lo = 1, hi = letters.length;
    while (lo < hi) { const mid = (lo + hi) >> 1; if (width("…" + letters.slice(mid).join("")) > most) lo = mid + 1; else hi = mid; }
    return "…" + letters.slice(lo).join("");
  };

  // The index of the point nearest to x; -1 outside of the points.
  const nearest = (list, x) => {
    if (!list.length || x > list[list.length - 1]) return -1;
    let lo = 0, hi = list.length - 1;
    while (lo < hi) { const mid = (lo + hi) >> 1; if (list[mid] < x) lo = mid + 1; else hi = mid; }
    return lo > 0 && x - list[lo - 1] < list[lo] - x ? lo - 1 : lo;
  };
  // Which points are seen, and one beyond each end.
  const seen = (list, [lo, hi]) => {
    let i = 0, j = list.length;
    while (i < j && list[i] < lo) i++;
    while (j > i && list[j - 1] > hi) j--;
    return [Math.max(0, i - 1), Math.min(list.length, j + 1)];
  };

  const farthest = () => { // where all curves end
    let most = 0;
    for (const c of all.values()) if (c.spec) for (const l of c.spec.curves) if (l.x.length) most = Math.max(most, l.x[l.x.length - 1]);
    return most || 1;
  };
  const window_ = () => view.range || [0, farthest()];

  const crowd = 8; // of more curves the means alone are drawn: what lies on each other cannot be read
  // The values that an axis has to hold: the trend, and of the single steps what is not far from it.
  const reach = (spec, range) => {
    let lo = Infinity, hi = -Infinity, least = Infinity, most = -Infinity;
    const wide = v => { if (Number.isFinite(v)) { if (v < lo) lo = v; if (v > hi) hi = v; } };
    const far = v => { if (Number.isFinite(v)) { if (v < least) least = v; if (v > most) most = v; } };
    for (const c of spec.curves) {
      const [i, j] = seen(c.x, range);
      if (spec.curves.length > crowd) { for (let k = i; k < j; k++) wide(c.main[k]); continue; }
      for (let k = i; k < j; k++) {
        if (c.low) { wide(c.low[k]); wide(c.high[k]); }
        wide(c.main[k]);
        if (c.raw) far(c.raw[k]);
        if (c.min) { far(c.min[k]); far(c.max[k]); }
      }
    }
    for (const p of spec.points || []) if (p.x >= range[0] && p.x <= range[1]) wide(p.y);
    for (const l of spec.between || []) { const [i, j] = seen(l.x, range); for (let k = i; k < j; k++) far(l.main[k]); }
    const more = (hi - lo) / 2 || Math.abs(hi) * .1 || 1;
    return [Math.max(Math.min(lo, least), lo - more), Math.min(Math.max(hi, most), hi + more)];
  };

  const polygon = (x, low, high, [i, j], color, fillOpacity, strokeOpacity) => ({ // a band, without what has no value
    type: "custom", silent: true, clip: true, tooltip: { show: false }, z: 1, data: [[x[i] || 0, 0]], encode: { x: 0, y: 1 },
    renderItem: (_, api) => {
      const parts = [];
      let up = [], down = [];
      const end = () => { if (up.length > 1) parts.push(up.concat(down.reverse())); up = []; down = []; };
      for (let k = i; k < j; k++) {
        if (!Number.isFinite(low[k]) || !Number.isFinite(high[k])) { end(); continue; }
        up.push(api.coord([x[k], high[k]])); down.push(api.coord([x[k], low[k]]));
      }
      end();
      return { type: "group", children: parts.map(points => ({ type: "polygon", shape: { points }, style: { fill: color, fillOpacity, stroke: color, strokeOpacity, lineWidth: strokeOpacity ? .8 : 0 } })) };
    },
  });

  const option = c => {
    const { spec } = c, range = window_(), W = c.element.clientWidth || 300, H = c.element.clientHeight || 240;
    const soft = css("--soft"), line = css("--line"), fg = css("--fg");
    const y = units.ticks(spec.y, ...reach(spec, range), Math.max(2, Math.floor((H - 60) / 34)), true);
    const left = Math.ceil(Math.max(...y.labels.map(width))) + 12;
    let x, n = Math.max(1, Math.min(10, Math.floor((W - left) / 44)));
    for (; ; n--) { // as many as stand apart
      x = units.ticks(spec.x, ...range, n);
      const room = (W - left - 20) * x.step / (range[1] - range[0]);
      if (n === 1 || Math.max(0, ...x.labels.map(width)) + 14 <= room) break;
    }
    const right = Math.ceil(Math.max(12, width(x.labels[x.labels.length - 1] || "") / 2 + 4));
    Object.assign(c, { x, y, left, right });
    const label = { color: soft, fontFamily: "system-ui, -apple-system, \"Segoe UI\", sans-serif", fontSize: 12, hideOverlap: false };
    const axis = (t, o) => Object.assign({ type: "value", min: t.lo, max: t.hi, axisTick: { show: false, customValues: t.values }, axisLine: { show: true, lineStyle: { color: line } }, splitLine: { lineStyle: { color: line, opacity: .7 } },
      axisLabel: Object.assign({ customValues: t.values, formatter: v => t.labels[t.values.findIndex(w => Math.abs(w - v) <= t.step * 1e-6)] ?? "", showMinLabel: true, showMaxLabel: true }, label) }, o);
    const series = [], beyond = [], across = W - left - right, place = v => left + (v - range[0]) / (range[1] - range[0]) * across;
    let labelled = -Infinity; // how far the labels above the chart reach
    const above = (text, v) => { // where there is room for one; at an edge it stands beside its line
      const px = place(v), w = width(text), align = px + w / 2 > W - 2 ? "right" : px - w / 2 < 2 ? "left" : "center", from = px - (align === "right" ? w : align === "left" ? 0 : w / 2);
      const show = !!spec.says && from > labelled + 8;
      if (show) labelled = from + w;
      return { show, align, rotate: 0, position: "end", formatter: text, color: soft, fontSize: 11, distance: 3 };
    };
    const tall = 1e3 * (y.hi - y.lo), near = v => v === null || v === undefined ? v : Math.max(y.lo - tall, Math.min(v, y.hi + tall)); // what is farther has no place that can be drawn
    for (const l of spec.curves) {
      const color = css("--c" + l.color), part = seen(l.x, range), [i, j] = part, many = j - i;
      const points = list => { const d = []; for (let k = i; k < j; k++) d.push([l.x[k], near(list[k])]); return d; };
      const alone = spec.curves.length <= crowd;
      if (l.min && alone) series.push(polygon(l.x, l.min.map(near), l.max.map(near), part, color, .14, .35));
      if (l.low && alone) series.push(polygon(l.x, l.low.map(near), l.high.map(near), part, color, .22, 0));
      const style = { type: "line", silent: true, showSymbol: many < 3 || l.dots && many * 10 < across, symbolSize: 5, itemStyle: { color }, emphasis: { disabled: true }, clip: true };
      if (l.raw && alone) series.push(Object.assign({}, style, { data: points(l.raw), showSymbol: false, z: 2, lineStyle: { color, width: 1, opacity: l.min ? .5 : .35 } }));
      const grown = l.grown !== undefined && l.grown > range[0] && l.grown < range[1];
      series.push(Object.assign({}, style, { name: l.name, data: points(l.main), z: 3, lineStyle: { color, width: spec.thin ? 1.4 : 2.2, type: l.dashed ? "dashed" : "solid" },
        markLine: grown ? { silent: true, symbol: "none", animation: false, lineStyle: { type: [4, 4], color: soft, width: 1 }, label: above(l.says, l.grown), data: [{ xAxis: l.grown }] } : undefined }));
      // What lies outside of the axis, at its edge: one mark in eight pixels.
      let at = { 1: -Infinity, [-1]: -Infinity };
      for (let k = i; k < j; k++) {
        const top = (alone && (l.max || l.raw) || l.main)[k], low = (alone && (l.min || l.raw) || l.main)[k];
        for (const [v, side] of [[top, 1], [low, -1]]) {
          if (v === null || v === undefined || !(side > 0 ? v > y.hi : v < y.lo) || l.x[k] < range[0] || l.x[k] > range[1]) continue;
          const px = place(l.x[k]);
          if (px - at[side] > 8) { at[side] = px; beyond.push({ value: [l.x[k], side > 0 ? y.hi : y.lo], symbolRotate: side > 0 ? 0 : 180, symbolOffset: [0, side > 0 ? 5 : -5], itemStyle: { color } }); }
        }
      }
    }
    for (const l of spec.between || []) { // a line with a dot an evaluation, if they stand apart
      const [i, j] = seen(l.x, range), color = css("--c" + l.color), d = [];
      for (let k = i; k < j; k++) d.push([l.x[k], near(l.main[k])]);
      series.push({ type: "line", silent: true, name: l.name, data: d, z: 4, clip: true, emphasis: { disabled: true }, showSymbol: (j - i) * 10 < across, symbol: "circle", symbolSize: 7, itemStyle: { color, borderColor: fg, borderWidth: 1 }, lineStyle: { color, width: 1.4, type: "dotted" } });
    }
    if (beyond.length) series.push({ type: "scatter", id: "beyond", silent: true, symbol: "triangle", symbolSize: 8, z: 5, clip: false, tooltip: { show: false }, data: beyond });
    const held = (spec.points || []).filter(p => p.x >= range[0] && p.x <= range[1]);
    if (held.length) series.push({ type: "scatter", id: "held-out", silent: true, symbol: "diamond", symbolSize: 12, z: 6, clip: false, tooltip: { show: false }, data: held.map(p => ({ value: [p.x, p.y], itemStyle: { color: css("--c" + p.color), borderColor: fg, borderWidth: 1 } })) });
    return {
      animation: false, backgroundColor: "transparent", textStyle: { color: fg }, grid: { left, right, top: spec.says ? 24 : 14, bottom: 44, outerBoundsMode: "none" },
      xAxis: axis(x, { name: spec.xName, nameLocation: "middle", nameGap: 26, nameTextStyle: { color: soft, fontSize: 12 }, splitLine: { show: false } }),
      yAxis: axis(y, {}), series,
      tooltip: { trigger: "axis", confine: true, renderMode: "richText", transitionDuration: 0, hideDelay: 0, axisPointer: { type: "line", snap: false, lineStyle: { color: soft } }, backgroundColor: css("--card"), borderColor: line, padding: 8, textStyle: { color: fg, fontSize: 12, lineHeight: 17 }, formatter: list => list.length ? says(spec, list[0].axisValue) : "" }, // text, not HTML
    };
  };

  const plain = name => fit(name, 180).replaceAll("{", "{\u200b"); // braces would begin a style
  const says = (spec, x) => {
    const text = units.kinds[spec.x].text, value = units.kinds[spec.y].text, show = v => v === null || v === undefined ? "not finite" : value(v);
    const found = spec.curves.concat(spec.between || []).map(l => [l, l.x.length && x >= l.from ? nearest(l.x, x) : -1]).filter(([, k]) => k >= 0), most = 8;
    const rows = found.slice(0, most).map(([l, k]) => {
      let row = `${plain(l.name)}, step ${l.step[k].toLocaleString("en")}: ${show(l.main[k])}`;
      if (found.length > 3) return row;
      if (l.low && Number.isFinite(l.low[k])) row += `\n    ${l.band} ${show(l.low[k])} to ${show(l.high[k])}`;
      if (l.min && l.min[k] !== null) row += `\n    least ${show(l.min[k])}, most ${show(l.max[k])}`;
      else if (l.raw) row += `\n    this step ${show(l.raw[k])}`;
      return row;
    });
    if (found.length > most) rows.push(`and ${found.length - most} more`);
    return rows.length ? [`${text(x)}${spec.x === "seconds" ? "" : " " + spec.xName}`, ...rows].join("\n") : "";
  };

  // Dragging over a chart with a mouse chooses what is seen; on a touch screen that scrolls the page, and the buttons do it.
  const draggable = c => {
    let start = null;
    const zr = c.chart.getZr(), inside = e => c.chart.containPixel("grid", [e.offsetX, e.offsetY]);
    const at = e => c.chart.convertFromPixel({ xAxisIndex: 0 }, Math.max(c.left, Math.min(e.offsetX, c.element.clientWidth - c.right)));
    const mark = () => c.element.querySelector(".selection") || c.element.appendChild(Object.assign(document.createElement("div"), { className: "selection" }));
    const drop = () => { start = null; const m = c.element.querySelector(".selection"); if (m) m.remove(); };
    zr.on("mousedown", e => { if (!(e.event.zrByTouch || /^touch/.test(e.event.type)) && inside(e)) start = { px: e.offsetX, x: at(e) }; });
    zr.on("mousemove", e => {
      if (!start) return;
      const px = Math.max(c.left, Math.min(e.offsetX, c.element.clientWidth - c.right));
      Object.assign(mark().style, { left: Math.min(px, start.px) + "px", width: Math.abs(px - start.px) + "px" });
    });
    zr.on("mouseup", e => {
      if (!start) return;
      const from = start.x, to = at(e), far = Math.abs(e.offsetX - start.px) > 6;
      drop();
      if (far) zoom([Math.min(from, to), Math.max(from, to)]);
    });
    zr.on("globalout", drop);
    zr.on("dblclick", () => zoom(null));
  };

  const zoom = range => {
    const end = farthest();
    if (range) {
      const least = end / 1e6, size = Math.min(end, Math.max(least, range[1] - range[0])), lo = Math.max(0, Math.min(range[0], end - size));
      range = size >= end * (1 - 1e-9) ? null : [lo, lo + size];
    }
    view.range = range;
    redraw();
    view.onchange();
  };
  const by = (factor, shift) => { // the middle stays, or moves by a share of what is seen
    const [lo, hi] = window_(), mid = (lo + hi) / 2 + shift * (hi - lo), half = (hi - lo) * factor / 2;
    zoom([mid - half, mid + half]);
  };

  const paint = c => {
    if (!c.spec || !c.spec.curves.length || !c.element.isConnected) return;
    if (!c.chart) { c.chart = echarts.init(c.element, null, { renderer: "svg" }); draggable(c); }
    c.chart.setOption(option(c), { replaceMerge: ["series"] });
  };
  const redraw = () => { for (const c of all.values()) paint(c); };
  // set draws a chart into an element: spec has x and y, the kinds of its axes, xName, and curves of { name, color, x,
  // from, step, main } that may have raw, min, max, low, high and grown.
  const set = (name, element, spec) => {
    let c = all.get(name);
    if (!c || c.element !== element) { if (c && c.chart) c.chart.dispose(); all.set(name, c = { element }); }
    c.spec = spec;
  };
  const resize = () => { for (const c of all.values()) if (c.chart) { c.chart.dispatchAction({ type: "hideTip" }); c.chart.resize({ width: "auto", height: "auto" }); } redraw(); };
  return { set, redraw, resize, zoom, by, view, width, fit, css, all, range: window_ };
})();
