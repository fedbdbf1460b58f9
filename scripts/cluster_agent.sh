#!/usr/bin/env bash
# Runs a command on an emulated host, from inside the switch of its cluster (scripts/cluster.sh): what mpirun is given
# in place of ssh.
#
# Usage: cluster_agent.sh HOST COMMAND...
# As with ssh, the words of the command are joined and read by a shell. The working directory is kept.
set -euo pipefail

host=$1
shift
if ! read -r pid 2>/dev/null </dev/shm/cluster/"$host"; then
  echo "cluster: there is no host '$host' in this cluster" >&2
  exit 255
fi
exec nsenter --target "$pid" --net --uts --ipc --mount --pid -- \
  env -C "$PWD" setpriv --pdeathsig KILL bash -c "$*"
