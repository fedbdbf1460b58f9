#!/usr/bin/env bash
# Formats every tracked C and C++ source in place; --check only tells which would change, and fails if any does.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  '') mode=(-i) ;;
  --check) mode=(--dry-run -Werror) ;;
  -h | --help)
    say 'Usage: scripts/format.sh [--check]'
    exit 0
    ;;
  *) die "unknown option '$1' (see --help)" ;;
esac

have clang-format || die 'clang-format is missing: scripts/install_packages.sh --tests'
cd "$repo_root"
mapfile -t files < <(cxx_files)
((${#files[@]} > 0)) || die 'no sources found'
clang-format "${mode[@]}" -- "${files[@]}"
say "${#files[@]} files"
