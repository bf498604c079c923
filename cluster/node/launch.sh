#!/bin/bash
# Joins the node's cgroups, then becomes the parent of the node's PID 1.
# The words "modelramp-node DIRECTORY" on the command lines are how `down` finds these processes.
set -euo pipefail
directory=$2
while read -r cgroup; do
  echo $$ > "$cgroup/cgroup.procs"
done < "$directory/run/cgroups"
exec unshare --net --mount --pid --uts --ipc --cgroup --fork --kill-child --mount-proc \
  bash "$(dirname "$0")/init.sh" modelramp-node "$directory"
