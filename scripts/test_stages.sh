# shellcheck shell=bash
# The stages of scripts/test.sh: one function each, run by run_stage of common.sh in a subshell with `set -e`.
#
# Each build has a folder of its own under $builds, so that stages do not undo one another's work.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

builds=$repo_root/build
jobs=$(cores)
# One process or rank group at a time: tests that count system calls or hold to times need the cores to themselves.
test_jobs=1
fuzz_seconds=20

# What keeps this machine from judging a stage, nothing where it can. The formatter and the linter differ from one
# major version to the next: Debian 12's decide.
cannot_judge() {
  local stage=$1 decides=14 major
  if [[ $stage == kernels ]]; then
    [[ -n $(find_nvcc) ]] || echo 'there is no CUDA toolkit'
    return 0
  fi
  if [[ $stage == rdma ]]; then
    why_no_vm
    return 0
  fi
  [[ $stage == format || $stage == tidy ]] || return 0
  major=$("clang-$stage" --version 2>/dev/null | sed -nE 's/.*version ([0-9]+).*/\1/p' | head -n 1) || true
  if [[ -n $major && $major != "$decides" ]]; then echo "clang-$stage $decides decides, and this is $major"; fi
}

# What keeps virtual machines from being booted here: the last that is said of packages, and of the kernel.
why_no_vm() {
  local said code=0
  if ! said=$("$repo_root/scripts/install_packages.sh" --vm --check 2>&1); then
    tail -n 1 <<<"$said"
    return
  fi
  said=$("$repo_root/scripts/rdma_vm.sh" --prepare 2>&1) || code=$?
  # Whatever else may be wrong with it, the tests shall tell.
  ((code != 77)) || tail -n 1 <<<"$said"
}

# run_ctest NAME FOLDER ARGUMENT...: ctest with its output kept for the closing summary, and how failed tests ended at its end, where a log is looked at
# first; no test at all is an error.
run_ctest() {
  local name=$1 folder=$2 status=0
  shift 2
  ${without_aslr[@]+"${without_aslr[@]}"} ctest --test-dir "$folder" --output-on-failure --no-tests=error --output-junit "$logs/$name.junit.xml" "$@" ||
    status=$?
  if ((status)); then "$(system_python)" "$repo_root/scripts/failed_tests.py" "$logs/$name.junit.xml"; fi
  return "$status"
}

# The lines with which ctest ended in a stage's log, from its verdict on.
ctest_summary() {
  [[ -f $logs/$1.log ]] || return 0
  awk '/^[0-9]+% tests passed/ { kept = "" ; found = 1 } /^Failed: / { found = 0 } found { kept = kept $0 "\n" } END { printf "%s", kept }' \
    "$logs/$1.log" | grep -v '^[[:space:]]*$' || true
}

set_sanitizer_options() {
  # Memory that sanitizers reserve collides with the kernel's widest address randomisation; tests are run without it
  # where the system lets us (some containers do not, and then often need not).
  without_aslr=()
  if setarch "$(uname -m)" -R true 2>/dev/null; then without_aslr=(setarch "$(uname -m)" -R); fi
  ulimit -c 0
  export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1
  export LSAN_OPTIONS=suppressions=$repo_root/scripts/sanitizers/lsan.supp:print_suppressions=0
  export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
  export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
}

stage_packages() { "$repo_root/scripts/install_packages.sh" --tests; }

stage_release() {
  CC=${CC:-gcc} CXX=${CXX:-g++} cmake --preset release -B "$builds/release" -DTUTTI_WERROR=ON -DPython3_EXECUTABLE="$(system_python)"
  cmake --build "$builds/release" -j "$jobs"
}

# Proofs of plans only compute, so as many run at once as there are processors. Should one fail, the others are run all the same.
stage_tests() {
  local status=0
  run_ctest proofs "$builds/release" -R '^plan_' -j "$jobs" || status=$?
  run_ctest tests "$builds/release" -E '^plan_' -LE '^rdma$' -j "$test_jobs" || status=$?
  return "$status"
}

stage_skips() {
  "$(system_python)" "$repo_root/scripts/check_skips.py" "$logs/proofs.junit.xml" /dev/null
  "$(system_python)" "$repo_root/scripts/check_skips.py" "$logs/tests.junit.xml" "$repo_root/tests/allowed_skips.txt"
}

# Where guests can be booted none of these may be skipped.
stage_rdma() {
  run_ctest rdma "$builds/release" -L '^rdma$'
  "$(system_python)" "$repo_root/scripts/check_skips.py" "$logs/rdma.junit.xml" /dev/null
}

stage_format() { "$repo_root/scripts/format.sh" --check; }

stage_scripts() {
  cd "$repo_root" || return
  local files test
  mapfile -t files < <(tracked 'scripts/*.sh' 'tests/scripts/*.sh' '.ci/run')
  shellcheck -x -P SCRIPTDIR "${files[@]}"
  # It leaves when it has seen enough, and whoever still writes then has failed, as pipefail counts.
  if grep -nE '(^|[^|])\| *grep -[a-zA-Z]*q' "${files[@]}"; then die "grep -q at the end of a pipe: use grep -q ... < <(...)"; fi
  for test in "$repo_root"/tests/scripts/*_test.sh; do bash "$test"; done
}

find_nvcc() { command -v nvcc 2>/dev/null || compgen -G '/usr/local/cuda/bin/nvcc' || true; }

# The release build has compute capability 9.0. 10.0 is known from CUDA 12.8 on.
stage_kernels() {
  local nvcc architectures=80 folder=$builds/kernels
  nvcc=$(find_nvcc)
  if grep -qx sm_100 < <("$nvcc" --list-gpu-code); then architectures='80;100'; fi
  CC=gcc CXX=g++ cmake --preset release -B "$folder" -DTUTTI_CUDA=ON -DTUTTI_CUDA_ARCHITECTURES="$architectures" -DTUTTI_TESTS=OFF \
    -DTUTTI_BENCHMARKS=OFF -DTUTTI_MPI=OFF
  cmake --build "$folder" -j "$jobs" --target tutti_kernels
  # shellcheck disable=SC2046 # names without blanks
  "$(system_python)" "$repo_root/tests/gpu/resources_test.py" "$folder/collectives/kernels" \
    $(cd "$folder/collectives/kernels" && printf '%s\n' ./*.resources | sed -E 's|^\./||; s|\.resources$||')
}

# Two classes of one name in two sources are not an error of a compiler, nor of a linker: it takes one's functions for both.
stage_odr() {
  CC=gcc CXX=g++ cmake -G Ninja -S "$repo_root" -B "$builds/odr" -DCMAKE_BUILD_TYPE=None \
    -DCMAKE_CXX_FLAGS='-O0 -flto=auto -Werror=odr -Werror=lto-type-mismatch' -DTUTTI_TESTS=OFF -DTUTTI_BENCHMARKS=OFF -DTUTTI_MPI=OFF
  cmake --build "$builds/odr" -j "$jobs" --target tutti
}

stage_tidy() {
  CC=clang CXX=clang++ cmake --preset debug -B "$builds/clang" -DPython3_EXECUTABLE="$(system_python)"
  "$repo_root/scripts/tidy.sh" --quick --build "$builds/clang" --jobs "$jobs"
}

# clang compiles with sanitizers in less than half of gcc's time.
stage_asan() {
  set_sanitizer_options
  CC=clang CXX=clang++ cmake --preset asan -B "$builds/asan" -DTUTTI_WERROR=ON -DPython3_EXECUTABLE="$(system_python)"
  cmake --build "$builds/asan" -j "$jobs"
  # Nor is there anything to sanitize in scripts.
  run_ctest asan "$builds/asan" -LE '^(slow|cluster|rdma)$' -E 'mpi|^bench_(compare|report)' -j "$test_jobs"
  # MPI leaks from plug-ins that it has unloaded by the time leaks are looked for: there is nothing left to suppress by name.
  export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1
  run_ctest asan_mpi "$builds/asan" -LE '^(slow|cluster|rdma)$' -R mpi -j "$test_jobs"
}

# Rank threads of one process only: a race between processes is not visible to TSan.
stage_tsan() {
  set_sanitizer_options
  CC=clang CXX=clang++ cmake --preset tsan -B "$builds/tsan" -DPython3_EXECUTABLE="$(system_python)"
  local targets
  # Only what these tests name.
  mapfile -t targets < <(comm -12 <(ctest --test-dir "$builds/tsan" -N -V -L '^inprocess$' 2>&1 | grep -oE '(bin|lib)/[A-Za-z0-9_.]+' | sort -u) \
    <(ninja -C "$builds/tsan" -t targets all | sed 's/:.*//' | sort))
  ((${#targets[@]} > 0)) || die 'no test has the label inprocess'
  cmake --build "$builds/tsan" -j "$jobs" --target "${targets[@]}"
  run_ctest tsan "$builds/tsan" -L '^inprocess$' -j "$test_jobs"
}

# Coverage feedback needs the library itself instrumented, hence a build of its own, of the fuzz targets alone.
stage_fuzz() {
  set_sanitizer_options
  CC=clang CXX=clang++ cmake --preset release -B "$builds/fuzz" -DTUTTI_FUZZ=ON -DTUTTI_MPI=OFF \
    -DTUTTI_SANITIZE=address,undefined,fuzzer-no-link -DPython3_EXECUTABLE="$(system_python)"
  local targets target corpus
  mapfile -t targets < <(ninja -C "$builds/fuzz" -t targets all | sed -nE 's/^(bin\/fuzz_[^:]*):.*/\1/p')
  ((${#targets[@]} > 0)) || die 'TUTTI_FUZZ=ON makes no fuzz target'
  cmake --build "$builds/fuzz" -j "$jobs" --target "${targets[@]}"
  for target in "${targets[@]}"; do
    corpus=$builds/fuzz/corpus/$(basename "$target")
    mkdir -p "$corpus"
    ${without_aslr[@]+"${without_aslr[@]}"} "$builds/fuzz/$target" -max_total_time="$fuzz_seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
      -artifact_prefix="$logs/$(basename "$target")-" "$corpus"
  done
}

# What a user of the installed library sees: headers alone, find_package and pkg-config, tutti_ symbols and no MPI behind them.
stage_install() {
  local prefix=$builds/install library strangers consumer=$builds/consumer
  rm -rf "$prefix" "$consumer"
  cmake --install "$builds/release" --prefix "$prefix"
  library=$(find "$prefix" -name 'libtutti.so' -print -quit)
  [[ -n $library ]] || die 'no libtutti.so was installed'

  strangers=$(nm -D --defined-only "$library" | awk '$2 != "A" && $3 !~ /^tutti_/ { print $3 }')
  [[ -z $strangers ]] || die "exported, and not named tutti_: $strangers"
  if readelf -d "$library" | grep NEEDED | grep -i mpi; then die 'the library links MPI'; fi

  cmake -S "$repo_root/tests/scripts/consumer" -B "$consumer" -G Ninja -DCMAKE_PREFIX_PATH="$prefix"
  cmake --build "$consumer" -j "$jobs"
  timeout 60 "$consumer/c_program"
  timeout 60 "$consumer/cpp_program"
  timeout 60 mpirun -np 2 --oversubscribe --bind-to none "$consumer/mpi_program"

  local flags
  # The installed prefix is not the configured one.
  read -ra flags <<<"$(PKG_CONFIG_PATH=$(dirname "$library")/pkgconfig \
    pkg-config --define-variable=prefix="$prefix" --cflags --libs tutti)"
  gcc -std=c11 "$repo_root/tests/scripts/consumer/c_program.c" "${flags[@]}" -pthread -o "$consumer/by_pkg_config"
  LD_LIBRARY_PATH=$(dirname "$library") timeout 60 "$consumer/by_pkg_config"
}
