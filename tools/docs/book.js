// The sidebar is scrolled to the page that is shown.
const sidebar = document.querySelector("#sidebar"), here = sidebar.querySelector("[aria-current]");
if (here) sidebar.scrollTop = here.offsetTop - sidebar.clientHeight / 2;

// The search: an index of all sections, made from assets/sections.js when the field is first used. Both files are scripts,
// not JSON, since a page that was opened from disk may load only those.
const root = document.currentScript.dataset.root;
const field = document.querySelector("search input"), list = document.querySelector("#found");
let index, sections;

const load = file => new Promise((done, failed) => {
  const script = document.createElement("script");
  Object.assign(script, { src: `${root}/assets/${file}`, onload: done, onerror: failed });
  document.head.append(script);
});

async function ready() {
  if (index) return index;
  await Promise.all([load("minisearch.js"), load("sections.js")]);
  // Names such as micro_batch_size and -auto-approve are found whole and by their parts.
  const words = text => text.split(/[^\p{L}\p{N}_.-]+/u).flatMap(w => /[_.-]/.test(w) ? [w, ...w.split(/[_.-]+/)] : [w]).filter(Boolean);
  index = new MiniSearch({ fields: ["title", "page", "text"], tokenize: words, searchOptions: {
    boost: { title: 4, page: 2 }, prefix: true, fuzzy: term => term.length > 4 ? 0.15 : false, combineWith: "AND" } });
  index.addAll(sections.map((s, id) => ({ id, ...s })));
  return index;
}

// excerpt appends the text around what was asked for, or else around the longest of the words found, with all of them marked.
function excerpt(to, text, query, terms) {
  const literal = t => t.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const pattern = new RegExp([query, ...terms.sort((a, b) => b.length - a.length)].map(literal).join("|"), "gi");
  const asked = text.search(new RegExp(literal(query), "i")), at = Math.max(0, (asked < 0 ? text.search(pattern) : asked) - 60);
  const part = (at ? "… " : "") + text.slice(at && text.indexOf(" ", at) + 1).slice(0, 180).replace(/\s\S*$/, " …");
  let end = 0;
  for (const m of part.matchAll(pattern)) {
    const mark = document.createElement("mark");
    mark.textContent = m[0];
    to.append(part.slice(end, m.index), mark);
    end = m.index + m[0].length;
  }
  to.append(part.slice(end));
}

async function search() {
  const query = field.value.trim();
  const results = query ? (await ready()).search(query).slice(0, 20) : [];
  if (field.value.trim() !== query) return;
  list.replaceChildren(...results.map(r => {
    const s = sections[r.id], item = document.createElement("li"), link = document.createElement("a"), where = document.createElement("small");
    link.href = `${root}/${s.url}`;
    link.append(s.title === s.page ? s.title : `${s.page} › ${s.title}`, where);
    excerpt(where, s.text, query, r.terms);
    item.append(link);
    return item;
  }));
  if (query && !results.length) list.append(Object.assign(document.createElement("p"), { textContent: "Nothing found." }));
  list.hidden = !query;
}

field.addEventListener("input", search);
field.addEventListener("focus", () => { ready(); list.hidden = !field.value.trim(); });
document.addEventListener("click", e => { if (!e.target.closest("search")) list.hidden = true; });
document.addEventListener("keydown", e => {
  if (e.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) { e.preventDefault(); field.focus(); }
  if (e.key === "Escape") { list.hidden = true; field.blur(); }
  if (!e.target.closest?.("search") || list.hidden) return;
  const links = [...list.querySelectorAll("a")], i = links.indexOf(document.activeElement);
  if (e.key === "ArrowDown") { e.preventDefault(); links[Math.min(i + 1, links.length - 1)]?.focus(); }
  if (e.key === "ArrowUp") { e.preventDefault(); (links[i - 1] ?? field).focus(); }
  if (e.key === "Enter" && document.activeElement === field) links[0]?.click();
});
