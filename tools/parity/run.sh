#!/usr/bin/env bash
# Remakes the fixtures with independent implementations and compares them with those checked in.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${VENV:-.venv-parity}
[ -x "$venv/bin/python" ] || { python3 -m venv "$venv"; "$venv/bin/pip" install -q torch transformers peft tokenizers safetensors pyarrow numpy; }
"$venv/bin/python" -c 'import polars, duckdb' 2>/dev/null || "$venv/bin/pip" install -q polars duckdb
py=$venv/bin/python
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$py" tools/parity/tokenizers_fixture.py "$tmp"
diff -r -x fuzz -x generated.jsonl "$tmp" fineweb/tokenizer/testdata
"$py" tools/parity/tokenizers_generated.py -check fineweb/tokenizer/testdata/generated.jsonl
"$py" tools/parity/unicode_tables.py "$tmp/unicode.txt"
diff "$tmp/unicode.txt" fineweb/tokenizer/unicode.txt
"$py" tools/parity/tokenizers_diff.py "$tmp/lines" ${STEPFLOW_TEST_DATA:+"$STEPFLOW_TEST_DATA"/tokenizers/*-tokenizer.json}
STEPFLOW_TOKENIZERS_DIFF=$tmp/lines go test -count=1 -run Differential -v ./fineweb/tokenizer | grep -v "^=== "
"$py" tools/parity/tokenizers_generated.py "$tmp/generated.jsonl" "${GENERATED:-2000}" "${SEED:-1}"
STEPFLOW_TOKENIZERS_GENERATED=$tmp/generated.jsonl go test -count=1 -run 'Generated$' -v ./fineweb/tokenizer | grep -v "^=== "
"$py" tools/parity/jinja_fixture.py "$tmp/jinja2.json"
diff "$tmp/jinja2.json" foreign/jinja/testdata/jinja2.json
"$py" -c 'import trl, llama_cpp' 2>/dev/null || "$venv/bin/pip" install -q trl llama-cpp-python
"$py" tools/parity/chat_templates.py "$tmp/chat.json"
"$py" tools/parity/sft.py "$tmp/sft" "$tmp/trl.json" 2>/dev/null
STEPFLOW_TRL=$tmp/trl.json go test -count=1 -run TRL ./chat
STEPFLOW_TUNE=$tmp/sft go test -count=1 -run TuneAsTRL -v ./runtime | grep -v "^=== "
STEPFLOW_CHAT_TEMPLATES=$tmp/chat.json go test -count=1 -run Templates -v ./chat | grep -v "^=== "
"$py" tools/parity/parquet_writers.py "$tmp/parquet"
STEPFLOW_PARQUET_DIFF=$tmp/parquet go test -count=1 -run Writers -v ./fineweb | grep -v "^=== "
"$py" tools/parity/contamination.py "$tmp/contamination" ${STEPFLOW_TEST_DATA:+"$STEPFLOW_TEST_DATA"}
STEPFLOW_CONTAMINATION=$tmp/contamination go test -count=1 -run ContaminationOfOthers -v ./fineweb | grep -v "^=== "
"$py" tools/parity/families.py "$tmp/families"
STEPFLOW_FAMILIES=$tmp/families go test -count=1 -run Families -v ./runtime | grep -v "^=== "
"$py" tools/parity/perplexity.py "$tmp/perplexity" ${STEPFLOW_TEST_DATA:+"$STEPFLOW_TEST_DATA"/text/wikitext2_test.txt}
STEPFLOW_PERPLEXITY=$tmp/perplexity go test -count=1 -run PerplexityOfOthers -v ./runtime | grep -v "^=== "
"$py" -c 'import lm_eval' 2>/dev/null || "$venv/bin/pip" install -q lm_eval==0.4.13 accelerate
models=(runtime/testdata/stories260K)
[ ! -f pipelines/quickstart/out/model/config.json ] || { cp -r pipelines/quickstart/out/model "$tmp/quickstart"; models+=("$tmp/quickstart"); }
"$py" tools/parity/tasks_fixture.py -models "$tmp/tasks" "${models[@]}" 2>"$tmp/tasks.log" || { tail "$tmp/tasks.log"; exit 1; }
STEPFLOW_TASKS=$tmp/tasks go test -count=1 -timeout 30m -run TasksOfOthers -v ./runtime | grep -v "^=== "
if [ -n "${STEPFLOW_TEST_DATA:-}" ]; then
  "$py" tools/parity/tasks_fixture.py -real "$STEPFLOW_TEST_DATA/eval" -limit "${TASKS_LIMIT:-200}" -models "$tmp/real" "${models[@]}" 2>"$tmp/tasks.log" || { tail "$tmp/tasks.log"; exit 1; }
  STEPFLOW_TASKS=$tmp/real go test -count=1 -timeout 60m -run TasksOfOthers -v ./runtime | grep -v "^=== "
fi
"$py" tools/parity/pyre_fixture.py
git diff --exit-code foreign/pyre/testdata
"$py" tools/parity/oracle.py make "$tmp/oracle"
STEPFLOW_ORACLE=$tmp/oracle go test -count=1 -timeout 30m -run TestOracle -v ./runtime | grep -v "^=== "
"$py" tools/parity/oracle.py compare "$tmp/oracle"
"$py" -c 'import apollo_torch, fira, galore_torch' 2>/dev/null || "$venv/bin/pip" install -q --no-deps apollo-torch fira galore-torch
"$py" tools/parity/optim_fixture.py -check ops/optim/testdata/lowmemory.json 2>/dev/null
"$py" tools/parity/muon_fixture.py -check ops/optim/testdata/muon.json
"$py" -c 'import bitsandbytes' 2>/dev/null || "$venv/bin/pip" install -q bitsandbytes
"$py" tools/parity/narrow_fixture.py -check ops/optim/testdata/narrow.json
"$py" tools/parity/quantized_fixture.py -check gpu/testdata/bitsandbytes.json
"$py" -c 'import ot' 2>/dev/null || "$venv/bin/pip" install -q pot scipy
"$py" tools/parity/opt_deus_fixture.py -check ops/growth/testdata/opt_deus.json
mkdir "$tmp/llama"
"$py" tools/parity/llama_fixture.py "$tmp/llama"
"$py" tools/parity/quantized_lora_fixture.py runtime/train/testdata/parity/untied_gqa "$tmp/llama/untied_gqa"
"$py" tools/parity/pissa_fixture.py runtime/train/testdata/parity/untied_gqa "$tmp/llama/untied_gqa"
"$py" tools/parity/relora_fixture.py runtime/train/testdata/parity/untied_gqa "$tmp/llama/untied_gqa"
"$py" tools/parity/sltrain_fixture.py runtime/train/testdata/parity/untied_gqa "$tmp/llama/untied_gqa"
"$py" tools/parity/arch_fixture.py "$tmp/arch"
"$py" - "$tmp/llama" runtime/train/testdata/parity "$tmp/arch" ops/arch/testdata/parity <<'P'
import sys
from pathlib import Path
from safetensors.numpy import load_file
import numpy as np
LEAST = 1e-3  # below which a tensor is zero but for rounding
roots = list(map(Path, sys.argv[1:]))
pairs = [(f, new / f.relative_to(old)) for new, old in zip(roots[::2], roots[1::2]) for f in sorted(old.rglob("*.safetensors"))]
for f, g in pairs:
    a, b = load_file(f), load_file(g)
    assert a.keys() == b.keys(), f
    worst = max(float(np.abs(a[k].astype(np.float64) - b[k]).max() / max(LEAST, float(np.abs(a[k]).max()))) for k in a)
    print(f"{f}: {len(a)} tensors, largest difference {worst:.1e}")
    assert worst < 1e-5, f
P
STEPFLOW_ARCH_EXPORTED=$tmp/exported go test -count=1 -run ExportedConfigs ./ops/arch
"$py" tools/parity/arch_fixture.py -exported "$tmp/exported"
"$py" -c 'import gguf, llama_cpp' 2>/dev/null || "$venv/bin/pip" install -q gguf llama-cpp-python # which needs a C++ compiler, and ten minutes
"$py" tools/parity/gguf_models.py make "$tmp/gguf" ${STEPFLOW_TEST_DATA:+"$STEPFLOW_TEST_DATA"/models/stories260K-hf "$STEPFLOW_TEST_DATA"/tokenizers/*-tokenizer.json}
go run ./cmd/stepflow apply -auto-approve "$tmp/gguf" > "$tmp/gguf/apply.txt"
"$py" tools/parity/gguf_models.py compare "$tmp/gguf"
"$py" tools/parity/peft_adapters.py make "$tmp/peft"
go run ./cmd/stepflow apply -auto-approve "$tmp/peft" > "$tmp/peft/apply.txt"
"$py" tools/parity/peft_adapters.py compare "$tmp/peft"
if [ -f pipelines/quickstart/out/model/config.json ]; then
  "$py" tools/parity/load_export.py pipelines/quickstart/out/model pipelines/quickstart/data/go-docs.parquet "$(bin/stepflow output -dir pipelines/quickstart validation_loss)"
  "$py" - pipelines/quickstart/.stepflow <<'P'
import sys
from pathlib import Path
from safetensors import safe_open
for f in sorted(Path(sys.argv[1]).rglob("*.safetensors")):
    with safe_open(f, "pt") as s:
        n = sum(s.get_tensor(k).numel() for k in s.keys())
    print(f"{f}: {n} elements read by safetensors")
P
  "$py" -c 'import tensorboard' 2>/dev/null || "$venv/bin/pip" install -q tensorboard
  "$py" tools/parity/tensorboard_read.py pipelines/quickstart/.stepflow
else
  echo "The quickstart's export was not compared: there is none. Run make quickstart first."
fi
echo "parity holds"
