#!/usr/bin/env bash
# A short benchmark beside MPI, and the report of it: what a look at a machine or at a build needs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Usage: scripts/benchmark.sh [options]
  --build DIR      build folder whose bin/ has the benchmarks (default build/release)
  --out DIR        where results and report.html go (default build/benchmark)
  --ranks N        ranks (default 2)
  --seconds S      of each row and library (default 0.2)
  --max-bytes N    the longest message (default 16M)
  --no-plots       the page only
  --help           this text
END
}

build=$repo_root/build/release
out=$repo_root/build/benchmark
ranks=2
seconds=0.2
max_bytes=16M
plots=1

parse() {
  while (($#)); do
    case $1 in
      --build | --out | --seconds | --max-bytes)
        need_value "$@"
        local name=${1#--}
        printf -v "${name//-/_}" '%s' "$2"
        shift
        ;;
      --ranks)
        need_count "$@"
        ranks=$2
        shift
        ;;
      --no-plots) plots=0 ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) die "unknown option '$1' (see --help)" ;;
    esac
    shift
  done
  [[ -x $build/bin/allreduce_bench ]] || die "there is no $build/bin/allreduce_bench (scripts/test.sh --only release makes it; --build names another)"
}

# measure PROGRAM OPTION...
measure() {
  local program=$1 baseline=(--np "$ranks") name
  name=$out/${1%_bench}
  shift
  if ((${#launch[@]})); then baseline=(--baseline mpi); fi
  local result=(--json "$name.json")
  if knows "$build/bin/$program" --raw; then result+=(--raw "$name.raw"); fi
  if knows "$build/bin/$program" --limits; then result+=(--limits); fi
  ${launch[@]+"${launch[@]}"} "$build/bin/$program" -b 8 -e "$max_bytes" -f 8 --seconds "$seconds" "${baseline[@]}" "${result[@]}" "$@" | tee "$name.txt"
}

main() {
  parse "$@"
  mkdir -p "$out"
  rm -f "$out"/*.json "$out"/*.raw
  choose_launcher "$ranks"
  measure allreduce_bench
  measure broadcast_bench
  local pictures=()
  if ((plots)); then pictures=(--plots "$out/plots"); fi
  "$(system_python)" "$repo_root/scripts/report.py" "$out" -o "$out/report.html" ${pictures[@]+"${pictures[@]}"}
}

main "$@"
