#!/usr/bin/env bash
# Sends the quickstart, shortened, to a real MLflow server, and lets TensorBoard, trackio and wandb read its files. It
# ends with 77 where the packages it needs cannot be fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${VENV:-.venv-trackers}
"$venv/bin/python" -c 'import mlflow, tbparse, tensorboard, trackio, wandb' 2>/dev/null || {
  python3 -m venv "$venv" && "$venv/bin/pip" install -q -r tools/trackers/requirements.txt
} || {
  echo "pip could not install tools/trackers/requirements.txt: no tracker was tried" >&2
  exit 77
}
"$venv/bin/python" tools/trackers/check.py "$@"
