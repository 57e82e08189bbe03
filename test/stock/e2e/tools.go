//go:build tools

package main

import _ "github.com/onsi/ginkgo/v2/ginkgo"
