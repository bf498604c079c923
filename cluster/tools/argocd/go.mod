module modelramp.dev/cluster/tools/argocd

go 1.26.0

require github.com/argoproj/argo-cd/v3 v3.4.13
