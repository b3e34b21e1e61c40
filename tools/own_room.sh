#!/bin/sh
# Run a command in namespaces of its own (network, mounts, processes): it may lay cables and pull them,
# nothing of this machine's network is touched, and whatever it started ends with it. Needs root, on Linux.
set -eu
if [ "$(id -u)" != 0 ] || ! unshare --net --mount --pid --fork true 2>/dev/null; then
  echo "This needs root on Linux, and namespaces that may be made: not here." >&2
  exit 1
fi
# The inner shell stays, to be the parent of whatever loses its own: the dead are buried.
exec unshare --net --mount --pid --fork --kill-child --mount-proc sh -eu -c '
  ip link set lo up
  mkdir -p /run/netns
  mount -t tmpfs none /run/netns
  "$@"' own-room "$@"
