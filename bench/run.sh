#!/usr/bin/env bash
# Installs the peers from PyPI into a virtual environment and compares: bench/run.sh [flags of go run ./bench].
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv-bench}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import torch, numpy, tokenizers, pyarrow, datasets' 2>/dev/null || "$venv/bin/pip" install --quiet torch numpy setuptools tokenizers pyarrow datasets
"$venv/bin/python" -c 'import torchao, bitsandbytes, peft, galore_torch, apollo_torch' 2>/dev/null || {
  "$venv/bin/pip" install --quiet torchao bitsandbytes peft transformers
  "$venv/bin/pip" install --quiet --no-deps galore-torch apollo-torch # whose other requirements are those of their experiments
}
make build
[ -f bench/step/data/go-docs.parquet ] || bin/stepflow sample go-docs -o bench/step/data
go run ./bench -python "$venv/bin/python" "$@"
