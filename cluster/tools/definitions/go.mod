module modelramp.dev/cluster/tools/definitions

go 1.26.0

require (
	istio.io/api v1.31.4
	sigs.k8s.io/gateway-api v1.6.1
)
