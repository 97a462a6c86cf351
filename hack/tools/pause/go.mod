module metallb.io/hack/tools/pause

go 1.24.0
