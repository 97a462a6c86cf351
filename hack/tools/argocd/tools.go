//go:build tools

// The program that this module pins beside its own.
package main

import _ "github.com/argoproj/argo-cd/v3/cmd"
