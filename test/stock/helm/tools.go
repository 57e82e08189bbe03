//go:build tools

// Package helm keeps in go.mod what the stock `helm` is built from.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
