#!/usr/bin/env bash
# The commands' options: help works without building anything, and what is wrong is refused before any work.
set -euo pipefail
# shellcheck source=../../scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# refused TEXT COMMAND...: fails, and its message has TEXT.
refused() {
  local text=$1 code=0
  shift
  "$repo_root/scripts/$1" "${@:2}" >"$scratch/out" 2>&1 </dev/null || code=$?
  ((code != 0)) || die "not refused: $*"
  grep -qF -- "$text" "$scratch/out" || die "refused in other words: $*: $(cat "$scratch/out")"
  say "ok: $* is refused"
}

for script in quickstart test tidy format install_packages cluster measure_launches benchmark ci_summary build_peers rdma_vm rdma_two_vms rdma_compare; do
  grep -q '^Usage: ' < <("$repo_root/scripts/$script.sh" --help) || die "no help: $script.sh"
  refused "unknown option '--nonsense'" "$script.sh" --nonsense
done
refused "--np needs a whole number from 1 up, not '0'" quickstart.sh --np 0
refused "not '-1'" quickstart.sh --np -1
refused '--jobs needs a value' quickstart.sh --jobs
refused "not 'two'" test.sh --jobs two
refused "no stage 'nonsense'" test.sh --only nonsense
refused '--only needs a stage' test.sh --only ''
refused 'no stage is left to run' test.sh --only packages --skip packages
touch "$scratch/compile_commands.json"
refused 'no such commit: nonsense' tidy.sh --build "$scratch" --changed nonsense
refused "unknown command 'nonsense'" cluster.sh nonsense
refused 'a command is missing' cluster.sh --name some
refused 'up needs a number of hosts, 1 to 250' cluster.sh up 251
refused "--delay needs a time such as 50us or 10ms, not '50'" cluster.sh up 2 --delay 50
refused "letters, digits and _.- only, not 'a b'" cluster.sh --name 'a b' status
refused '--out is needed' measure_launches.sh --new "$scratch"
refused "there is no $scratch/bin/allreduce_bench" measure_launches.sh --out "$scratch/m" --new "$scratch"
refused "not 'few'" measure_launches.sh --launches few
refused "--only needs ucc or gloo, not 'mpi'" build_peers.sh --only mpi
refused "there is no $scratch/bin/allreduce_bench" benchmark.sh --build "$scratch"
refused "there is no folder '$scratch/nothing'" ci_summary.sh "$scratch/nothing"
refused "there is no cluster 'nobodys-cluster'" cluster.sh --name nobodys-cluster exec a1 true
refused 'a command is missing' rdma_vm.sh --nodes 2
refused "--nodes needs a whole number from 1 to 8, not '9'" rdma_vm.sh --nodes 9 -- true
refused "--rails needs a whole number from 1 to 4, not '0'" rdma_vm.sh --rails 0 -- true
refused "--mtu needs a whole number from 1280 to 9000, not '100'" rdma_vm.sh --mtu 100 -- true
refused '--limit needs a value' rdma_vm.sh --limit
refused "--accel needs auto, kvm or tcg, not 'xen'" rdma_vm.sh --accel xen -- true
refused "--job needs a folder that can be written, not '$scratch/nothing'" rdma_vm.sh --job "$scratch/nothing" -- true
refused "-x needs NAME or NAME=VALUE, not '1=2'" rdma_vm.sh -x 1=2 -- true
refused 'a script is missing' rdma_two_vms.sh --limit 5
refused "there is no script '$scratch/nothing'" rdma_two_vms.sh -- "$scratch/nothing"
refused "unknown option '--nodes'" rdma_two_vms.sh --nodes 3 -- "$scratch/nothing"
refused "--part needs latency, bandwidth, collective, rails or victim, not 'all'" rdma_compare.sh --part all "$scratch"
refused "--turns needs a whole number from 1 up, not '0'" rdma_compare.sh --turns 0 "$scratch"
refused "the folder of the build's programs is missing" rdma_compare.sh --turns 2
refused "there is no program 'port_bench' in '$scratch'" rdma_compare.sh "$scratch"
refused "one folder is enough, and not '$scratch/more' too" rdma_compare.sh "$scratch" "$scratch/more"

stages=$("$repo_root/scripts/test.sh" --list | cut -d ' ' -f 1 | tr '\n' ' ')
[[ $stages == 'packages release tests skips rdma format scripts install kernels odr tidy asan tsan fuzz ' ]] ||
  die "--list does not tell the stages: $stages"
say 'ok: --list tells the stages'

# Launches of two builds take turns, each in a folder of its own; a program that can write samples is asked for them.
mkdir -p "$scratch/a/bin" "$scratch/b/bin"
for build in a b; do
  printf '#!/bin/sh\ncase "$*" in *--help*) echo "%s" ;; *) echo "%s $*" >>"%s" ;; esac\n' "$([[ $build == b ]] && echo --raw)" "$build" \
    "$scratch/turns" >"$scratch/$build/bin/allreduce_bench"
  chmod +x "$scratch/$build/bin/allreduce_bench"
done
"$repo_root/scripts/measure_launches.sh" --out "$scratch/turned" --old "$scratch/a" --new "$scratch/b" --launches 3 -- -n 5 >/dev/null
[[ $(cut -d ' ' -f 1 "$scratch/turns" | tr -d '\n') == abbaab ]] || die "not in turns: $(cat "$scratch/turns")"
grep -qxF "a -n 5 --json $scratch/turned/old/002.json" "$scratch/turns" || die "not as expected: $(cat "$scratch/turns")"
grep -qxF "b -n 5 --raw $scratch/turned/new/002.raw" "$scratch/turns" || die "not as expected: $(cat "$scratch/turns")"
say 'ok: two builds take turns'
touch "$scratch/turned/new/old.raw"
refused 'is not empty' measure_launches.sh --out "$scratch/turned" --new "$scratch/b"
mkdir "$scratch/told"
echo '### good' >"$scratch/told/gate.md"
[[ $("$repo_root/scripts/ci_summary.sh" "$scratch/told") == *'### good'* ]] || die 'the summary is not told'
