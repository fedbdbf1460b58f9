#!/bin/busybox sh
# shellcheck shell=dash
# The first process of a node in the guest (guest.sh): makes what is private to the node, then only adopts and reaps what its programs
# leave behind. When it is killed the kernel ends every process of the node.
#
# Usage: node.sh NAME BUSYBOX, in namespaces of its own (network, mounts, names, IPC, processes). Reports `NAME PID` on descriptor 3.
# shellcheck disable=SC3037
set -eu
name=$1
busybox=$2

# /proc is still the guest's, so this is the number by which the guest knows this process.
read -r pid _ </proc/self/stat

# Nothing of this may be seen by another node: segments of shared memory, processes, interfaces for TCP.
"$busybox" mount -t tmpfs -o mode=1777 shm /dev/shm
"$busybox" mount -t proc proc /proc
"$busybox" mount -t sysfs sysfs /sys
echo "$name" >/proc/sys/kernel/hostname

echo "$name $pid" >&3
exec 3>&- >/dev/null 2>&1
trap '' INT HUP TERM
# A shell that waits reaps every child, adopted ones too.
while :; do "$busybox" sleep 86400 || true; done
