//go:build tools

// Package hubble keeps in go.mod what the stock `hubble` client is built from.
package hubble

import _ "github.com/cilium/cilium/hubble"
