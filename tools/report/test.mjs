// Opens reports in headless Chromium: node test.mjs [-shots DIR] FILE … Each page must draw itself without an error and
// without the network, have no violation that axe finds, and fit at 1280 and 400 pixels, light and dark.
import { chromium } from "playwright-core";
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const args = process.argv.slice(2);
let shots = "";
if (args[0] === "-shots") [, shots] = args.splice(0, 2);
let failed = 0;
const check = (ok, what) => { if (!ok) { failed++; console.log("FAIL " + what); } };
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });

for (const file of args) {
  const live = file.startsWith("http://"), name = live ? "live" : basename(file, ".html");
  if (!live) check(statSync(file).size < 3 << 20, `${name} is larger than 3 MiB`);
  for (const colorScheme of ["light", "dark"]) for (const width of [1280, 400]) {
    const where = `${name}, ${colorScheme}, ${width} px`;
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 } });
    const page = await context.newPage();
    const errors = [], requests = [];
    page.on("pageerror", e => errors.push(e.message));
    page.on("console", m => m.type() === "error" && errors.push(m.text()));
    page.on("dialog", d => { errors.push("a dialog opened: " + d.message()); d.dismiss(); });
    page.on("request", r => { if (!r.url().startsWith("file:") && !r.url().startsWith("data:") && !(live && r.url().startsWith(file))) requests.push(r.url()); });
    await page.goto(live ? file : "file://" + resolve(file), { waitUntil: live ? "load" : "networkidle" });
    await page.waitForSelector("main section", { timeout: 10000 }).catch(() => {});
    check(errors.length === 0, `${where}: ${errors.join("; ")}`);
    if (errors.length) continue;
    check(requests.length === 0, `${where} asks the network for ${requests.join(", ")}`);
    check(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${where}: the page is wider than the window`);
    const drawn = await page.evaluate(() => [...document.querySelectorAll("[data-chart]")].map(e => [e.dataset.chart, e.querySelectorAll("svg path").length]));
    for (const [chart, paths] of drawn) check(paths > 2, `${where}: the chart ${chart} is empty`);
    check(await page.evaluate(() => document.querySelectorAll("script").length === 3 && !window.hacked && !document.querySelector("main img, main script, main iframe")), `${where}: text of the data became HTML`);
    await page.addScriptTag({ content: axe }).catch(() => page.evaluate(axe)); // a live page's policy allows no other script
    const found = await page.evaluate(async () => (await axe.run(document, { resultTypes: ["violations"] })).violations.map(v => `${v.id} (${v.impact}): ${v.nodes.slice(0, 3).map(n => n.target.join(" ")).join(", ")}`));
    check(found.length === 0, `${where}: axe: ${found.join("; ")}`);
    if (colorScheme === "light" && width === 1280) {
      // The keyboard reaches the graph, and a box opens its block.
      const box = page.locator("#graph svg a").last();
      await box.focus();
      await page.keyboard.press("Enter");
      const target = (await box.getAttribute("href")).slice(1);
      check(await page.evaluate(id => document.getElementById(id).open, target), `${where}: Enter on a box does not open ${target}`);
      if (await page.locator("input[name=x][value=seconds]").count()) {
        const before = await page.locator("[data-chart=loss]").innerHTML();
        await page.locator("input[name=x][value=seconds]").check();
        check(before !== await page.locator("[data-chart=loss]").innerHTML(), `${where}: another axis draws the same`);
      }
    }
    if (shots) await page.screenshot({ path: join(shots, `${name}-${colorScheme}-${width}.png`), fullPage: true });
    await context.close();
  }
}
await browser.close();
console.log(failed ? `${failed} failed` : `${args.length} pages are sound`);
process.exit(failed ? 1 : 0);
