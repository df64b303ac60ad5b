"use strict";
// units has, for each kind of quantity, where the ticks of an axis lie and how values are written. Every axis of the page
// is made of it.
const units = (() => {
  const decimals = x => { // that write x in full
    for (let d = 0; d < 15; d++) { const y = x * 10 ** d; if (x === 0 || Math.round(y) && Math.abs(y - Math.round(y)) < 1e-6) return d; }
    return 15;
  };
  const strip = s => s.includes(".") ? s.replace(/\.?0+$/, "") : s;
  const prefixes = [[1e24, "Y"], [1e21, "Z"], [1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const binary = [[2 ** 50, "PiB"], [2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]];
  const clock = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  // A step is the smallest round distance that is at least so large.
  const round = atLeast => {
    const power = 10 ** Math.floor(Math.log10(atLeast) + 1e-12);
    for (const f of [1, 2, 5]) if (f * power >= atLeast * (1 - 1e-9)) return f * power;
    return 10 * power;
  };
  const power2 = atLeast => Math.max(1, 2 ** Math.ceil(Math.log2(atLeast) - 1e-9));
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  const duration = atLeast => atLeast < 1 ? round(atLeast) : steps.find(s => s >= atLeast * (1 - 1e-9)) || round(atLeast / 86400) * 86400;
  const whole = atLeast => Math.max(1, round(atLeast));

  const scaled = (x, list) => Math.abs(x) >= 1e28 ? undefined : list.find(([size]) => Math.abs(x) >= size * (1 - 1e-12));
  const withUnit = (list, space) => (v, step) => {
    const u = scaled(v, list);
    return u ? strip((v / u[0]).toFixed(decimals(step / u[0]))) + space + u[1] : v === 0 ? "0" : strip(v.toFixed(decimals(step)));
  };
  const plain = (v, step) => {
    if (Math.abs(v) >= 1e4 || step >= 1e4) return withUnit(prefixes, "")(v, step);
    return v !== 0 && step < 1e-3 ? v.toExponential(Math.max(0, Math.round(Math.floor(Math.log10(Math.abs(v)) + 1e-9) - Math.floor(Math.log10(step) + 1e-9)))).replace(/\.?0*e/, "e").replace("e+", "e") : v === 0 && step < 1e-3 ? "0" : v.toFixed(decimals(step));
  };
  const seconds = (v, step) => {
    const u = clock.find(([size]) => step >= size / 2) || clock[3];
    return v === 0 ? "0" : strip((v / u[0]).toFixed(decimals(step / u[0] % 1))) + " " + u[1];
  };

  // What tables and tooltips say: three digits, four of a loss.
  const three = (list, space) => v => {
    let u = scaled(v * 1.0005, list);
    if (!u) return String(+(+v).toPrecision(3));
    return +(v / u[0]).toPrecision(v / u[0] >= 999.5 ? 4 : 3) + space + u[1];
  };
  const count = three(prefixes, "");
  const bytes = three(binary, " ");
  const small = v => v === 0 ? "0" : Math.abs(v) < 1e-3 ? v.toExponential(2) : count(v);
  const took = s => s >= 86400 ? (s / 86400).toFixed(1) + " d" : s >= 3600 ? (s / 3600).toFixed(1) + " h" : s >= 60 ? (s / 60).toFixed(1) + " min" : s >= 10 ? s.toFixed(0) + " s" : +s.toPrecision(2) + " s";

  const kinds = {
    count: { step: whole, label: withUnit(prefixes, ""), text: count },
    bytes: { step: power2, label: withUnit(binary, " "), text: bytes },
    seconds: { step: duration, label: seconds, text: took },
    percent: { step: round, label: (v, step) => v.toFixed(decimals(step)) + " %", text: v => v.toFixed(1) + " %" },
    nats: { step: round, label: plain, text: v => v.toFixed(4) },
    number: { step: round, label: plain, text: small },
  };

  // ticks returns at most n ticks between two values, and their labels. With grow the values are the axis's range: its
  // ends move out to ticks.
  const ticks = (kind, lo, hi, n, grow) => {
    const k = kinds[kind];
    if (!(isFinite(lo) && isFinite(hi))) [lo, hi] = [0, 1];
    [lo, hi] = [lo, hi].map(v => Math.max(-1e200, Math.min(v, 1e200)));
    if (!(hi - lo > Math.abs(lo) * 1e-9)) { const pad = Math.abs(lo) * .1 || 1; [lo, hi] = grow && lo !== 0 ? [lo - pad, lo + pad] : [lo, lo + pad]; }
    let step = k.step((hi - lo) / Math.max(1, n)), first, last;
    for (; ;) {
      first = grow ? Math.floor(lo / step + 1e-9) : Math.ceil(lo / step - 1e-9);
      last = grow ? Math.ceil(hi / step - 1e-9) : Math.floor(hi / step + 1e-9);
      if (last - first <= Math.max(1, n)) break;
      step = k.step(step * 1.01);
    }
    const values = [];
    for (let i = first; i <= last; i++) values.push(+(i * step).toPrecision(14));
    return { step, values, labels: values.map(v => k.label(v, step)), lo: grow ? first * step : lo, hi: grow ? last * step : hi };
  };
  return { kinds, ticks, count, bytes, took, small };
})();
