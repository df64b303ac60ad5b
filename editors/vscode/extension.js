// Starts `stepflow lsp` for files of pipelines.
const { commands, workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function start() {
  const command = workspace.getConfiguration("stepflow").get("path");
  client = new LanguageClient(
    "stepflow",
    "stepflow",
    { command, args: ["lsp"] },
    { documentSelector: [{ language: "stepflow" }] },
  );
  await client.start();
}

async function stop() {
  await client?.stop();
  client = undefined;
}

exports.activate = async (context) => {
  const restart = async () => {
    await stop();
    await start();
  };
  context.subscriptions.push(
    commands.registerCommand("stepflow.restart", restart),
    workspace.onDidChangeConfiguration((e) => e.affectsConfiguration("stepflow.path") && restart()),
  );
  await start();
};

exports.deactivate = stop;
