#!/usr/bin/env bash
# Drives bin/stepflow lsp with the client of pytest-lsp over standard input and output, and tests the extension of VS Code.
# It ends with 77 where the packages it needs cannot be fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${VENV:-.venv-lsp}
"$venv/bin/python" -c 'import pytest_lsp' 2>/dev/null || {
  python3 -m venv "$venv" && "$venv/bin/pip" install -q -r tools/lsp/requirements.txt
} || {
  echo "pip could not install tools/lsp/requirements.txt: the server was not driven" >&2
  exit 77
}
node editors/vscode/check.mjs
"$venv/bin/python" -m pytest -q -p no:cacheprovider tools/lsp "$@"
