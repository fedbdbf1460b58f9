#!/usr/bin/env bash
# Builds, tests and measures Tutti on a machine with a GPU that has the CUDA toolkit, CMake and a compiler, and no network.
#
# Every stage is timed and logged, and bounded by what is left of --limit; a failed stage does not keep the later ones from running. Ends with 0
# when all is well, 1 when a stage failed, 2 for a wrong option, 3 where there is no GPU.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Usage: scripts/gpu_ci.sh [options]
  --out DIR        where logs and results go (default build/gpu)
  --deps DIR       libraries that are not installed, unpacked by scripts/gpu_deps.sh
  --build DIR      where the build goes (default build/gpu/build)
  --nccl PATH      the NCCL to compare with (default libnccl.so.2; several ranks on a GPU need 2.30 or later)
  --sweep          take the best of NCCL's algorithms and protocols at each size; takes seven times as long
  --last DIR       launches of the last good run, which this one must not be slower than; replaced by this one's when all is well
  --nccl-gate P=.. by how much more time than NCCL's Tutti's may be (default p50=5%,p99=10%)
  --launches N     of the benchmark, for the gate (default 12)
  --limit SECONDS  of all stages together (default 540)
  --only STAGE,... these stages only: build, tests, sanitizer, bench, gate, report
  --jobs N         compile jobs (default: all cores)
  --list           list the stages
  --help
END
}

stages=(build tests sanitizer bench gate report)
out=$repo_root/build/gpu
deps=''
build=''
nccl=libnccl.so.2
sweep=()
last=''
nccl_gate=p50=5%,p99=10%
launches=12
limit=540
only=''
jobs=$(cores)

usage_error() {
  warn "$*"
  exit 2
}

parse() {
  while (($#)); do
    case $1 in
      --out | --deps | --build | --nccl | --last | --nccl-gate | --launches | --limit | --only | --jobs)
        (($# >= 2)) || usage_error "$1 needs a value (see --help)"
        ;;&
      --out) out=$2 ;;
      --deps) deps=$2 ;;
      --build) build=$2 ;;
      --nccl) nccl=$2 ;;
      --last) last=$2 ;;
      --nccl-gate) nccl_gate=$2 ;;
      --launches) launches=$2 ;;
      --limit) limit=$2 ;;
      --only) only=$2 ;;
      --jobs) jobs=$2 ;;
      --sweep) sweep=(--nccl-sweep) ;;
      --list)
        printf '%s\n' "${stages[@]}"
        exit 0
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) usage_error "unknown option '$1' (see --help)" ;;
    esac
    if [[ $1 == --sweep ]]; then shift; else shift 2; fi
  done
  local name
  for name in limit jobs launches; do
    [[ ${!name} =~ ^[1-9][0-9]{0,5}$ ]] || usage_error "--$name needs a whole number from 1 up, not '${!name}'"
  done
  for name in ${only//,/ }; do
    [[ " ${stages[*]} " == *" $name "* ]] || usage_error "--only: there is no stage '$name' (see --list)"
  done
  [[ -z $deps || -d $deps/usr ]] || usage_error "--deps: there is no folder '$deps/usr' (see scripts/gpu_deps.sh)"
}

# True when there is a GPU that its driver shows.
gpu_there() {
  if have nvidia-smi; then
    [[ $(nvidia-smi -L 2>/dev/null) == *'GPU '* ]]
  else
    compgen -G '/proc/driver/nvidia/gpus/*' >/dev/null
  fi
}

# within COMMAND...: ends it when the time of all stages is over.
within() {
  local left=$((limit - SECONDS))
  ((left > 0)) || die "the limit of $limit s is over"
  timeout --kill-after=10 "$left" "$@"
}

use_deps() {
  [[ -n $deps ]] || return 0
  deps=$(realpath "$deps")
  local triplet
  triplet=$(basename "$(dirname "$(find "$deps/usr/lib" -name 'libfmt.so*' -print -quit)")")
  local lib=$deps/usr/lib/$triplet
  export PATH=$PATH:$deps/usr/bin
  export LD_LIBRARY_PATH=$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export PKG_CONFIG_PATH=${PKG_CONFIG_PATH:+$PKG_CONFIG_PATH:}$lib/pkgconfig:$deps/usr/share/pkgconfig
  export CMAKE_PREFIX_PATH=${CMAKE_PREFIX_PATH:+$CMAKE_PREFIX_PATH:}$deps/usr
  # What those libraries need in turn lies beside them.
  export LDFLAGS="${LDFLAGS:-} -Wl,-rpath-link,$lib"
  if ! have pkg-config; then
    mkdir -p "$out/bin"
    ln -sf "$(command -v pkgconf)" "$out/bin/pkg-config"
    export PATH=$PATH:$out/bin
  fi
}

query() { nvidia-smi --query-gpu="$1" --format=csv,noheader,nounits 2>/dev/null | head -n 1 | sed 's/["\\]//g'; }

# The machine that the results are of; clocks as they are now.
write_machine() {
  local field separator='' fields=(name driver_version compute_cap memory.total clocks.sm clocks.mem clocks.max.sm clocks.max.mem
    clocks_throttle_reasons.active power.limit temperature.gpu mig.mode.current)
  {
    printf '{'
    for field in "${fields[@]}"; do
      printf '%s\n  "%s": "%s"' "$separator" "$field" "$(query "$field")"
      separator=,
    done
    printf ',\n  "nvcc": "%s"' "$(nvcc --version 2>/dev/null | sed -n 's/.*release //p' | head -n 1)"
    printf ',\n  "commit": "%s"' "$(git -C "$repo_root" rev-parse HEAD 2>/dev/null || echo unknown)"
    printf ',\n  "time": "%s"\n}\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
  } >"$1"
}

# Names of the tests that run on the GPU itself: ctest's, which are those of the programs.
gpu_tests() {
  ctest --test-dir "$build" -N -L gpu | sed -n 's/^ *Test *#[0-9]*: \(gpu_[a-z_0-9]*\).*/\1/p' |
    grep -Ev '_emulated$|^gpu_emulation$|^gpu_resources$'
}

stage_build() {
  local generator=() python=() targets=(allreduce_bench broadcast_bench tutti-info) name
  if have ninja; then generator=(-G Ninja); fi
  # Tests in Python are made, and not run, where there is none.
  if ! have python3; then python=(-DTUTTI_PYTHON=/bin/false); fi
  within cmake -S "$repo_root" -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DTUTTI_CUDA=ON -DTUTTI_TESTS=ON \
    -DTUTTI_BENCHMARKS=ON "${python[@]}"
  # Tests that are programs have the program's name.
  local programs
  programs=$(cmake --build "$build" --target help | grep -oE '\bgpu_[a-z_0-9]+' | sort -u)
  for name in $(gpu_tests); do
    if grep -qx "$name" <<<"$programs"; then targets+=("$name"); fi
  done
  within cmake --build "$build" -j "$jobs" --target "${targets[@]}"
}

stage_tests() {
  local pattern
  pattern=$(gpu_tests | paste -sd '|')
  if ! "$(system_python)" -c 'import jsonschema' 2>/dev/null; then
    echo 'gpu_bench is left out: there is no Python with jsonschema'
    pattern=$(gpu_tests | grep -vx gpu_bench | paste -sd '|')
  fi
  within ctest --test-dir "$build" -R "^($pattern)\$" --no-tests=error --output-on-failure --output-junit "$out/tests.junit.xml"
  # A GPU is there: a test that skipped has not seen it.
  if grep -q 'SKIPPED: no CUDA device' "$out/tests.junit.xml"; then die 'a test has found no CUDA device'; fi
}

# A handful of calls: the sanitizer makes kernels slow.
stage_sanitizer() {
  local tool program
  for tool in memcheck synccheck; do
    for program in allreduce_bench broadcast_bench; do
      echo "== $tool: $program"
      within compute-sanitizer --tool "$tool" --error-exitcode 9 "$build/bin/$program" --memory device --ranks-per-gpu 3 -b 8 \
        -e 512K -f 256 -d float32,bfloat16 -n 2 -w 0 -c 1 --placement both --timeout 300s
    done
  done
}

# table NAME PROGRAM ARGUMENT...: one table, its text and its JSON.
table() {
  local name=$1 program=$2
  shift 2
  echo "== $name: $program $*"
  local samples=()
  # A sweep keeps the best of several runs, which have no samples in common.
  if ((${#sweep[@]} == 0)) && knows "$build/bin/$program" --raw; then samples=(--raw "$out/$name.raw"); fi
  within "$build/bin/$program" --memory device -c 1 "$@" --json "$out/$name.json" ${samples[@]+"${samples[@]}"} | tee "$out/$name.txt"
}

stage_bench() {
  local ranks nccl_options=(--baseline nccl --nccl "$nccl" "${sweep[@]}")
  for ranks in 2 4 8; do
    table "all_reduce_$ranks" allreduce_bench --ranks-per-gpu "$ranks" -b 8 -e 1G -f 8 -d float32,bfloat16 --seconds 0.1 \
      "${nccl_options[@]}"
    table "all_reduce_graph_$ranks" allreduce_bench --ranks-per-gpu "$ranks" -b 8 -e 8K -f 4 --graph --chain 20 --seconds 0.2 \
      "${nccl_options[@]}"
    table "broadcast_$ranks" broadcast_bench --ranks-per-gpu "$ranks" -b 8 -e 256M -f 32 --seconds 0.1 "${nccl_options[@]}"
  done
  table large_registered allreduce_bench --ranks-per-gpu 4 -b 64M -e 1G -f 4 --registered --seconds 0.2
  table chain allreduce_bench --ranks-per-gpu 4 -b 8 -e 8K -f 4 --chain 50 --one-stream --seconds 0.2
  write_machine "$out/machine_after.json"
}

# Many short launches: the gate decides between launches, not between iterations.
measure_launches() {
  local number file result
  rm -rf "$out/launches"
  mkdir -p "$out/launches"
  for ((number = 0; number < launches; ++number)); do
    printf -v file '%s/launches/%03d' "$out" "$number"
    result=(--json "$file.json")
    if knows "$build/bin/allreduce_bench" --raw; then result=(--raw "$file.raw"); fi
    within "$build/bin/allreduce_bench" --memory device --ranks-per-gpu 4 -b 8 -e 256K -f 32 --seconds 0.05 -c 1 --baseline nccl --nccl "$nccl" \
      "${result[@]}"
  done
}

# compare NAME ARGUMENT...: one comparison; remembers whether it failed, so that the next one is made all the same.
compare() {
  local name=$1 code=0
  shift
  echo "== $name: compare.py $*"
  within "$(system_python)" "$repo_root/scripts/compare.py" "$@" --alpha 0.01 --markdown "$out/$name.md" || code=$?
  if ((code)); then failed+=("$name"); fi
}

rows_of_nccl() { grep -qrE '"library": ?"nccl"' "$1"; }

stage_gate() {
  local failed=() control=()
  measure_launches
  if rows_of_nccl "$out/launches"; then
    compare gate_nccl "$out/launches" --within tutti:nccl --gate "$nccl_gate"
  else
    echo 'no rows of NCCL: nothing to compare with'
  fi
  if [[ -n $last && -n $(ls -A "$last" 2>/dev/null) ]]; then
    # The other library's times take out what the machine itself did between the two days.
    if rows_of_nccl "$out/launches" && rows_of_nccl "$last"; then control=(--control nccl); fi
    compare gate_last "$last" "$out/launches" --gate p50=5%,p99=10% ${control[@]+"${control[@]}"}
  else
    echo 'no launches of an earlier run: nothing to compare with'
  fi
  ((${#failed[@]} == 0)) || die "failed: ${failed[*]}"
}

stage_report() {
  local files
  mapfile -t files < <(grep -lE '"tutti-bench/1"|"tutti-raw"' "$out"/*.json "$out"/*.raw 2>/dev/null)
  ((${#files[@]} > 0)) || die 'no results to report'
  within "$(system_python)" "$repo_root/scripts/report.py" "${files[@]}" -o "$out/report.html" --title "Collectives on $(query name)"
}

has_numpy() { "$(system_python)" -c 'import numpy' 2>/dev/null; }

# What the next run is compared with.
keep_launches() {
  [[ -n $last && -d $out/launches ]] || return 0
  rm -rf "$last"
  mkdir -p "$(dirname "$last")"
  cp -r "$out/launches" "$last"
}

main() {
  parse "$@"
  if ! gpu_there; then
    warn 'there is no GPU here: nothing to test'
    exit 3
  fi
  SECONDS=0
  mkdir -p "$out"
  out=$(realpath "$out")
  build=${build:-$out/build}
  logs=$out/logs
  use_deps
  have nvcc || export PATH=$PATH:/usr/local/cuda/bin
  write_machine "$out/machine.json"
  say "$(query name), driver $(query driver_version); results in $out"

  local stage
  for stage in "${stages[@]}"; do
    if [[ -n $only && ",$only," != *",$stage,"* ]]; then continue; fi
    if [[ $stage == sanitizer ]] && ! have compute-sanitizer; then
      skip_stage sanitizer 'there is no compute-sanitizer'
    elif [[ $stage == gate || $stage == report ]] && ! has_numpy; then
      skip_stage "$stage" 'there is no Python with numpy'
    elif [[ $stage != build && $stage != report && ! -x $build/bin/allreduce_bench ]]; then
      leave_out_stage "$stage" 'nothing was built'
    else
      run_stage "$stage" "stage_$stage"
    fi
  done
  stage_table | tee "$out/stages.txt"
  stages_status || return 1
  keep_launches
}

main "$@"
