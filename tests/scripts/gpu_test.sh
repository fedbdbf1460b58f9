#!/usr/bin/env bash
# scripts/gpu_ci.sh and scripts/gpu_deps.sh: their options, what is said without a GPU, and that a stage that fails is told.
set -euo pipefail
# shellcheck source=../../scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# ends STATUS TEXT COMMAND...: ends with the status, and says the text.
ends() {
  local status=$1 text=$2 code=0
  shift 2
  "$@" >"$scratch/said" 2>&1 </dev/null || code=$?
  ((code == status)) || die "status $code, expected $status: $*: $(cat "$scratch/said")"
  grep -qF -- "$text" "$scratch/said" || die "'$text' is not said: $*: $(cat "$scratch/said")"
  say "ok: $text"
}

ci=$repo_root/scripts/gpu_ci.sh
ends 0 'Usage: scripts/gpu_ci.sh' "$ci" --help
ends 0 'sanitizer' "$ci" --list
ends 2 "unknown option '--nonsense'" "$ci" --nonsense
ends 2 '--out needs a value' "$ci" --out
ends 2 "--limit needs a whole number from 1 up, not 'soon'" "$ci" --limit soon
ends 2 "there is no stage 'nonsense'" "$ci" --only build,nonsense
ends 2 '/nonexistent/usr' "$ci" --deps /nonexistent
ends 0 'Usage: scripts/gpu_deps.sh' "$repo_root/scripts/gpu_deps.sh" --help
ends 1 'a folder is needed' "$repo_root/scripts/gpu_deps.sh"
ends 1 "unknown option '--nonsense'" "$repo_root/scripts/gpu_deps.sh" --nonsense

# A machine without a GPU, and one with a GPU but without anything to compile with: what nvidia-smi says decides.
mkdir "$scratch/none" "$scratch/one"
printf '#!/bin/sh\nexit 9\n' >"$scratch/none/nvidia-smi"
# shellcheck disable=SC2016  # for that shell
printf '#!/bin/sh\ncase $1 in -L) echo "GPU 0: Some (UUID: x)" ;; *) echo some ;; esac\n' >"$scratch/one/nvidia-smi"
printf '#!/bin/sh\necho no cmake today\nexit 1\n' >"$scratch/one/cmake"
chmod +x "$scratch"/*/*
ends 3 'there is no GPU here' env PATH="$scratch/none:$PATH" "$ci" --out "$scratch/out-none"
[[ ! -e $scratch/out-none ]] || die 'something was written where there is no GPU'
ends 1 'no cmake today' env PATH="$scratch/one:$PATH" "$ci" --out "$scratch/out-one"
grep -qE '^build +FAILED' "$scratch/out-one/stages.txt" || die 'the failed build is not in the table'
grep -qE '^tests +not run' "$scratch/out-one/stages.txt" || die 'tests that could not run are not in the table'
grep -q '"driver_version": "some"' "$scratch/out-one/machine.json" || die 'the machine is not told'

# A build that takes longer than the limit is ended.
printf '#!/bin/sh\nexec sleep 60\n' >"$scratch/one/cmake"
ends 1 'FAILED with status 124' env PATH="$scratch/one:$PATH" "$ci" --out "$scratch/out-late" --limit 3 --only build
