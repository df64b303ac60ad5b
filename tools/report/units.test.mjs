// The ticks of every kind of axis, over ranges from the smallest to the largest: node --test units.test.mjs
import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const units = new Function(readFileSync(new URL("../../report/assets/units.js", import.meta.url), "utf8") + "; return units")();
const M = 2 ** 20, G = 2 ** 30;

// kind, from, to, ticks at most, grown to ticks or not: what the axis says
const table = [
  ["count", 0, 7, 6, false, "0, 2, 4, 6"],
  ["count", 0, 1e6, 6, false, "0, 200k, 400k, 600k, 800k, 1M"],
  ["count", 0, 1.25e9, 6, false, "0, 500M, 1G"],
  ["count", 999e3, 1003e3, 5, false, "999k, 1M, 1.001M, 1.002M, 1.003M"],
  ["count", 0, 3.2e23, 6, false, "0, 100Z, 200Z, 300Z"],
  ["count", 0, 0, 5, false, "0, 1"],
  ["bytes", 0, 900, 5, false, "0, 256 B, 512 B, 768 B"],
  ["bytes", 0, 50.4 * M, 6, false, "0, 16 MiB, 32 MiB, 48 MiB"],
  ["bytes", 0, 1.3 * G, 6, false, "0, 256 MiB, 512 MiB, 768 MiB, 1 GiB, 1.25 GiB"],
  ["bytes", 0, 80 * G, 6, false, "0, 16 GiB, 32 GiB, 48 GiB, 64 GiB, 80 GiB"],
  ["bytes", 0, 3 * 1024 * G, 6, false, "0, 512 GiB, 1 TiB, 1.5 TiB, 2 TiB, 2.5 TiB, 3 TiB"],
  ["seconds", 0, .37, 5, false, "0, 0.1 s, 0.2 s, 0.3 s"],
  ["seconds", 0, 51.7, 6, false, "0, 10 s, 20 s, 30 s, 40 s, 50 s"],
  ["seconds", 0, 210, 6, false, "0, 1 min, 2 min, 3 min"],
  ["seconds", 0, 4000, 6, false, "0, 15 min, 30 min, 45 min, 60 min"],
  ["seconds", 3600, 90000, 6, false, "6 h, 12 h, 18 h, 24 h"],
  ["seconds", 0, 1e6, 6, false, "0, 2 d, 4 d, 6 d, 8 d, 10 d"],
  ["percent", 10, 80, 5, true, "0 %, 20 %, 40 %, 60 %, 80 %"],
  ["nats", 3.2, 7.9, 6, true, "3, 4, 5, 6, 7, 8"],
  ["nats", 2.201, 2.233, 5, true, "2.20, 2.21, 2.22, 2.23, 2.24"],
  ["nats", 5, 5, 5, true, "4.5, 5.0, 5.5"],
  ["number", 0, 2e-3, 6, true, "0, 5e-4, 1e-3, 1.5e-3, 2e-3"],
  ["number", 0, 3e-4, 6, true, "0, 5e-5, 1e-4, 1.5e-4, 2e-4, 2.5e-4, 3e-4"],
  ["number", 0, 90, 5, true, "0, 20, 40, 60, 80, 100"],
  ["number", 0, 2.5e5, 5, true, "0, 50k, 100k, 150k, 200k, 250k"],
  ["percent", 40, 40 + 7e-15, 2, true, "35 %, 40 %, 45 %"],
  ["number", -1e308, 1e308, 2, true, "-1e+200, 0, 1e+200"],
  ["number", 0, 0, 5, true, "0.0, 0.2, 0.4, 0.6, 0.8, 1.0"],
  ["number", NaN, Infinity, 5, true, "0.0, 0.2, 0.4, 0.6, 0.8, 1.0"],
];
for (const [kind, lo, hi, n, grow, want] of table)
  test(`${kind} from ${lo} to ${hi}`, () => assert.equal(units.ticks(kind, lo, hi, n, grow).labels.join(", "), want));

test("ticks are few, in order, told apart, and within the axis, whatever its range", () => {
  let seed = 1;
  const random = () => (seed = seed * 48271 % 2147483647) / 2147483647;
  for (let i = 0; i < 20000; i++) {
    const kind = Object.keys(units.kinds)[i % 6], whole = kind === "count" || kind === "bytes", grow = random() < .5 && !whole;
    const size = 10 ** (random() * (whole ? 17 : 30) - (whole ? 0 : 12)), lo = random() < .5 ? 0 : size * random() * 20, hi = lo + size, n = 1 + Math.floor(random() * 10);
    const t = units.ticks(kind, lo, hi, n, grow), where = `${kind} ${lo} to ${hi}, ${n}, ${grow}: ${t.labels}`;
    assert.ok(t.values.length <= Math.max(n, 2) + 2, where);
    assert.ok(t.values.every((v, j) => (j === 0 || v > t.values[j - 1]) && v >= t.lo - t.step * 1e-6 && v <= t.hi + t.step * 1e-6), where);
    assert.ok(t.lo <= lo + t.step * 1e-6 && t.hi >= hi - t.step * 1e-6, where);
    if (size > lo * 1e-4) assert.equal(new Set(t.labels).size, t.labels.length, where);
  }
});

test("values as they are read", () => {
  assert.deepEqual([0, 999, 999.6, 1e3, 1.28e6, 999_948_288].map(units.count), ["0", "999", "1k", "1k", "1.28M", "1G"]);
  assert.deepEqual([0, 512, 1000 * M, 48.1 * M, G].map(units.bytes), ["0", "512 B", "1000 MiB", "48.1 MiB", "1 GiB"]);
  assert.deepEqual([.25, 51.7, 210, 4000, 5e5].map(units.took), ["0.25 s", "52 s", "3.5 min", "1.1 h", "5.8 d"]);
});
