//go:build tools

// Package helmunittest pins the plugin behind `helm unittest`.
package helmunittest

import _ "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"
