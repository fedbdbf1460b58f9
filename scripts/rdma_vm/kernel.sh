# shellcheck shell=bash
# The kernel that the guests of scripts/rdma_vm.sh boot: the distribution's, downloaded and unpacked below $vm_cache, never installed.
#
# Sourced, after common.sh. prepare_kernel sets `kernel` to a folder that holds
#   vmlinux       the kernel, uncompressed where it can be booted so (that is 3 s faster)
#   version       what uname -r will say
#   busybox       the distribution's static one, for the initial RAM disk
#   lib/modules   its modules, without those of hardware that no guest has
#   initramfs.K   the initial RAM disk; K stands for what went into it
# A folder is built beside its place and moved there when it is whole, so an interrupted set-up leaves nothing that could be taken
# for a kernel; a lock makes a second set-up wait for the first. A kernel that is there is used as it is: apt is not asked again.

: "${repo_root:?common.sh comes first}"
vm_cache=${XDG_CACHE_HOME:-$HOME/.cache}/tutti-vm
vm_parts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# In the initial RAM disk, with all that they need: faster than loading them later through the host's file system.
boot_modules=(virtio_pci virtio_rng 9pnet_virtio 9p overlay virtio_net veth bridge sch_netem sch_tbf rdma_rxe rdma_ucm)

# not_possible WHY...: what this machine cannot do is told, with the status by which ctest knows a skipped test.
not_possible() {
  warn "no virtual machine is possible here: $*"
  exit 77
}

# Dies with the names of the packages of whatever is missing on this machine.
need_programs() {
  local pair missing=()
  for pair in qemu-system-x86_64:qemu-system-x86 modprobe:kmod depmod:kmod dpkg-deb:dpkg apt-get:apt tar:tar xz:xz-utils ip:iproute2 \
    rdma:iproute2 flock:util-linux unshare:util-linux setpriv:util-linux; do
    PATH=$PATH:/usr/sbin:/sbin have "${pair%%:*}" || missing+=("${pair%%:*} (package ${pair#*:})")
  done
  ((${#missing[@]} == 0)) && return
  local IFS=,
  not_possible "missing: ${missing[*]}; scripts/install_packages.sh --vm installs what is needed"
}

# The image of the newest kernel of the distribution, as apt names it: linux-image-6.1.0-56-amd64. Nothing where it knows none.
newest_image() {
  local meta name
  for meta in linux-image-amd64 linux-image-generic; do
    name=$(apt-cache depends "$meta" 2>/dev/null | sed -nE 's/^ *Depends: (linux-image-[0-9].*)$/\1/p' | head -n 1) || true
    if [[ -n $name ]]; then
      echo "$name"
      return
    fi
  done
}

# fetch PACKAGE: downloads it into this directory.
fetch() {
  say "downloading $1"
  timeout 600 apt-get -o Acquire::Retries=3 -q download "$1" 2>&1 | grep -v unsandboxed
  [[ -n $(compgen -G "$1_*.deb") ]]
}

# unpack PACKAGE FOLDER: of the downloaded package, what a guest can have a use for.
unpack() {
  dpkg-deb --fsys-tarfile "$1"_*.deb | tar -x -C "$2" --exclude='*/kernel/sound' --exclude='*/kernel/drivers/gpu' \
    --exclude='*/kernel/drivers/media' --exclude='*/kernel/drivers/net/wireless' --exclude='*/kernel/drivers/net/ethernet' \
    --exclude='*/kernel/drivers/iio' --exclude='*/kernel/drivers/hwmon' --exclude='*/kernel/drivers/usb' \
    --exclude='*/kernel/drivers/staging' --exclude='*/kernel/drivers/isdn' --exclude='*/kernel/drivers/mtd' \
    --exclude='*/kernel/drivers/scsi' --exclude='*/kernel/drivers/input' --exclude='*/kernel/drivers/video' \
    --exclude='./usr/share'
}

# uncompress IMAGE FILE: the ELF file inside a compressed kernel, found by its compressor's magic number.
uncompress() {
  local image=$1 file=$2 pair at
  for pair in 'xz:\xfd7zXZ\x00' 'zstd:\x28\xb5\x2f\xfd' 'gzip:\x1f\x8b\x08'; do
    have "${pair%%:*}" || continue
    while IFS=: read -r at _; do
      # What follows the compressed part is no part of it, about which each of them complains.
      tail -c "+$((at + 1))" "$image" | "${pair%%:*}" -dc >"$file" 2>/dev/null || true
      if [[ $(head -c 4 "$file" | tr -d '\0') == $'\x7fELF' ]]; then return 0; fi
    done < <(LC_ALL=C grep -aobP "${pair#*:}" "$image")
  done
  rm -f "$file"
  return 1
}

# build_kernel FOLDER: downloads and unpacks into it.
build_kernel() {
  local folder=$1 image version extra
  image=$(newest_image)
  if [[ -z $image ]]; then
    as_root apt-get -q update || not_possible 'apt knows no kernel package, and its lists cannot be fetched'
    image=$(newest_image)
    [[ -n $image ]] || not_possible 'apt knows neither linux-image-amd64 nor linux-image-generic'
  fi
  version=${image#linux-image-}
  mkdir -p "$folder/unpacked"
  cd "$folder" || return
  if ! fetch "$image"; then
    # Lists that are too old name a version that is gone.
    as_root apt-get -q update || true
    image=$(newest_image)
    version=${image#linux-image-}
    fetch "$image" || not_possible "the package $image cannot be downloaded"
  fi
  fetch busybox-static || not_possible 'the package busybox-static cannot be downloaded'
  unpack "$image" unpacked
  unpack busybox-static unpacked
  # Ubuntu's modules are packages of their own.
  for extra in "linux-modules-$version" "linux-modules-extra-$version"; do
    if [[ $(apt-cache policy "$extra" 2>/dev/null) == *Candidate:\ [!\(]* ]]; then
      fetch "$extra" || not_possible "the package $extra cannot be downloaded"
      unpack "$extra" unpacked
    fi
  done
  rm -f ./*.deb

  mkdir -p lib
  if [[ -d unpacked/usr/lib/modules ]]; then mv unpacked/usr/lib/modules lib/; else mv unpacked/lib/modules lib/; fi
  # A kernel without the entry point for virtual machines starts from its compressed image only.
  if ! grep -qx CONFIG_PVH=y "unpacked/boot/config-$version" || ! uncompress "unpacked/boot/vmlinuz-$version" vmlinux; then
    mv "unpacked/boot/vmlinuz-$version" vmlinux
  fi
  if [[ -e unpacked/bin/busybox ]]; then mv unpacked/bin/busybox .; else mv unpacked/usr/bin/busybox .; fi
  rm -rf unpacked
  PATH=$PATH:/usr/sbin:/sbin depmod -b "$folder" "$version"
  echo "$version" >version
}

# module_files MODULE...: the files of these and of all that they need, in an order in which they can be loaded. (A module that is
# built into the kernel has none.)
module_files() {
  local module
  for module in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin modprobe -d "$kernel" -S "$(<"$kernel/version")" --show-depends "$module" ||
      not_possible "the kernel $(<"$kernel/version") has no module $module"
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# build_initramfs FILE
build_initramfs() {
  local root file name files
  root=$(mktemp -d "$kernel/building.XXXXXX")
  mkdir -p "$root"/{bin,dev,proc,sys,modules,lower,upper,root}
  cp "$kernel/busybox" "$root/bin/"
  cp "$vm_parts/init.sh" "$root/init"
  chmod +x "$root/init" "$root/bin/busybox"
  files=$(module_files "${boot_modules[@]}")
  for file in $files; do
    name=$(basename "$file")
    case $name in
      *.xz) xz -dc "$file" >"$root/modules/${name%.xz}" ;;
      *.zst) zstd -dcq "$file" >"$root/modules/${name%.zst}" ;;
      *) cp "$file" "$root/modules/" ;;
    esac
    name=${name%.xz}
    name=${name%.zst}
    # Names and places for debuggers are three quarters of it.
    if have strip; then strip --strip-debug "$root/modules/$name"; fi
    echo "$name" >>"$root/modules/order"
  done
  (cd "$root" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null) >"$1.new"
  rm -rf "$root"
  mv "$1.new" "$1"
}

# The newest kernel in the cache, if any.
cached_kernel() { printf '%s\n' "$vm_cache"/kernel-*/version | sort -V | tail -n 1 | sed 's|/version$||'; }

# Sets `kernel` and `initramfs`.
prepare_kernel() {
  local lock building code
  mkdir -p "$vm_cache" 2>/dev/null || not_possible "the folder $vm_cache cannot be made"
  exec {lock}>"$vm_cache/lock"
  flock --timeout 900 "$lock" || die "another set-up in $vm_cache does not come to its end"
  kernel=$(cached_kernel)
  if [[ ! -s $kernel/version ]]; then
    rm -rf "$vm_cache"/building.*
    building=$(mktemp -d "$vm_cache/building.XXXXXX")
    # Not behind `||`, where its first failure would not end it.
    set +e
    (
      set -euo pipefail
      build_kernel "$building"
    ) 1>&2
    code=$?
    set -e
    ((code == 0)) || exit "$code"
    kernel=$vm_cache/kernel-$(<"$building/version")
    mv "$building" "$kernel"
  fi
  initramfs=$kernel/initramfs.$(cat "$vm_parts/init.sh" <(echo "${boot_modules[@]}") | cksum | cut -d ' ' -f 1)
  if [[ ! -s $initramfs ]]; then
    rm -rf "$kernel"/building.*
    build_initramfs "$initramfs"
  fi
  exec {lock}>&-
}
