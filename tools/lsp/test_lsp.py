"""Drives bin/stepflow lsp as an editor does: in a process of its own, over standard input and output, with a client and
message types that other people wrote, which refuse answers that are not as the specification has them."""

import asyncio
import shutil
from pathlib import Path

import pytest
import pytest_lsp
from lsprotocol import types as lsp
from pytest_lsp import ClientServerConfig, LanguageClient, client_capabilities

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = (ROOT / "pipelines" / "quickstart" / "main.hcl").read_text()
SERVER = [str(ROOT / "bin" / "stepflow"), "lsp"]


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pipelines" / "quickstart" / "main.hcl", tmp_path)
    return tmp_path / "main.hcl"


@pytest_lsp.fixture(params=["visual-studio-code", "neovim"], config=ClientServerConfig(server_command=SERVER))
async def client(request, lsp_client: LanguageClient, pipeline: Path):
    watched = []
    lsp_client.feature("client/registerCapability")(lambda params: watched.extend(params.registrations))
    await lsp_client.initialize_session(
        lsp.InitializeParams(
            capabilities=client_capabilities(request.param),
            workspace_folders=[lsp.WorkspaceFolder(uri=pipeline.parent.as_uri(), name="pipeline")],
        )
    )
    yield lsp_client
    assert [r.method for r in watched] in ([], ["workspace/didChangeWatchedFiles"])
    await lsp_client.shutdown_session()


class Document:
    """A file that the client has open."""

    def __init__(self, client: LanguageClient, path: Path, text: str | None = None):
        self.client, self.uri, self.version = client, path.as_uri(), 1
        self.text = path.read_text() if text is None else text
        client.text_document_did_open(
            lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(self.uri, "stepflow", self.version, self.text))
        )

    def change(self, old: str, new: str):
        """Replaces a text once, as a change of its range."""
        assert old in self.text
        end = self.position(old)
        start = self.position(self.text[: self.text.index(old)])
        self.version += 1
        self.text = self.text.replace(old, new, 1)
        self.client.text_document_did_change(
            lsp.DidChangeTextDocumentParams(
                lsp.VersionedTextDocumentIdentifier(self.version, self.uri),
                [lsp.TextDocumentContentChangePartial(range=lsp.Range(start, end), text=new)],
            )
        )

    def position(self, after: str) -> lsp.Position:
        """The place after a text, in UTF-16."""
        before = self.text[: self.text.index(after) + len(after)]
        line = before.rpartition("\n")[2]
        return lsp.Position(before.count("\n"), len(line.encode("utf-16-le")) // 2)

    def at(self, after: str) -> dict:
        return {"text_document": lsp.TextDocumentIdentifier(self.uri), "position": self.position(after)}

    async def diagnostics(self) -> list[lsp.Diagnostic]:
        """What is wrong, once the server has looked at this version."""
        async with asyncio.timeout(20):
            while True:
                await self.client.wait_for_notification("textDocument/publishDiagnostics")
                if self.uri in self.client.diagnostics:
                    return list(self.client.diagnostics[self.uri])


async def test_diagnostics(client, pipeline):
    d = Document(client, pipeline)
    assert await d.diagnostics() == []
    d.change("from = stage.seed", "from = stage.sed")
    (wrong,) = await d.diagnostics()
    assert wrong.message == 'Unknown block: There is no stage.sed. Did you mean "stage.seed"?'
    assert (wrong.severity, wrong.source) == (lsp.DiagnosticSeverity.Error, "stepflow")
    (action,) = await client.text_document_code_action_async(
        lsp.CodeActionParams(
            lsp.TextDocumentIdentifier(d.uri), wrong.range, lsp.CodeActionContext(diagnostics=[wrong])
        )
    )
    (edit,) = action.edit.changes[d.uri]
    assert edit.new_text == "stage.seed"
    d.change("stage.sed\n", "stage.seed\n")
    assert await d.diagnostics() == []


async def test_completion(client, pipeline):
    d = Document(client, pipeline)
    d.change("value = evaluate.perplexity.step.bits_per_byte\n}", 'description = "𝄞"  \n  value = stage.')
    got = await client.text_document_completion_async(lsp.CompletionParams(**d.at("value = stage.")))
    assert sorted(x.label for x in got.items) == ["final", "middle", "seed", "tuned"]
    d.change('stage "final" {\n', 'stage "final" {\n  \n')
    got = await client.text_document_completion_async(lsp.CompletionParams(**d.at('stage "final" {\n  ')))
    labels = {x.label for x in got.items}
    assert "layers" in labels and not labels & {"from", "train"}
    (item,) = [x for x in got.items if x.label == "lifecycle"]
    assert item.text_edit.new_text.startswith("lifecycle {")


async def test_hover_and_signature(client, pipeline):
    d = Document(client, pipeline)
    await d.diagnostics()
    hover = await client.text_document_hover_async(lsp.HoverParams(**d.at("= var.tok")))
    assert "`var.tokens` = `1000000`" in hover.contents.value
    d.change("tokens           = var.tokens * 0.4", "tokens           = max(1, ")
    help = await client.text_document_signature_help_async(lsp.SignatureHelpParams(**d.at("= max(1, ")))
    assert help.signatures[0].label == "max(numbers...: number)"


async def test_definition_and_references(client, pipeline):
    d = Document(client, pipeline)
    (where,) = await client.text_document_definition_async(lsp.DefinitionParams(**d.at("from = stage.se")))
    assert where.range.start == d.position('stage "')
    found = await client.text_document_references_async(
        lsp.ReferenceParams(context=lsp.ReferenceContext(include_declaration=True), **d.at('stage "se'))
    )
    assert len(found) == 2


async def test_symbols_and_folding(client, pipeline):
    d = Document(client, pipeline)
    doc = lsp.TextDocumentIdentifier(d.uri)
    symbols = await client.text_document_document_symbol_async(lsp.DocumentSymbolParams(doc))
    assert "stage.final" in [s.name for s in symbols]
    assert await client.text_document_folding_range_async(lsp.FoldingRangeParams(doc))
    (found,) = await client.workspace_symbol_async(lsp.WorkspaceSymbolParams("stage.middle"))
    assert found.location.uri == d.uri


async def test_formatting(client, pipeline):
    d = Document(client, pipeline)
    ask = lsp.DocumentFormattingParams(lsp.TextDocumentIdentifier(d.uri), lsp.FormattingOptions(2, True))
    assert not await client.text_document_formatting_async(ask)
    d.change("  seed                = 7", "seed=7")
    (edit,) = await client.text_document_formatting_async(ask)
    assert edit.new_text == "  seed                = 7\n"


async def test_rename(client, pipeline):
    """A renamed stage gets a moved block, with which the pipeline stays sound."""
    d = Document(client, pipeline)
    await d.diagnostics()
    name = await client.text_document_prepare_rename_async(lsp.PrepareRenameParams(**d.at('stage "mid')))
    assert name.placeholder == "middle"
    edit = await client.text_document_rename_async(lsp.RenameParams(new_name="upper", **d.at('stage "mid')))
    edits = edit.changes[d.uri]
    assert sorted(e.new_text.strip() for e in edits) == [
        "moved {\n  from = stage.middle\n  to   = stage.upper\n}", "upper", "upper",
    ]
    with pytest.raises(Exception, match='"a b" cannot be a name'):
        await client.text_document_rename_async(lsp.RenameParams(new_name="a b", **d.at('stage "mid')))
