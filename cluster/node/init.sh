#!/bin/bash
# PID 1 of the node, in fresh network, mount, process, host name, IPC and cgroup namespaces.
# Usage: init.sh modelramp-node DIRECTORY
#
# Prints the name of each phase that is done to the pipe it was started with, "ready" as the last.
# When `up` dies before that, the write fails and the node ends with it.
set -euo pipefail
directory=$2
log=$directory/log state=$directory/state etc=$directory/etc pki=$directory/pki
export PATH=$directory/bin:$PATH
exec 3>&1 > "$log/init.log" 2>&1
. "$etc/node.env"

phase() { echo "$*" >&3; }

await() { # SECONDS WHAT COMMAND...
  local tries=$(($1 * 10)) what=$2
  shift 2
  for ((try = 0; try < tries; try++)); do
    "$@" > /dev/null 2>&1 3>&- && return 0
    sleep 0.1
  done
  echo "gave up waiting for $what"
  exit 1
}

admin() { kubectl --kubeconfig "$etc/admin.kubeconfig" "$@" 3>&-; }

daemon() { # NAME COMMAND...: its output goes to a log of its own
  local name=$1
  shift
  "$@" > "$log/$name.log" 2>&1 < /dev/null 3>&- &
}

# --- Mounts: all private to this namespace, gone with it. --------------------------------------
mount_cgroups() {
  local controller folder options
  umount -l -R /sys
  mount -t sysfs sysfs /sys
  mount -t tmpfs -o mode=755,size=1m tmpfs /sys/fs/cgroup
  while IFS=: read -r _ controller _; do
    [ -n "$controller" ] || continue # the v2 hierarchy
    folder=/sys/fs/cgroup/${controller#name=} options=$controller
    # containerd's OOM watch needs the hierarchy name=systemd, which has no controller.
    [ "$controller" = "${controller#name=}" ] || options=none,$controller
    mkdir "$folder"
    mount -t cgroup -o "$options" cgroup "$folder"
  done < /proc/self/cgroup
}

# The machine's sysctls stay as they are: only /proc/sys/net, which belongs to the network namespace, is writable.
protect_sysctls() {
  mkdir -p /run/sysctl-net /run/sysctl
  mount --bind /proc/sys/net /run/sysctl-net
  mount --bind /proc/sys /proc/sys
  mount -o remount,bind,ro /proc/sys
  mount --bind /run/sysctl-net /proc/sys/net
  umount /run/sysctl-net
}

# The kubelet insists on these values and would set them machine-wide: it gets to see files that hold them.
show_wanted_sysctls() {
  local name value file
  while read -r name value; do
    file=/run/sysctl/${name//\//.}
    echo "$value" > "$file"
    mount --bind "$file" "/proc/sys/$name"
  done << 'WANTED'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
WANTED
}

mount_state() {
  mkdir -p /var/lib/kubelet /var/lib/cni
  mount --bind "$state/kubelet" /var/lib/kubelet
  mount --bind "$state/cni" /var/lib/cni
  mount --bind "$state/log" /var/log
  mount --bind "$etc/resolv.conf" /etc/resolv.conf
}

mount --make-rprivate /
mount_cgroups
mount -t tmpfs -o mode=755,size=256m tmpfs /run --make-private
mkdir -p /run/lock /run/containerd /run/netns
chmod 1777 /run/lock
protect_sysctls
show_wanted_sysctls
mount_state
mount --make-rshared /

# --- Network: no interface leads out. -----------------------------------------------------------
hostname "$NODE_NAME"
ip link set lo up
ip link add node0 type bridge
ip addr add "$NODE_ADDRESS/24" dev node0
ip link set node0 up
ip route add default dev node0
echo 1 > /proc/sys/net/ipv4/ip_forward
if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then
  echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
fi
phase "namespaces, mounts, network"

# --- Control plane; meanwhile containerd loads the images. --------------------------------------
daemon containerd containerd --config "$etc/containerd.toml"
daemon etcd etcd --data-dir "$state/etcd" --unsafe-no-fsync \
  --listen-client-urls "$ETCD_URL" --advertise-client-urls "$ETCD_URL" \
  --listen-peer-urls "$ETCD_PEER_URL" --initial-advertise-peer-urls "$ETCD_PEER_URL" \
  --initial-cluster "default=$ETCD_PEER_URL"
daemon kube-apiserver kube-apiserver --etcd-servers="$ETCD_URL" \
  --bind-address=0.0.0.0 --secure-port="$API_PORT" --advertise-address="$NODE_ADDRESS" \
  --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
  --client-ca-file="$pki/ca.crt" --cert-dir="$state" \
  --kubelet-client-certificate="$pki/apiserver-kubelet.crt" \
  --kubelet-client-key="$pki/apiserver-kubelet.key" \
  --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
  --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file="$pki/service-accounts.key" \
  --service-account-signing-key-file="$pki/service-accounts.key" \
  --service-cluster-ip-range="$SERVICE_RANGE" \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
  --token-auth-file="$pki/tokens.csv" --allow-privileged=true

import_images() {
  local tar
  await 60 containerd ctr version
  while read -r reference digest tar; do
    [ "$(ctr -n k8s.io images list "name==$reference" | awk 'NR == 2 {print $3}')" = "$digest" ] ||
      ctr -n k8s.io images import "$tar"
  done < "$etc/images"
}
import_images > "$log/import.log" 2>&1 3>&- &
importing=$!

await 90 kube-apiserver admin get --raw /readyz
phase "etcd and kube-apiserver"

daemon kube-controller-manager kube-controller-manager \
  --kubeconfig "$etc/kube-controller-manager.kubeconfig" --use-service-account-credentials \
  --service-account-private-key-file="$pki/service-accounts.key" --root-ca-file="$pki/ca.crt" \
  --controllers='*' --leader-elect=false --bind-address=127.0.0.1 --cert-dir="$state"
daemon kube-scheduler kube-scheduler --kubeconfig "$etc/kube-scheduler.kubeconfig" \
  --leader-elect=false --bind-address=127.0.0.1 --cert-dir="$state"
daemon api-socket socat "UNIX-LISTEN:$directory/run/api.sock,fork,mode=600" "TCP:127.0.0.1:$API_PORT"
admin apply -f "$etc/coredns.yaml" # its pod waits for the node
wait "$importing"
phase "images of the node"

daemon kubelet kubelet --config "$etc/kubelet.yaml" --kubeconfig "$etc/kubelet.kubeconfig" \
  --hostname-override "$NODE_NAME" --node-ip "$NODE_ADDRESS"
daemon kube-proxy kube-proxy --config "$etc/kube-proxy.yaml"
await 60 "the node to register" admin get node "$NODE_NAME"
admin wait --for=condition=Ready "node/$NODE_NAME" --timeout=60s
phase "kubelet"
admin -n kube-system rollout status deploy/coredns --timeout=60s
phase "CoreDNS"
phase "ready"

exec 3>&-
trap 'exit 0' TERM INT
set +e
while :; do # bash reaps the orphans that containerd's shims leave
  sleep 3600 &
  wait $!
done
