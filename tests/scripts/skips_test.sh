#!/usr/bin/env bash
# scripts/check_skips.py on what ctest really writes: allowed skips pass, others and an empty run fail.
set -euo pipefail
# shellcheck source=../../scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/CTestTestfile.cmake" <<'END'
add_test(good "true")
add_test(absent "sh" "-c" "echo no second node here; exit 77")
set_tests_properties(absent PROPERTIES SKIP_RETURN_CODE 77)
END

# expect STATUS TOLD ALLOWED CTEST-ARGUMENT...
expect() {
  local expected=$1 told=$2 allowed=$3 code=0
  shift 3
  printf '%s\n' "$allowed" >"$scratch/allowed"
  ctest --test-dir "$scratch" --output-junit "$scratch/junit.xml" "$@" >/dev/null || true
  "$(system_python)" "$repo_root/scripts/check_skips.py" "$scratch/junit.xml" "$scratch/allowed" \
    >"$scratch/out" 2>&1 || code=$?
  if ((code != expected)); then
    cat "$scratch/out" >&2
    die "not so: $told (status $code)"
  fi
  say "ok: $told"
}

expect 0 'nothing skipped, nothing allowed' '# none' -R good
expect 1 'a skip that is not listed fails' '# none'
expect 0 'a listed skip passes' 'absent : no second node'
expect 1 'another reason than the listed one fails' 'absent : no GPU'
expect 1 'a listed test that does not exist fails' 'gone : anything' -R good
expect 1 'a run of nothing but skips fails' 'absent : no second node' -R absent
expect 1 'a line that cannot be read fails' 'absent' -R good

code=0
"$(system_python)" "$repo_root/scripts/check_skips.py" "$scratch/junit.xml" "$repo_root/tests/allowed_skips.txt" \
  >/dev/null 2>"$scratch/err" || code=$?
[[ ! -s $scratch/err ]] || die "tests/allowed_skips.txt cannot be read: $(cat "$scratch/err")"
say 'ok: tests/allowed_skips.txt can be read'
