# Words of the scripts that run in a guest and tell the tests on the host what they saw.
# shellcheck shell=bash

check() { echo "CHECK $*"; }

# await SECONDS COMMAND...
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}
