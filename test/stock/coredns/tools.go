//go:build tools

// Package coredns keeps in go.mod what the stock `coredns` is built from.
package coredns

import _ "github.com/coredns/coredns"
