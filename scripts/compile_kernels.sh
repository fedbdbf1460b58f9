#!/usr/bin/env bash
# Compiles kernels to a fat binary and keeps what the assembler says of registers and spills. Called by the build.
#
# nvcc is slow and ccache does not know fat binaries, so results are kept in a folder of their own, under a name made from all that they
# depend on: nvcc's version, its arguments, and every file of the project that it reads.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

(($# >= 4)) || die 'usage: scripts/compile_kernels.sh NVCC IMAGE RESOURCES NVCC-ARGUMENT...'
nvcc=$1 image=$2 resources=$3
shift 3
cache=${TUTTI_KERNEL_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/tutti-kernels}

# The project's files among those that the compiler reads.
sources() { "$nvcc" -M "$@" | grep -oE "$repo_root/[^[:space:]]+" | sort -u; }

key() {
  {
    "$nvcc" --version
    printf '%s\n' "${@//$repo_root/.}"
    sources "$@" | xargs -d '\n' cat
  } | sha256sum | cut -d' ' -f1
}

kept=$cache/$(key "$@")
if [[ -f $kept.fatbin && -f $kept.resources ]]; then
  cp "$kept.fatbin" "$image"
  cp "$kept.resources" "$resources"
  exit
fi
if ! "$nvcc" -fatbin -Xptxas -v -o "$image" "$@" >"$resources" 2>&1; then
  cat "$resources" >&2
  rm -f "$image"
  exit 1
fi
# What is not about resources is a warning that somebody should see.
grep -vE '^(ptxas info|    [0-9]+ bytes stack frame)|^$' "$resources" >&2 || true
# Another build may be at the same work: whole files appear, or nothing. Without room for them the build goes on.
keep() {
  mkdir -p "$cache" && cp "$image" "$kept.$$" && cp "$resources" "$kept.$$.resources" &&
    mv "$kept.$$.resources" "$kept.resources" && mv "$kept.$$" "$kept.fatbin"
}
keep 2>/dev/null || rm -f "$kept.$$" "$kept.$$.resources"
