#!/usr/bin/env bash
# Shows what a run has to tell (stages.txt, *.md) on the page of a workflow's run; elsewhere on standard output.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Usage: scripts/ci_summary.sh DIR
  DIR  where scripts/gpu_ci.sh or scripts/benchmark.sh wrote
END
}

summary() {
  local file
  if [[ -f $1/stages.txt ]]; then
    printf '```\n'
    cat "$1/stages.txt"
    printf '```\n\n'
  fi
  for file in "$1"/*.md; do
    if [[ -f $file ]]; then
      printf '#### %s\n\n' "$(basename "$file" .md)"
      cat "$file"
    fi
  done
}

main() {
  case ${1:-} in
    -h | --help)
      usage
      return
      ;;
    '') die 'a folder is needed (see --help)' ;;
    -*) die "unknown option '$1' (see --help)" ;;
  esac
  [[ -d $1 ]] || die "there is no folder '$1'"
  summary "$1" >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
}

main "$@"
