// Renders the pages of docs/ and the README files of other folders as a site. A page lies where it does in the
// repository, so that relative links between pages stay as they are, except for their .md, and the site opens from disk.
// The lists of docs/README.md are the table of contents: the sidebar shows them in their order.
import markdownIt from "markdown-it";
import anchor from "markdown-it-anchor";
import { slug } from "github-slugger";
import highlight from "@shikijs/markdown-it";
import { globSync } from "tinyglobby";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const contents = "docs/README.md";
const pages = globSync("**/*.md", { cwd: root, ignore: ["**/node_modules/**", "**/testdata/**", "bin/**", "tracing/**"] }).sort();

const md = markdownIt({ html: true });
md.use(anchor, { slugify: s => slug(s), tabIndex: false, permalink: anchor.permalink.headerLink({ safariReaderFix: true }) });
md.use(await highlight({
  themes: { light: "github-light-high-contrast", dark: "github-dark-high-contrast" },
  defaultColor: "light-dark()",
  langs: ["console", "go", "hcl", "json", "lua", "python", "sh", "toml", "yaml"],
}));
const fence = md.renderer.rules.fence;
md.renderer.rules.fence = (tokens, i, ...rest) => { // ```hcl file=NAME is a file of that name
  const file = tokens[i].info.match(/\bfile=(\S+)/);
  return (file ? `<p class="file"><code>${md.utils.escapeHtml(file[1])}</code></p>` : "") + fence(tokens, i, ...rest);
};
md.renderer.rules.table_open = () => '<div class="table" tabindex="0"><table>\n'; // wide ones scroll by themselves
md.renderer.rules.table_close = () => "</table></div>\n";
md.core.ruler.push("headers", state => state.tokens.forEach((t, i) => { // an empty cell is no header
  if (t.type === "th_open" && !state.tokens[i + 1].content) t.tag = state.tokens[i + 2].tag = "td";
}));

// address says where a link of a page leads in the site: to a page, to the README of a folder, or to a file.
function address(page, link) {
  if (/^[a-z]+:|^#/.test(link)) return { href: link };
  const [path, hash] = link.split("#");
  let file = posix.join(posix.dirname(page), path);
  if (existsSync(join(root, file)) && statSync(join(root, file)).isDirectory()) file = posix.join(file, "README.md");
  const href = posix.relative(posix.dirname(page), place(file)) + (hash ? "#" + hash : "");
  return pages.includes(file) ? { href, page: file } : { href, copy: file };
}

// place is where a file of the repository lies in the site. The root's README is the first page.
const place = file => file.replace(/README\.md$/, "index.html").replace(/\.md$/, ".html");

md.core.ruler.push("links", state => {
  for (const t of state.tokens) for (const child of t.children ?? []) {
    const name = child.type === "image" ? "src" : "href", link = child.attrGet?.(name);
    if (!link || !state.env.page) continue;
    const to = address(state.env.page.inputPath ?? state.env.page, link);
    child.attrSet(name, to.href);
    if (to.copy) copies.add(to.copy);
  }
});
const copies = new Set();

// text is what a reader sees of a token.
const text = token => token.children ? token.children.map(text).join("") : token.type.endsWith("break") ? " " : token.content;

// read takes a page apart: its title, its headings, and the text below each, which the search looks through.
function read(page) {
  const source = readFileSync(join(root, page), "utf8"), tokens = md.parse(source, { page });
  const sections = [];
  tokens.forEach((token, i) => {
    if (token.type === "heading_open") sections.push({ level: +token.tag[1], id: token.attrGet("id"), title: text(tokens[i + 1]), text: "" });
    else if (sections.length && tokens[i - 1]?.type !== "heading_open") sections.at(-1).text += " " + text(token);
  });
  return { page, source, sections, title: sections[0].title };
}
const book = Object.fromEntries(pages.map(page => [page, read(page)]));

// The sidebar: a group for each heading of the table of contents, an entry for each link at the beginning of a line.
const groups = [];
const tokens = md.parse(book[contents].source, {});
tokens.forEach((token, i) => {
  if (token.type === "heading_open") groups.push({ title: text(tokens[i + 1]), entries: [] });
  const link = token.type === "inline" && tokens[i - 2]?.type === "list_item_open" && token.children.find(c => c.type === "link_open");
  if (link) groups.at(-1).entries.push({ page: address(contents, link.attrGet("href")).page, title: text(token.children[token.children.indexOf(link) + 1]) });
});
const order = [{ page: "README.md", title: "stepflow" }, { page: contents, title: "Contents" }, ...groups.flatMap(g => g.entries)];

export default function (config) {
  config.setLibrary("md", md);
  config.amendLibrary("md", md => md.enable("code")); // indented code, which Eleventy turns off
  config.setQuietMode(true);
  for (const { page, source, sections, title } of Object.values(book)) {
    const i = order.findIndex(entry => entry.page === page);
    // A page that is not in the sidebar stands under that of its folder.
    const current = i >= 0 ? page : posix.join(posix.dirname(page), "README.md");
    const to = file => posix.relative(posix.dirname(place(page)), file);
    const link = entry => entry && { ...entry, href: to(place(entry.page)), current: entry.page === current };
    config.addTemplate(page, source, {
      layout: "layout.njk", permalink: place(page), title, to: to("") || ".",
      home: link(order[0]), contents: link(order[1]), sidebar: groups.map(g => ({ ...g, entries: g.entries.map(link) })),
      outline: sections.filter(s => s.level === 2 || s.level === 3),
      previous: i > 0 && link(order[i - 1]), next: i >= 0 && link(order[i + 1]),
    });
  }
  const minisearch = createRequire(import.meta.url).resolve("minisearch").replace(/cjs.index.cjs$/, "umd/index.js");
  for (const [from, to] of [["style.css", "assets/style.css"], ["book.js", "assets/book.js"]]) config.addPassthroughCopy({ [join("tools/docs", from)]: to });
  config.addPassthroughCopy({ [posix.relative(root, minisearch)]: "assets/minisearch.js" });
  for (const file of copies) config.addPassthroughCopy({ [file]: file });
  const found = Object.values(book).flatMap(b => b.sections.map(s => ({
    url: place(b.page) + (s === b.sections[0] ? "" : "#" + s.id), page: b.title, title: s.title, text: s.text.replace(/\s+/g, " ").trim(),
  })));
  config.addTemplate("sections.11ty.js", { render: () => `sections = ${JSON.stringify(found)};\n` }, { permalink: "assets/sections.js" });
  return {
    dir: { input: "tools/docs", includes: ".", output: process.env.OUT ?? "bin/docs" },
    templateFormats: ["md", "11ty.js"], markdownTemplateEngine: false,
  };
}
