module metallb.io/hack/tools/gobgp-peer

go 1.21

require github.com/osrg/gobgp/v3 v3.10.0
