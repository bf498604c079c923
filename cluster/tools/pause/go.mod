module modelramp.dev/cluster/tools/pause

go 1.22
