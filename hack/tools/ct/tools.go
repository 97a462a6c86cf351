//go:build tools

// Package ct pins chart-testing, which lints the chart as its users' pipelines do.
package ct

import _ "github.com/helm/chart-testing/v3/ct"
