#!/usr/bin/env bash
# Builds bin/minio out of the Go module proxy. The first time takes minutes: some 250 modules.
set -euo pipefail
cd "$(dirname "$0")"
[ -x ../../bin/minio ] || go build -trimpath -o ../../bin/minio github.com/minio/minio
