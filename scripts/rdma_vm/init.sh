#!/bin/busybox sh
# shellcheck shell=dash
# First program of the guest (scripts/rdma_vm.sh), in the initial RAM disk: loads modules, lays a tmpfs over the host's file
# system, which it mounts read-only, and goes on there with guest.sh.
#
# With vm.probe=1 on the kernel's command line it only says that this kernel runs here. What goes wrong is told on the console, then
# the guest ends.

busybox=/bin/busybox

end() {
  echo "rdma_vm: $*"
  $busybox reboot -f
}

$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs devtmpfs /dev
for word in $($busybox cat /proc/cmdline); do
  [ "$word" != vm.probe=1 ] || end 'this kernel runs'
done

while read -r module; do
  $busybox insmod "/modules/$module" || end "module $module cannot be loaded"
done </modules/order

options=trans=virtio,version=9p2000.L,msize=512000
$busybox mount -t 9p -o "ro,$options,cache=loose" host_root /lower || end "the host's file system cannot be mounted"
$busybox mount -t tmpfs -o size=90% upper /upper || end 'no tmpfs'
$busybox mkdir /upper/files /upper/work
$busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work,index=off,metacopy=off,xino=off overlay /root ||
  end 'the overlay cannot be mounted'
$busybox mkdir -p /root/run
$busybox mount -t tmpfs -o mode=755 run /root/run || end 'no tmpfs'
$busybox mkdir /root/run/rdma_vm
$busybox mount -t 9p -o "$options,cache=none" control /root/run/rdma_vm || end 'the control folder cannot be mounted'
for folder in proc sys dev; do
  $busybox mkdir -p /root/$folder
  $busybox mount --move /$folder /root/$folder || end "/$folder cannot be moved"
done
exec $busybox switch_root /root /bin/bash /run/rdma_vm/guest.sh
