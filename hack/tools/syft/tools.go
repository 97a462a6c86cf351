//go:build tools

// Package syft pins the program that lists what an image is made of.
package syft

import _ "github.com/anchore/syft/cmd/syft"
