// Opens reports in headless Chromium: node test.mjs [-shots DIR] FILE … Each page must draw itself without an error and
// without the network, have no violation that axe finds, fit at every width, light, dark and on paper, and cut no label
// off. Of a page that is served it must keep what a reader does while more comes.
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

// Labels that leave their drawing, or lie on each other; and drawings that leave the page or their frame.
const cutOff = tooltip => {
  const bad = [], box = e => e.getBoundingClientRect(), most = 20, page = document.documentElement.clientWidth;
  for (const chart of document.querySelectorAll("[data-chart]")) {
    const frame = box(chart), texts = [...chart.querySelectorAll("svg text")].filter(t => t.textContent.trim());
    if (chart.querySelector("svg") && texts.length < 3) bad.push(`${chart.dataset.chart} has ${texts.length} labels`);
    const lines = new Map(); // of labels, by where they stand
    for (const t of texts) {
      const b = box(t);
      if (b.left < frame.left - .5 || b.right > frame.right + .5 || b.top < frame.top - .5 || b.bottom > frame.bottom + .5) bad.push(`${chart.dataset.chart}: ${t.textContent} is cut off`);
      const row = Math.round(b.top / 3);
      for (const other of lines.get(row) || []) if (!tooltip && b.left < other.right && other.left < b.right) bad.push(`${chart.dataset.chart}: ${t.textContent} lies on another label`);
      lines.set(row, (lines.get(row) || []).concat(b));
    }
  }
  for (const axis of document.querySelectorAll(".bar-axis")) {
    const card = box(axis.closest(".card"));
    let before = -Infinity;
    for (const s of axis.children) {
      const b = box(s);
      if (b.left < card.left || b.right > card.right || b.left < before) bad.push(`the label ${s.textContent} of bars is cut off, or lies on another`);
      before = b.right;
    }
  }
  for (const svg of document.querySelectorAll(".frame svg")) {
    const all = box(svg), frame = svg.parentElement, scale = all.width / svg.viewBox.baseVal.width;
    if (scale < (matchMedia("print").matches ? 0 : .74)) bad.push(`a drawing is shrunk to ${scale.toFixed(2)}`);
    if (all.width > frame.clientWidth && getComputedStyle(frame).overflowX !== "auto") bad.push("a drawing leaves its frame");
    for (const t of svg.querySelectorAll("text")) { const b = box(t); if (b.width && (b.left < all.left - 1 || b.right > all.right + 1)) bad.push(`${t.textContent} leaves its drawing`); }
    for (const a of svg.querySelectorAll("a")) { const r = box(a.querySelector("rect")); for (const t of a.querySelectorAll("text")) { const b = box(t); if (b.width > r.width) bad.push(`${t.textContent} leaves its box`); } }
  }
  if (document.documentElement.scrollWidth > page) bad.push(`the page is ${document.documentElement.scrollWidth} px wide, the window ${page}`);
  return bad.slice(0, most);
};

const open = async (file, live, options) => {
  const context = await browser.newContext(options), page = await context.newPage(), errors = [], requests = [];
  page.on("pageerror", e => errors.push(e.message));
  page.on("console", m => m.type() === "error" && errors.push(m.text()));
  page.on("dialog", d => { errors.push("a dialog opened: " + d.message()); d.dismiss(); });
  page.on("request", r => { if (!r.url().startsWith("file:") && !r.url().startsWith("data:") && !(live && r.url().startsWith(file))) requests.push(r.url()); });
  await page.goto(live ? file : "file://" + resolve(file), { waitUntil: "load" });
  await page.waitForSelector("main section", { timeout: 20000 }).catch(() => {});
  return { context, page, errors, requests };
};

// drag chooses the middle half of the chart of the loss.
const drag = async page => {
  const e = page.locator("[data-chart=loss]");
  await e.scrollIntoViewIfNeeded();
  const b = await e.boundingBox(), y = b.y + b.height / 2;
  await page.mouse.move(b.x + b.width * .4, y);
  await page.mouse.down();
  await page.mouse.move(b.x + b.width * .5, y);
  await page.mouse.move(b.x + b.width * .6, y);
  await page.mouse.up();
  await page.mouse.move(0, 0);
  return b;
};
const hover = async page => {
  const b = await page.locator("[data-chart=loss]").boundingBox();
  await page.mouse.move(b.x + b.width * .5, b.y + b.height * .5);
  await page.waitForFunction(() => [...document.querySelectorAll("[data-chart=loss] svg text")].some(t => /step/.test(t.textContent)), null, { timeout: 5000 }).catch(() => check(false, "there is no tooltip"));
  return true;
};
const seen = page => page.locator("#seen").textContent();
const labels = page => page.locator("[data-chart=loss] svg text").allTextContents();

const paper = async (page, where) => {
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  await page.setViewportSize({ width: 703, height: 1000 }); // A4 between its margins
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  const bad = await page.evaluate(cutOff);
  check(bad.length === 0, `${where}, on paper: ${bad.join("; ")}`);
  check(await page.evaluate(() => getComputedStyle(document.body).backgroundColor === "rgb(255, 255, 255)" && getComputedStyle(document.body).color === "rgb(28, 33, 38)"), `${where}: paper is not light`);
  const wide = await page.evaluate(() => [...document.querySelectorAll("table, svg, pre, .bar")].filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => (e.closest("section") || e).id + " " + e.tagName));
  check(wide.length === 0, `${where}: paper cuts off ${wide.join(", ")}`);
  await page.evaluate(() => dispatchEvent(new Event("afterprint")));
};

// A page that is served goes on: zoom, tooltip, focus and what is open stay, and what comes is drawn.
const goesOn = async (page, where) => {
  const done = () => page.locator("#stages tbody tr").allTextContents().then(t => t.join("|"));
  await page.locator("#configuration details summary").first().click();
  await drag(page);
  const range = await seen(page), axis = (await labels(page)).filter(t => /^[0-9]/.test(t)).join(" ");
  check(range !== "", `${where}: dragging does not zoom`);
  await page.evaluate(() => { document.querySelector("[data-chart=loss]").mine = true; });
  await hover(page);
  const tip = () => labels(page).then(l => l.filter(t => /step /.test(t)).join("|"));
  check(await tip() !== "", `${where}: there is no tooltip`);
  for (let i = 0, before = await done(); i < 3; i++) {
    await page.waitForFunction(old => [...document.querySelectorAll("#stages tbody tr")].map(t => t.textContent).join("|") !== old, before, { timeout: 30000 });
    before = await done();
    await page.waitForTimeout(150); // the tooltip is drawn again a moment later
    check(await tip() !== "", `${where}: the tooltip is gone after update ${i + 1}`);
    check(await seen(page) === range, `${where}: zoomed to ${range}, after update ${i + 1} to ${await seen(page)}`);
  }
  check(await page.evaluate(() => document.querySelector("[data-chart=loss]").mine === true), `${where}: the chart was made anew`);
  check((await labels(page)).join(" ").includes(axis.split(" ")[1]), `${where}: the axis is another one: ${axis}`);
  check(await page.locator("#configuration details").first().evaluate(d => d.open), `${where}: what was open is closed`);
  await page.locator("#zoom-all").click();
  check(await seen(page) === "", `${where}: the button shows not all`);
};

const widths = [["light", 1280], ["dark", 1280], ["light", 900], ["light", 390], ["dark", 320]];
const every = ["done", "compare", "sweep", "live"]; // pages that are opened in all ways; others in two
for (const file of args) {
  const live = file.startsWith("http://"), name = live ? "live" : basename(file, ".html"), large = name === "thousands";
  if (!live) check(statSync(file).size < (large ? 8 : 3) << 20, `${name} is larger than it should be`);
  const began = Date.now();
  for (const [colorScheme, width] of every.includes(name) ? widths : [widths[0], widths[4]]) {
    const where = `${name}, ${colorScheme}, ${width} px`;
    const { context, page, errors, requests } = await open(file, live, { colorScheme, viewport: { width, height: 900 }, hasTouch: width < 600, isMobile: width < 600 });
    check(errors.length === 0, `${where}: ${errors.join("; ")}`);
    if (errors.length) continue;
    check(requests.length === 0, `${where} asks the network for ${requests.join(", ")}`);
    const bad = await page.evaluate(cutOff);
    check(bad.length === 0, `${where}: ${bad.join("; ")}`);
    check(await page.evaluate(() => document.querySelectorAll("*").length < 30000), `${where}: the page has too many elements`);
    const drawn = await page.evaluate(() => [...document.querySelectorAll("[data-chart]")].map(e => [e.dataset.chart, e.querySelectorAll("svg path").length]));
    for (const [chart, paths] of drawn) check(paths > 2, `${where}: the chart ${chart} is empty`);
    check(await page.evaluate(() => document.querySelectorAll("script").length === 3 && !window.hacked && !document.querySelector("main img, main script, main iframe")), `${where}: text of the data became HTML`);
    if (width !== 900 && !(large && width < 600)) {
      await page.addScriptTag({ content: axe }).catch(() => page.evaluate(axe)); // a live page's policy allows no other script
      const found = await page.evaluate(async () => (await axe.run(document, { resultTypes: ["violations"] })).violations.map(v => `${v.id} (${v.impact}): ${v.nodes.slice(0, 3).map(n => n.target.join(" ")).join(", ")}`));
      check(found.length === 0, `${where}: axe: ${found.join("; ")}`);
    }
    if (shots) await page.screenshot({ path: join(shots, `${name}-${colorScheme}-${width}.png`), fullPage: !large });
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
        check((await page.evaluate(cutOff)).length === 0, `${where}: over time, ${await page.evaluate(cutOff)}`);
        await page.locator("input[name=x][value=tokens]").check();
      }
      if (live) await goesOn(page, where);
      else if (drawn.length) {
        await drag(page);
        check(await seen(page) !== "", `${where}: dragging does not zoom`);
        const zoomed = await page.evaluate(cutOff);
        check(zoomed.length === 0, `${where}, zoomed: ${zoomed.join("; ")}`);
        const tip = await page.evaluate(cutOff, await hover(page));
        check(tip.length === 0, `${where}, tooltip: ${tip.join("; ")}`);
        if (shots) await page.screenshot({ path: join(shots, `${name}-zoomed.png`) });
      }
      if (name === "sweep") {
        await page.locator("input[name=each][value=seeds]").check();
        const legend = await page.locator("#legend button").allTextContents();
        check(legend.join("|") === "learning_rate 0.1, n = 3|learning_rate 0.2, n = 1", `${where}: the means over seeds are ${legend.join("|")}`);
        check(/one seed: no interval/.test(await page.locator("#runs").textContent()), `${where}: it does not say that one seed has no interval`);
        await page.locator("#zoom-all").click();
        await hover(page);
        check((await labels(page)).some(t => /95 % interval/.test(t)), `${where}: the tooltip has no interval`);
      }
      if (name === "million") { // far inside there are still many points, and the page says how many steps each is
        for (let i = 0; i < 5; i++) await page.locator("#zoom-in").click();
        const points = await page.evaluate(() => Math.max(...[...document.querySelectorAll("[data-chart=loss] svg path")].map(p => (p.getAttribute("d").match(/[LM]/g) || []).length)));
        check(points > 10 && points < 200, `${where}: ${points} points are drawn at 64 times`);
      }
      if (large) {
        const boxes = await page.locator("#graph svg a").count();
        check(boxes <= 60, `${where}: ${boxes} boxes`);
        check(/24 of 1,500/.test(await page.locator("#legend-note").textContent()), `${where}: it does not say that not all are drawn`);
        await page.locator("#filter").fill("777");
        check(await page.locator("#legend li").count() === 1, `${where}: the filter chooses nothing`);
      }
      await paper(page, where);
    }
    await context.close();
  }
  console.log(`${name}: ${((Date.now() - began) / 1000).toFixed(1)} s`);
}
await browser.close();
console.log(failed ? `${failed} failed` : `${args.length} pages are sound`);
process.exit(failed ? 1 : 0);
