#!/usr/bin/env bash
# Builds bin/jaeger out of the Go module proxy. The first time takes minutes: some 570 modules.
set -euo pipefail
cd "$(dirname "$0")"
[ -x ../../bin/jaeger ] || go build -trimpath -o ../../bin/jaeger github.com/jaegertracing/jaeger/cmd/jaeger
