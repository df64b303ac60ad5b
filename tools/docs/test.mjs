// Opens a rendered site from disk in headless Chromium: node test.mjs [-shots DIR] SITE. Pages must fit a phone, ask the
// network for nothing, have no violation that axe finds, and be found by the search.
import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const args = process.argv.slice(2);
let shots = "";
if (args[0] === "-shots") [, shots] = args.splice(0, 2);
const site = "file://" + resolve(args[0]);
let failed = 0;
const check = (ok, what) => { if (!ok) { failed++; console.log("FAIL " + what); } };
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });

for (const colorScheme of ["light", "dark"]) for (const width of [1400, 390]) {
  const page = await browser.newPage({ colorScheme, viewport: { width, height: 844 } });
  const errors = [];
  page.on("pageerror", e => errors.push(e.message));
  page.on("console", m => m.type() === "error" && errors.push(m.text()));
  page.on("request", r => r.url().startsWith("file:") || errors.push("asked for " + r.url()));
  for (const path of ["index.html", "docs/index.html", "docs/start.html", "docs/language.html", "docs/performance.html"]) {
    const where = `${path}, ${colorScheme}, ${width} px`;
    await page.goto(`${site}/${path}`);
    check(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${where}: the page is wider than the window`);
    if (shots) await page.screenshot({ path: join(shots, `${path.replaceAll("/", "-")}-${colorScheme}-${width}.png`) });
    check(await page.locator("nav a[aria-current]").count() === 1, `${where}: the sidebar does not say where the reader is`);
    if (width === 390 || path === "docs/language.html" && colorScheme === "dark") continue; // axe takes its time
    await page.evaluate(axe);
    const found = await page.evaluate(async () => (await axe.run(document, { resultTypes: ["violations"], preload: false })).violations.map(v => `${v.id} (${v.impact}): ${v.nodes.slice(0, 3).map(n => n.target.join(" ")).join(", ")}`));
    check(found.length === 0, `${where}: axe: ${found.join("; ")}`);
  }
  await page.goto(`${site}/docs/memory.html`);
  check(await page.locator("main pre", { hasText: "P = 2h² + 2hk" }).count() === 1, "docs/memory.html: an indented formula is not shown as code");
  // The search finds a section by the name of an attribute, and the keyboard opens it.
  const where = `the search, ${colorScheme}, ${width} px`;
  await page.goto(`${site}/docs/index.html`);
  await page.keyboard.press("/");
  await page.keyboard.type("activation_checkpointing");
  await page.locator("#found a").first().waitFor({ timeout: 10000 });
  check(await page.locator("#found mark").count() > 0, `${where}: nothing is marked`);
  if (shots) await page.screenshot({ path: join(shots, `search-${colorScheme}-${width}.png`) });
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForURL(url => !url.href.endsWith("docs/index.html"), { timeout: 10000 });
  check((await page.textContent("main")).includes("activation_checkpointing"), `${where}: ${page.url()} does not have the word`);
  await page.fill("search input", "qqzxv");
  await page.getByText("Nothing found.").waitFor({ timeout: 10000 });
  if (width === 390) {
    check(!await page.locator("nav").isVisible(), `${where}: the sidebar covers the page`);
    await page.keyboard.press("Escape");
    await page.locator("header label").click();
    check(await page.locator("nav").isVisible(), `${where}: the menu does not open the sidebar`);
  }
  check(errors.length === 0, `${where}: ${errors.join("; ")}`);
  await page.close();
}
await browser.close();
console.log(failed ? `${failed} failed` : "the book is sound");
process.exit(failed ? 1 : 0);
