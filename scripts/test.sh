#!/usr/bin/env bash
# Installs what is missing, builds Tutti several ways and runs every test; the last lines are ctest's verdict.
#
# The work is cut into stages (scripts/test_stages.sh). A failed stage does not keep the later ones from running,
# unless they stand on it, but makes the whole fail. Builds go to build/, logs to build/logs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/test_stages.sh"

all_stages=(packages release tests skips rdma format scripts install kernels odr tidy asan tsan fuzz)
selected=("${all_stages[@]}")
left_out=()

usage() {
  cat <<'END'
Usage: scripts/test.sh [options]
  --quick             packages, the release build and its tests only
  --only STAGE,...    these stages, and those they stand on
  --skip STAGE,...    all but these
  --jobs N            build jobs at once (default: the processors there are)
  --test-jobs N       tests at once (default 1: some measure)
  --fuzz-seconds N    time for each fuzz target (default 20)
  --build-dir DIR     where builds and, in its folder logs, logs go (default build)
  --no-install        install no packages
  --list              the stages, one a line
  --help              this text
END
}

describe_stages() {
  cat <<'END'
packages  install the distribution packages that are missing
release   gcc (or $CXX), optimised, warnings as errors
tests     every test of the release build
skips     no test was skipped but for the reasons in tests/allowed_skips.txt
rdma      RDMA in virtual machines (needs QEMU and the distribution's kernel package)
format    clang-format has nothing to change
scripts   shellcheck, and the tests of the scripts
install   install to an empty folder; a C and a C++ program build against it and run
kernels   the CUDA kernels for other GPUs than the release build's; none may spill registers (needs the CUDA toolkit)
odr       one name means one thing in all sources of the library (gcc's link-time optimiser compares them)
tidy      clang-tidy over the library's sources
asan      clang with AddressSanitizer and UBSan, warnings as errors; all but the slow tests and those of clusters
tsan      ThreadSanitizer; tests whose ranks are threads
fuzz      each libFuzzer target for a short time
END
}

is_in() {
  local wanted=$1 item
  shift
  for item in "$@"; do [[ $item != "$wanted" ]] || return 0; done
  return 1
}

# Splits STAGE,... into the array `stages`.
parse_stages() {
  local stage
  need_value "$@"
  IFS=, read -ra stages <<<"$2"
  ((${#stages[@]} > 0)) || die "$1 needs a stage (see --list)"
  for stage in "${stages[@]}"; do
    is_in "$stage" "${all_stages[@]}" || die "no stage '$stage'; there are: ${all_stages[*]}"
  done
}

# The stages that a stage stands on.
stands_on() {
  case $1 in
    tests | install | rdma) echo release ;;
    skips) echo release tests ;;
  esac
}

parse_arguments() {
  local stages
  while (($#)); do
    case $1 in
      --quick) selected=(packages release tests skips) ;;
      --only)
        parse_stages "$@"
        selected=("${stages[@]}")
        shift
        ;;
      --skip)
        parse_stages "$@"
        left_out+=("${stages[@]}")
        shift
        ;;
      --jobs | -j | --test-jobs | --fuzz-seconds)
        need_count "$@"
        case $1 in
          --test-jobs) test_jobs=$2 ;;
          --fuzz-seconds) fuzz_seconds=$2 ;;
          *) jobs=$2 ;;
        esac
        shift
        ;;
      --build-dir)
        need_value "$@"
        builds=$(realpath -m -- "$2")
        logs=$builds/logs
        shift
        ;;
      --no-install) left_out+=(packages) ;;
      --list)
        describe_stages
        exit 0
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) die "unknown option '$1' (see --help)" ;;
    esac
    shift
  done
}

# Settles `selected`: what was asked for with what it stands on, in the order of all_stages.
settle_stages() {
  local stage wanted=() settled=()
  for stage in "${selected[@]}"; do
    read -ra needed <<<"$(stands_on "$stage")"
    wanted+=("$stage" ${needed[@]+"${needed[@]}"})
  done
  for stage in "${all_stages[@]}"; do
    if is_in "$stage" "${wanted[@]}" && ! is_in "$stage" ${left_out[@]+"${left_out[@]}"}; then settled+=("$stage"); fi
  done
  ((${#settled[@]} > 0)) || die 'no stage is left to run'
  selected=("${settled[@]}")
}

# Nothing of the caller's settings may change what is tested.
clean_environment() {
  local name
  for name in $(compgen -e | grep '^TUTTI_'); do unset "$name"; done
  if (($(id -u) == 0)); then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
}

run_one() {
  local stage=$1 needed reason
  for needed in $(stands_on "$stage"); do
    # Failed tests are still worth a look at what was skipped.
    if [[ $needed == release ]] && is_in release "${selected[@]}" && ! stage_passed release; then
      leave_out_stage "$stage" 'the release build failed'
      return
    fi
  done
  reason=$(cannot_judge "$stage")
  if [[ -n $reason ]]; then
    skip_stage "$stage" "$reason"
  else
    run_stage "$stage" "stage_$stage"
  fi
}

# ctest's own closing lines: the release build's where its tests ran, else the last run's.
print_verdict() {
  local stage last=
  for stage in "${stage_names[@]}"; do
    case $stage in
      tests) last=tests && break ;;
      asan | tsan) last=$stage ;;
    esac
  done
  [[ -z $last ]] || ctest_summary "$last"
}

main() {
  parse_arguments "$@"
  settle_stages
  clean_environment
  cd "$repo_root"
  for stage in "${selected[@]}"; do
    run_one "$stage"
    # Without the packages every later stage would fail in its own, less clear way.
    if [[ $stage == packages ]] && ! stage_passed packages; then break; fi
  done

  say
  stage_table
  local code=0
  stages_status || code=1
  if ((code)); then say "At least one stage FAILED; its log is in $logs."; fi
  say
  print_verdict
  return "$code"
}

main "$@"
