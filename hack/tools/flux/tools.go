//go:build tools

// Package flux pins the two controllers of Flux that install a chart: one fetches it, the other runs Helm.
package flux

import (
	_ "github.com/fluxcd/helm-controller"
	_ "github.com/fluxcd/source-controller"
)
