#!/usr/bin/env bash
# hello_env_test.sh PROGRAM: two ranks started as torchrun would, by setting its variables; both must succeed and tell the sum.
#
# Whoever keeps rank 0's port busy makes the program fail, so another port is tried then.
set -euo pipefail

program=$1
unset TUTTI_RANK TUTTI_SIZE TUTTI_UNIQUE_ID
export WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 TORCHELASTIC_RUN_ID="hello-$$" TUTTI_SETUP_TIMEOUT=20s

try() {
  local first status=0
  export MASTER_PORT=$1
  RANK=0 "$program" &
  first=$!
  RANK=1 "$program" || status=1
  wait "$first" || status=1
  return "$status"
}

for attempt in 1 2 3; do
  output=$(try $((20000 + RANDOM % 10000))) && break
  echo "attempt $attempt failed" >&2
  output=
done
expected='rank 0 of 2 on 1 node: sum = 3
rank 1 of 2 on 1 node: sum = 3'
[[ $(sort <<<"$output") == "$expected" ]] || {
  printf 'expected:\n%s\ngot:\n%s\n' "$expected" "$output" >&2
  exit 1
}
