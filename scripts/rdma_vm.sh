#!/usr/bin/env bash
# Runs a command where there is RDMA: in a small virtual machine whose kernel has Soft-RoCE, several nodes joined by a switch.
#
# Nothing is installed and no image is built: the distribution's kernel is downloaded once and unpacked to a cache, and the guest sees this
# machine's own files, read-only, below a layer in its memory. So the tree and what was built from it are there at the same
# paths, and what the command writes is gone at its end, but for the job folder. docs/transports.md tells what can be seen in it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$repo_root/scripts/rdma_vm/kernel.sh"
source "$repo_root/scripts/rdma_vm/boot.sh"

usage() {
  cat <<'END'
Usage: scripts/rdma_vm.sh [options] -- COMMAND...
       scripts/rdma_vm.sh --prepare
  --nodes N         nodes node0 ... node(N-1), 1 to 8 (default 4)
  --rails R         rxe devices of each node, 1 to 4 (default 1): rxe(i*R+r) on v(i*R+r) is rail r of node i
  --mtu BYTES       of the rails' interfaces, 1280 to 9000 (default 9000: 4096 on InfiniBand's side)
  --limit SECONDS   ends the command after that time (default 300)
  --boot-limit SECONDS   gives the guest up that has not started the command by then (default 90)
  --job DIR         a folder that the command may write, at the same path (default: one that is removed at the end); RDMA_VM_JOB names it
  -x NAME[=VALUE]   passes a variable on; so are TUTTI_*, UCX_*, *SAN_OPTIONS, PATH, HOME, LANG and LD_LIBRARY_PATH
  --memory MIB, --cpus N   of the guest (default 3072, and this machine's, 2 to 8)
  --accel auto|kvm|tcg     how it is run (default auto: KVM where a guest starts under it, else emulated, about five times slower)
  --keep            keeps the console's log and the folder that the guest has written, and tells where
  --prepare         only downloads and unpacks what is not there
  --help            this text

The command runs as the guest's root, in this directory, in the network namespace of the rxe devices, its standard input empty.
Commands for it there: rdma_vm_on NODE CMD, rdma_vm_run CMD, rdma_vm_mpirun CMD, rdma_vm_netem, rdma_vm_rate, rdma_vm_link,
rdma_vm_counters; the --help of any of them tells about all.

Exit status: the command's; 124 when its time was up, 125 when the guest did not start or died, 77 when no virtual machine is
possible here, 2 for wrong options. Needs no privilege: but a user who is not root sees in it only the files that he may read.
END
}

usage_error() {
  warn "$* (see --help)"
  exit 2
}

# number OPTION LOWEST HIGHEST VALUE...: sets `value`.
number() {
  (($# >= 4)) || usage_error "$1 needs a value"
  if ! [[ $4 =~ ^[0-9]{1,6}$ ]] || ((10#$4 < $2 || 10#$4 > $3)); then usage_error "$1 needs a whole number from $2 to $3, not '$4'"; fi
  value=$((10#$4))
}

text() { (($# >= 2)) || usage_error "$1 needs a value"; }

parse_arguments() {
  local value
  only_prepare=0
  while (($#)); do
    case $1 in
      --nodes) number --nodes 1 8 "${@:2:1}" && nodes=$value && shift ;;
      --rails) number --rails 1 4 "${@:2:1}" && rails=$value && shift ;;
      --mtu) number --mtu 1280 9000 "${@:2:1}" && mtu=$value && shift ;;
      --limit) number --limit 1 86400 "${@:2:1}" && limit=$value && shift ;;
      --boot-limit) number --boot-limit 1 3600 "${@:2:1}" && boot_limit=$value && shift ;;
      --memory) number --memory 512 262144 "${@:2:1}" && memory=$value && shift ;;
      --cpus) number --cpus 1 64 "${@:2:1}" && cpus=$value && shift ;;
      --accel)
        text "$@"
        [[ $2 =~ ^(auto|kvm|tcg)$ ]] || usage_error "--accel needs auto, kvm or tcg, not '$2'"
        accelerator=$2
        shift
        ;;
      --job)
        text "$@"
        [[ -d $2 && -w $2 ]] || usage_error "--job needs a folder that can be written, not '$2'"
        job=$(realpath -- "$2")
        shift
        ;;
      -x)
        text "$@"
        [[ $2 =~ ^[A-Za-z_][A-Za-z0-9_]*(=|$) ]] || usage_error "-x needs NAME or NAME=VALUE, not '$2'"
        passed+=("$2")
        shift
        ;;
      --keep) keep=1 ;;
      --prepare) only_prepare=1 ;;
      -h | --help)
        usage
        exit 0
        ;;
      --)
        shift
        break
        ;;
      -*) usage_error "unknown option '$1'" ;;
      *) break ;;
    esac
    shift
  done
  command=("$@")
  ((only_prepare)) || ((${#command[@]})) || usage_error 'a command is missing'
}

main() {
  parse_arguments "$@"
  need_programs
  prepare_kernel
  choose_accelerator
  if ((only_prepare)); then
    say "kernel $(<"$kernel/version"), run by $accelerator, in $kernel"
    return
  fi
  boot_guest "${command[@]}"
}

main "$@"
