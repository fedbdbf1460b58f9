#!/usr/bin/env bash
# The first process of an emulated host (scripts/cluster.sh): makes what is private to the host, then only adopts
# and reaps what its programs leave behind. When it is killed the kernel ends every process of the host.
#
# Usage: cluster_host.sh HOSTNAME HOSTS-FILE, in namespaces of its own (network, mounts, names, IPC, processes).
# Reports `HOSTNAME PID` on descriptor 3, the PID being the one that the switch sees.
set -euo pipefail
me=$1

# /proc is still the switch's, so this is the number by which the switch knows this process.
read -r pid _ </proc/self/stat

# Nothing of this may be seen by another host: segments of shared memory, interfaces, processes.
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t proc proc /proc
# Where control groups are mounted below /sys they are put back: limits of memory and processors are read there. A container may
# forbid a new /sys; then programs see the names of the machine's interfaces in it, and nothing else is lost.
mkdir /dev/shm/groups
mount --rbind /sys/fs/cgroup /dev/shm/groups 2>/dev/null || true
if mount -t sysfs sysfs /sys 2>/dev/null; then mount --rbind /dev/shm/groups /sys/fs/cgroup 2>/dev/null || true; fi
umount --lazy /dev/shm/groups 2>/dev/null || true
rmdir /dev/shm/groups

hostname "$me"
if [[ -e /etc/hosts ]]; then
  printf '%s\n' "$2" >/dev/shm/hosts
  mount --bind /dev/shm/hosts /etc/hosts
  rm /dev/shm/hosts
fi
ip link set lo up

echo "$me $pid" >&3
exec 3>&- >/dev/null 2>&1
trap '' INT HUP TERM
# A shell that waits reaps every child, adopted ones too.
while :; do sleep 86400 || true; done
