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

parse_arguments() {
  local taken value
  while (($#)); do
    parse_guest_option "$@"
    if ((taken)); then
      shift "$taken"
      continue
    fi
    case $1 in
      --nodes) number 1 8 "$@" && nodes=$value && shift ;;
      --rails) number 1 4 "$@" && rails=$value && shift ;;
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
  prepare
  ((!only_prepare)) || return 0
  boot_guest "${command[@]}"
}

main "$@"
