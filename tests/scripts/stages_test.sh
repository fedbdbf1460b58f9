#!/usr/bin/env bash
# The stage machinery of scripts/: what fails is told, what follows still runs, and ctest's verdict comes last.
set -euo pipefail
# shellcheck source=../../scripts/test_stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/test_stages.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
logs=$scratch/logs

check() {
  local told=$1
  shift
  if "$@"; then say "ok: $told"; else die "not so: $told"; fi
}
fails() { ! "$@"; }
same() { [[ $1 == "$2" ]] || { warn "got '$1', expected '$2'" && return 1; }; }

stage_good() { echo fine; }
stage_broken() {
  echo before
  false
  echo after
}
# shellcheck disable=SC2154
stage_unset() { echo "$no_such_variable"; }

run_stage good stage_good >"$scratch/out"
check 'a stage that succeeds passes' stage_passed good
check 'its output goes to its log' grep -qx fine "$logs/good.log"
check 'and not to the terminal' fails grep -q fine "$scratch/out"
check 'all passed so far' stages_status

run_stage broken stage_broken >"$scratch/out"
check 'a stage ends at its first failing command' fails grep -qx after "$logs/broken.log"
check 'and has not passed' fails stage_passed broken
check 'its tail is shown' grep -q '^ *before$' "$scratch/out"
check 'the whole has failed' fails stages_status
run_stage unset stage_unset >/dev/null
check 'an unset variable fails a stage' fails stage_passed unset
run_stage later stage_good >/dev/null
check 'a later stage still runs' stage_passed later
check 'a stage that never ran has not passed' fails stage_passed never
check 'a later success does not hide a failure' fails stages_status

stage_table >"$scratch/table"
check 'the table has a line for each stage, a head and a sum' same "$(wc -l <"$scratch/table")" 6
check 'it names the failure' grep -qE '^broken +FAILED' "$scratch/table"

# shellcheck disable=SC2034  # stages_status reads it
status_of() { (
  stage_states=("$@")
  stages_status
); }
check 'skipping everything is no success' fails status_of skipped
check 'skipping one stage is no failure' status_of passed skipped
check 'a stage that could not run is a failure' fails status_of passed 'not run'

check 'seconds are printed' same "$(elapsed 59)" 59s
check 'minutes are printed' same "$(elapsed 125)" 2m05s

mkdir "$scratch/tests"
cat >"$scratch/tests/CTestTestfile.cmake" <<END
add_test(good "true")
add_test(bad "sh" "-c" "seq 100; exit 1")
END
run_stage tests run_ctest tests "$scratch/tests" >"$scratch/out"
check 'a failing test fails its stage' fails stage_passed tests
check 'what it said last is shown at the end' same "$(tail -n 41 "$scratch/out" | xargs | cut -c -56)" 'Failed: bad, the last 40 of 100 lines: 61 62 63 64 65 66'
check 'and is no part of the verdict' fails grep -q 'Failed: bad' <(ctest_summary tests)
check "ctest's verdict is found" same "$(ctest_summary tests | head -n 1)" '50% tests passed, 1 tests failed out of 2'
run_stage tests run_ctest tests "$scratch/tests" -E bad >/dev/null
check 'of the last run only' same "$(ctest_summary tests | head -n 1)" '100% tests passed, 0 tests failed out of 1'
run_stage none run_ctest none "$scratch/tests" -R nothing >/dev/null
check 'running no test fails a stage' fails stage_passed none
