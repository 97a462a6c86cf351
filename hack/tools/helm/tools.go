//go:build tools

// Package helm pins the Helm program that the chart's tests and the lab run.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
