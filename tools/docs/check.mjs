// Checks the links of a rendered site: node check.mjs DIR. Each must lead to a file, and to an element in it.
import { readFileSync, existsSync } from "node:fs";
import { globSync } from "tinyglobby";
import { join, posix } from "node:path";

const dir = process.argv[2], files = globSync("**/*.html", { cwd: dir });
const pages = new Map(files.map(f => [f, readFileSync(join(dir, f), "utf8")]));
const ids = new Map([...pages].map(([f, html]) => [f, new Set([...html.matchAll(/\sid="([^"]*)"/g)].map(m => m[1]))]));
let links = 0, broken = 0;
for (const [from, html] of pages) {
  for (const [, link] of html.matchAll(/<[a-z]+\b[^>]*?\s(?:href|src)="([^"]*)"/g)) {
    if (/^https?:/.test(link)) continue;
    links++;
    const [path, id] = link.replaceAll("&amp;", "&").split("#");
    const to = path ? posix.join(posix.dirname(from), decodeURI(path)) : from;
    if (existsSync(join(dir, to)) && (!id || ids.get(to)?.has(decodeURIComponent(id)))) continue;
    broken++;
    console.error(`${from}: ${link} leads nowhere`);
  }
  for (const [, what] of html.matchAll(/<(?:script|link|img)\b[^>]*\s(?:href|src)="(https?:[^"]*)"/g)) {
    broken++;
    console.error(`${from}: ${what} would be fetched when the page is read`);
  }
}
console.log(`${pages.size} pages, ${links} links, ${broken} broken`);
process.exit(broken ? 1 : 0);
