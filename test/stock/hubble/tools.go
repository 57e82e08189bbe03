//go:build tools

// Package hubble keeps in go.mod what the stock `hubble` client and `hubble-relay` are built from.
package hubble

import (
	_ "github.com/cilium/cilium/hubble"
	_ "github.com/cilium/cilium/hubble-relay"
)
