// Takes the picture of a report for the docs, from its top to the curves of the loss: node picture.mjs REPORT PICTURE
import { chromium } from "playwright-core";
import { resolve } from "node:path";

const [report, picture] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage({ colorScheme: "light", viewport: { width: 1000, height: 900 }, deviceScaleFactor: 1.5 });
await page.goto("file://" + resolve(report));
const end = await page.waitForSelector("#training .card").then(e => e.boundingBox());
await page.screenshot({ path: picture, fullPage: true, clip: { x: 0, y: 0, width: 1000, height: Math.ceil(end.y + end.height + 16) } });
await browser.close();
