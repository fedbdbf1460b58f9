#!/usr/bin/env bash
# From a clean clone to a table of latencies: installs what is missing, builds the release, runs allreduce_bench.
#
# Works as root or not, with fewer cores than ranks, and without an MPI launcher (then the benchmark starts its
# own local ranks). The build goes to build/quickstart and leaves other build folders alone.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build_dir=$repo_root/build/quickstart
ranks=4
jobs=$(cores)
install=1

usage() {
  cat <<'END'
Usage: scripts/quickstart.sh [options]
  --np N        ranks to start (default 4)
  --jobs N      build jobs at once (default: the processors there are)
  --no-install  install no packages
  --help        this text
END
}

parse_arguments() {
  while (($#)); do
    case $1 in
      --np | -n)
        need_count "$@"
        ranks=$2
        shift
        ;;
      --jobs | -j)
        need_count "$@"
        jobs=$2
        shift
        ;;
      --no-install) install=0 ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) die "unknown option '$1' (see --help)" ;;
    esac
    shift
  done
}

configure_and_build() {
  cd "$repo_root"
  cmake --preset release -B "$build_dir" -DTUTTI_TESTS=OFF -DTUTTI_BENCHMARKS=ON
  cmake --build "$build_dir" -j "$jobs"
}

run_sweep() {
  local sweep=(-b 8 -e 4M -f 8 -n 200 -w 20)
  if ((${#launch[@]})); then
    say "\$ ${launch[*]} build/quickstart/bin/allreduce_bench ${sweep[*]}"
    "${launch[@]}" "$build_dir/bin/allreduce_bench" "${sweep[@]}"
  else
    say "\$ build/quickstart/bin/allreduce_bench --np $ranks ${sweep[*]}"
    "$build_dir/bin/allreduce_bench" --np "$ranks" "${sweep[@]}"
  fi
}

what_next() {
  local longer_sweep='-b 8 -e 64M -f 4' longer told
  if ((${#launch[@]})); then
    longer="${launch[*]} build/quickstart/bin/allreduce_bench $longer_sweep --baseline mpi"
    told='a longer sweep, with MPI measured in the same run'
  else
    longer="build/quickstart/bin/allreduce_bench --np $ranks $longer_sweep"
    told='a longer sweep'
  fi
  cat <<END

The programs are in build/quickstart/bin. To try next:
  $longer
      $told
  build/quickstart/bin/broadcast_bench --np $ranks
      another collective; --help lists every option
  build/quickstart/bin/tutti-info
      this machine, its transports and every environment variable
  build/quickstart/bin/tutti-plan --collective all_reduce --algorithm ring --ranks 8
      the steps of an algorithm
  scripts/test.sh
      every test
END
}

main() {
  parse_arguments "$@"
  if ((install)); then
    run_stage packages "$repo_root/scripts/install_packages.sh"
    stage_passed packages || exit 1
  fi
  run_stage build configure_and_build
  stage_passed build || exit 1
  choose_launcher "$ranks"
  run_sweep || die "the benchmark failed with status $?"
  what_next
}

main "$@"
