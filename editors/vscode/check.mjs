// Tests the extension without Visual Studio Code: that the files it names are there and can be read, and that it starts
// and stops the server, with stand-ins for the two modules that it uses.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import Module, { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const json = (path) => JSON.parse(readFileSync(join(here, path), "utf8"));

const manifest = json("package.json");
const { languages, grammars, configuration, commands } = manifest.contributes;
for (const language of languages) {
  const { wordPattern, brackets, indentationRules } = json(language.configuration);
  assert.ok(brackets.length > 0);
  for (const pattern of [wordPattern, ...Object.values(indentationRules)]) new RegExp(pattern, "u");
}
for (const grammar of grammars) {
  const { scopeName, patterns, repository } = json(grammar.path);
  assert.equal(scopeName, grammar.scopeName);
  assert.ok(languages.some((l) => l.id === grammar.language));
  const includes = (x) =>
    x && typeof x === "object" ? [x.include, ...Object.values(x).flatMap(includes)].filter(Boolean) : [];
  for (const name of includes({ patterns, repository })) assert.ok(repository[name.slice(1)], `${name} is not there`);
}

const log = [];
const handlers = {};
const stand_ins = {
  vscode: {
    commands: { registerCommand: (name, f) => (handlers[name] = f) },
    workspace: {
      getConfiguration: () => ({ get: (key) => configuration.properties[`stepflow.${key}`].default }),
      onDidChangeConfiguration: (f) => (handlers.configuration = f),
    },
  },
  "vscode-languageclient/node": {
    LanguageClient: class {
      constructor(id, name, server, client) {
        this.name = `${[server.command, ...server.args].join(" ")} for ${client.documentSelector[0].language}`;
      }
      start = async () => log.push(`start ${this.name}`);
      stop = async () => log.push(`stop ${this.name}`);
    },
  },
};
const load = Module._load;
Module._load = (request, ...rest) => stand_ins[request] ?? load(request, ...rest);
const extension = createRequire(import.meta.url)(join(here, manifest.main));

const subscriptions = [];
await extension.activate({ subscriptions });
assert.equal(subscriptions.length, 2);
for (const { command } of commands) await handlers[command]();
await handlers.configuration({ affectsConfiguration: () => false });
await extension.deactivate();
const started = "start stepflow lsp for stepflow";
const stopped = "stop stepflow lsp for stepflow";
assert.deepEqual(log, [started, stopped, started, stopped]);
console.log("the extension is whole, and starts and stops the server");
