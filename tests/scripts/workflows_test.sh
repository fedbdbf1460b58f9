#!/usr/bin/env bash
# The workflows are sound YAML, and call scripts that exist with options that these know; and the check finds what is wrong.
set -euo pipefail
# shellcheck source=../../scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
workflows=("$repo_root"/.github/workflows/*.yml)
rules='{extends: default, rules: {document-start: disable, truthy: disable, line-length: {max: 140}, braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}}}'

check() { "$(system_python)" "$repo_root/tests/scripts/workflows_check.py" "$repo_root" "$@"; }

yamllint --strict -d "$rules" "${workflows[@]}"
check "${workflows[@]}"
say "ok: ${#workflows[@]} workflows"

# wrong TOLD SED-EXPRESSION: a workflow changed like this is refused in these words.
wrong() {
  sed -E "$2" "$repo_root/.github/workflows/ci.yml" >"$scratch/ci.yml"
  if cmp -s "$scratch/ci.yml" "$repo_root/.github/workflows/ci.yml"; then die "nothing was changed: $2"; fi
  if check "$scratch/ci.yml" >"$scratch/told"; then die "not found: $1"; fi
  grep -qF -- "$1" "$scratch/told" || die "found in other words: $1: $(cat "$scratch/told")"
  say "ok: $1"
}

wrong 'scripts/test.sh does not know --quickly' 's/--quick$/--quickly/'
wrong 'there is no scripts/gone.sh' 's|scripts/quickstart.sh|scripts/gone.sh|'
wrong 'scripts/test.sh has no stage compile' 's/packages,release/packages,compile/'
wrong "the matrix has no 'picture'" 's/matrix\.image/matrix.picture/'
wrong "'timeout-minutes' is missing" '/timeout-minutes: 45/d'
wrong "'actions/checkout' is not ACTION@VERSION" 's/checkout@v4/checkout/'
wrong 'an expression is not closed' 's/(matrix\.cc) \}\}/\1 }/'
wrong 'no YAML' 's/^jobs:/jobs: [/'
wrong 'shellcheck' 's|run: scripts/quickstart.sh|run: scripts/quickstart.sh "|'
