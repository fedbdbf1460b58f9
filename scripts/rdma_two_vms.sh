#!/usr/bin/env bash
# Runs a script on two hosts that RDMA joins: two virtual machines as those of scripts/rdma_vm.sh, with one virtual Ethernet between
# them, which is a pair of sockets in a folder of this run's own.
#
# For what one kernel cannot show: two hosts share no memory, no clock and no driver, and the connection manager (rdma_cm) works.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$repo_root/scripts/rdma_vm/kernel.sh"
source "$repo_root/scripts/rdma_vm/boot.sh"

usage() {
  cat <<'END'
Usage: scripts/rdma_two_vms.sh [options] -- SCRIPT [ARGUMENT...]
  --mtu BYTES       of the Ethernet, 1280 to 9000 (default 9000: 4096 on InfiniBand's side)
  --limit SECONDS   ends the script after that time (default 300)
  --boot-limit SECONDS   gives a guest up that has not started it by then (default 90)
  --job DIR         a folder that both may write, at the same path (default: one that is removed at the end); RDMA_VM_JOB names it
  -x NAME[=VALUE]   passes a variable on; so are TUTTI_*, UCX_*, *SAN_OPTIONS, PATH, HOME, LANG and LD_LIBRARY_PATH
  --memory MIB, --cpus N   of each guest (default 2048 and 1)
  --accel auto|kvm|tcg     how they are run (default auto)
  --keep            keeps the consoles' logs and the folder that the guests have written, and tells where
  --prepare         only downloads and unpacks what is not there
  --help            this text

bash runs the SCRIPT on both, with NODE=0 or 1, NODES=2, TUTTI_NODE_ID and TUTTI_IB_HCA set; the hosts are node0 and node1 (10.2.0.1 and
10.2.0.2, fd00::1 and fd00::2), each with rxe0 on eth0. Both are there when it starts. Lines of output say where they come from.

Exit status: that of the guest that failed first, as scripts/rdma_vm.sh has it, else 0. When one has failed the other is ended after
20 s.
END
}

parse_arguments() {
  local taken
  while (($#)); do
    parse_guest_option "$@"
    if ((taken)); then
      shift "$taken"
      continue
    fi
    case $1 in
      --)
        shift
        break
        ;;
      -*) usage_error "unknown option '$1'" ;;
      *) break ;;
    esac
  done
  script=("$@")
  ((only_prepare)) && return
  ((${#script[@]})) || usage_error 'a script is missing'
  [[ -r ${script[0]} ]] || usage_error "there is no script '${script[0]}'"
}

# One of the two, in a shell of its own.
boot_one() {
  local i=$1
  wired=$i
  wire=(-netdev "dgram,id=wire,local.type=unix,local.path=$folder/$i,remote.type=unix,remote.path=$folder/$((1 - i))"
    -device "virtio-net-pci,netdev=wire,mac=52:54:00:00:00:0$i,host_mtu=$mtu")
  passed+=("TUTTI_NODE_ID=node$i" TUTTI_IB_HCA=rxe0 UCX_NET_DEVICES="${UCX_NET_DEVICES:-rxe0:1,eth0}"
    UCX_IB_GID_INDEX="${UCX_IB_GID_INDEX:-2}")
  boot_guest bash "${script[@]}" > >(sed -u "s/^/[node$i] /") 2> >(sed -u "s/^/[node$i] /" >&2)
}

# Ends those that still run, and waits for them: they take their machines with them.
end_guests() {
  local guest
  for guest in ${guests[@]+"${guests[@]}"}; do kill -TERM "$guest" 2>/dev/null || true; done
  wait || true
  if ((keep)); then warn "the job folder is $job"; else rm -rf "$folder"; fi
}

main() {
  local i status=0 patience
  nodes=2
  memory=2048
  cpus=1
  parse_arguments "$@"
  prepare
  ((!only_prepare)) || return 0
  folder=$(mktemp -d "${TMPDIR:-/tmp}/tutti-vm.XXXXXX")
  guests=()
  trap end_guests EXIT
  trap 'exit 143' TERM INT HUP
  if [[ -z $job ]]; then
    job=$folder/job
    mkdir "$job"
  fi
  for i in 0 1; do
    (boot_one "$i") &
    guests+=($!)
  done
  wait -n "${guests[@]}" || status=$?
  if ((status)); then
    # The first failure counts; the other may have something to say about it.
    sleep 20 &
    patience=$!
    wait -n || true
    kill "$patience" 2>/dev/null || true
  else
    wait -n || status=$?
  fi
  exit "$status"
}

main "$@"
