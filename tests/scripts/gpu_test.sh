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

# The gate and the report, with a benchmark that only writes results: NCCL's times are 3 us, Tutti's what TUTTI_US says.
mkdir -p "$scratch/build/bin"
cat >"$scratch/build/bin/allreduce_bench" <<END
#!$(system_python)
import os, random, sys
sys.path.insert(0, "$repo_root/tests/benchmarks")
import simulated
if "--help" in sys.argv:
    sys.exit("no option of that kind")
rows = []
for size in (8, 256):
    for library, median in (("tutti", float(os.environ["TUTTI_US"])), ("nccl", 3.0)):
        rows.append(simulated.row([median * random.uniform(0.99, 1.01) for _ in range(200)], size, library, memory="device"))
simulated.document(sys.argv[sys.argv.index("--json") + 1], rows, random.randrange(3600))
END
chmod +x "$scratch/build/bin/allreduce_bench"
gate() { env PATH="$scratch/one:$PATH" TUTTI_US="$1" "$ci" --only gate --build "$scratch/build" --out "$scratch/gate" --last "$scratch/last" "${@:2}"; }
if "$(system_python)" -c 'import numpy' 2>/dev/null; then
  ends 0 'gate       passed' gate 2.0
  grep -q 'no regression in 4 comparisons' "$scratch/gate/gate_nccl.md" || die 'the gate against NCCL is not in its summary'
  grep -q 'nothing to compare with' "$scratch/gate/logs/gate.log" || die 'a first run has nothing to compare with'
  [[ -f $scratch/last/011.json ]] || die 'the launches were not kept'
  ends 0 'gate       passed' gate 2.0
  grep -q '3 launches' "$scratch/gate/gate_last.md" && die 'not all launches were compared'
  ends 1 'failed: gate_last' gate 2.6
  ends 1 'failed: gate_nccl gate_last' gate 3.6
  grep -q 'REGRESSION' "$scratch/gate/gate_nccl.md" || die 'what is slower than NCCL is not told'
  before=$(md5sum "$scratch/last/000.json")
  ends 1 'too few launches' gate 2.0 --launches 2
  [[ $(md5sum "$scratch/last/000.json") == "$before" ]] || die 'a failed run has replaced the last good one'
  mv "$scratch/gate/launches/000.json" "$scratch/gate/all_reduce_2.json"
  ends 0 'report     passed' env PATH="$scratch/one:$PATH" "$ci" --only report --build "$scratch/build" --out "$scratch/gate"
  grep -q 'NCCL' "$scratch/gate/report.html" || die 'the report does not show NCCL'
fi
ends 2 "--launches needs a whole number from 1 up, not 'many'" "$ci" --launches many
