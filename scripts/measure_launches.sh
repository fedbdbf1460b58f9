#!/usr/bin/env bash
# Measures many short launches of one build, or of two builds in turns, for scripts/compare.py.
#
# Two builds take turns as A B B A A B B A ...: a machine that becomes slower meanwhile becomes slower for both, and the n-th launches of the two
# are neighbours in time (compare.py --paired). Each launch is a file: samples where the program can write them (--raw), else a --json document.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Usage: scripts/measure_launches.sh --out DIR --new BUILD [options] [-- BENCHMARK-OPTIONS]
  --out DIR         where results go: DIR/new, and DIR/old with --old; both must not exist, or be empty
  --new BUILD       build folder whose bin/ has the benchmark
  --old BUILD       the build to compare it with
  --launches N      of each build (default 30)
  --program NAME    the benchmark (default allreduce_bench)
  --mpirun N        start it with mpirun on N ranks, as --baseline mpi needs it (default: its own local ranks)
  --help
BENCHMARK-OPTIONS default to `-b 256 -e 256K -f 4 -n 3000`: six rows, less than a second a launch.
END
}

out=''
old=''
new=''
launches=30
program=allreduce_bench
mpi_ranks=0
arguments=()

parse() {
  while (($#)); do
    case $1 in
      --out | --new | --old | --program)
        need_value "$@"
        printf -v "${1#--}" '%s' "$2"
        shift
        ;;
      --launches)
        need_count "$@"
        launches=$2
        shift
        ;;
      --mpirun)
        need_count "$@"
        mpi_ranks=$2
        shift
        ;;
      --)
        shift
        arguments=("$@")
        break
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) die "unknown option '$1' (see --help)" ;;
    esac
    shift
  done
  [[ -n $out ]] || die '--out is needed (see --help)'
  [[ -n $new ]] || die '--new is needed (see --help)'
  local build side
  for build in "$new" ${old:+"$old"}; do
    [[ -x $build/bin/$program ]] || die "there is no $build/bin/$program"
  done
  for side in new ${old:+old}; do
    [[ -z $(ls -A "$out/$side" 2>/dev/null) ]] || die "$out/$side is not empty: launches of different occasions do not mix"
  done
  ((${#arguments[@]} > 0)) || arguments=(-b 256 -e 256K -f 4 -n 3000)
}

# launch SIDE BUILD NUMBER
launch() {
  local side=$1 build=$2 file=$out/$1/$3 log=$out/$1.log starter=()
  if ((mpi_ranks > 0)); then
    have mpirun || die 'mpirun is missing (package openmpi-bin)'
    starter=(mpirun -np "$mpi_ranks")
    if ((mpi_ranks > $(physical_cores))); then starter+=(--oversubscribe --bind-to none --mca mpi_yield_when_idle 1); fi
    if (($(id -u) == 0)); then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
  fi
  local result=(--json "$file.json")
  if knows "$build/bin/$program" --raw; then result=(--raw "$file.raw"); fi
  if ! ${starter[@]+"${starter[@]}"} "$build/bin/$program" "${arguments[@]}" "${result[@]}" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    die "a launch of $build/bin/$program failed"
  fi
}

main() {
  parse "$@"
  mkdir -p "$out/new" ${old:+"$out/old"}
  local number name
  for ((number = 0; number < launches; ++number)); do
    printf -v name '%03d' "$number"
    if [[ -z $old ]]; then
      launch new "$new" "$name"
    elif ((number % 2)); then
      launch new "$new" "$name"
      launch old "$old" "$name"
    else
      launch old "$old" "$name"
      launch new "$new" "$name"
    fi
  done
  say "$out: $launches launches${old:+ of each build}"
}

main "$@"
