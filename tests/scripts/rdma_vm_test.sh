#!/usr/bin/env bash
# What scripts/rdma_vm.sh says where no virtual machine is possible, and what an interrupted set-up leaves. Boots nothing.
set -euo pipefail
# shellcheck source=../../scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cache=$scratch/cache/tutti-vm
mkdir "$scratch/bin" "$scratch/fakes"

# A PATH of these programs only.
for program in bash basename dirname nproc id cat mkdir mktemp rm mv cp flock sed head tail sort grep awk cut tr chmod find env timeout uname; do
  ln -s "$(type -P "$program")" "$scratch/bin/$program"
done

# prepare PATH: its status in `code`, its words in $scratch/out.
prepare() {
  code=0
  PATH=$1 XDG_CACHE_HOME=$scratch/cache "$repo_root/scripts/rdma_vm.sh" --prepare >"$scratch/out" 2>&1 </dev/null || code=$?
}

# told STATUS TEXT WHAT
told() {
  ((code == $1)) || die "$3: status $code and not $1: $(cat "$scratch/out")"
  grep -qF -- "$2" "$scratch/out" || die "$3: not told: $(cat "$scratch/out")"
  say "ok: $3"
}

prepare "$scratch/bin"
told 77 'qemu-system-x86_64 (package qemu-system-x86)' 'a missing program is told, with its package'
told 77 'scripts/install_packages.sh --vm' 'and how to install it'

# fake PROGRAM TEXT: a program of that name.
fake() {
  printf '#!/bin/sh\n%s\n' "$2" >"$scratch/fakes/$1"
  chmod +x "$scratch/fakes/$1"
}
for program in qemu-system-x86_64 modprobe depmod dpkg-deb tar xz ip rdma unshare setpriv; do fake "$program" 'exit 1'; done
fake sudo 'exit 1'
fake apt-cache 'exit 1'
fake apt-get 'exit 1'
prepare "$scratch/fakes:$scratch/bin"
told 77 'no virtual machine is possible here' 'an apt that knows no kernel is told'

# shellcheck disable=SC2016  # for the fake program
fake apt-cache 'case "$2" in linux-image-amd64) echo "  Depends: linux-image-1.2.3-amd64" ;; esac'
mkdir "$cache/building.interrupted"
prepare "$scratch/fakes:$scratch/bin"
told 77 'the package linux-image-1.2.3-amd64 cannot be downloaded' 'a kernel that cannot be downloaded is told'
[[ ! -e $cache/building.interrupted ]] || die 'what an interrupted set-up has left is still there'
say 'ok: what an interrupted set-up has left is removed'

# shellcheck disable=SC2016
fake apt-get 'case "$*" in *download*) for name; do :; done; touch "${name}_1_amd64.deb" ;; esac'
prepare "$scratch/fakes:$scratch/bin"
((code != 0)) || die 'a package that cannot be unpacked is taken for a kernel'
[[ -z $(compgen -G "$cache/kernel-*") ]] || die "half a kernel is in the cache: $(ls "$cache")"
say 'ok: half a kernel never gets its name'
