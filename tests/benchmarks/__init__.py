"""What the operator costs and how fast it is, as numbers of one run on a real etcd and kube-apiserver."""
