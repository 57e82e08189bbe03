// A container runtime's use of libcni: one request per line of stdin, one answer per line of stdout, both JSON
// (test/kit/libcni.ts).
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

type request struct {
	Verb string
	// A network configuration list, as in a .conflist file.
	List json.RawMessage
	// Folders of plugins.
	Path []string
	// Folder of cached results.
	Cache   string
	Runtime libcni.RuntimeConf
	// For GC. Absent: without arguments at all, as cnitool does it.
	Valid *[]types.GCAttachment
}

type answer struct {
	Result any    `json:"result"`
	Error  string `json:"error,omitempty"`
	Code   uint   `json:"code,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		result, err := serve(asked)
		given := answer{Result: result}
		if err != nil {
			given.Error = err.Error()
			var plugin *types.Error
			if errors.As(err, &plugin) {
				given.Code = plugin.Code
			}
		}
		text, err := json.Marshal(given)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(text))
	}
}

func serve(asked request) (any, error) {
	ctx := context.Background()
	cni := libcni.NewCNIConfigWithCacheDir(asked.Path, asked.Cache, nil)
	list, err := libcni.NetworkConfFromBytes(asked.List)
	if err != nil {
		return nil, err
	}
	runtime := &asked.Runtime
	switch asked.Verb {
	case "ADD":
		return cni.AddNetworkList(ctx, list, runtime)
	case "CHECK":
		return nil, cni.CheckNetworkList(ctx, list, runtime)
	case "DEL":
		return nil, cni.DelNetworkList(ctx, list, runtime)
	case "GC":
		if asked.Valid == nil {
			return nil, cni.GCNetworkList(ctx, list, nil)
		}
		return nil, cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: *asked.Valid})
	case "STATUS":
		return nil, cni.GetStatusNetworkList(ctx, list)
	case "VALIDATE":
		return cni.ValidateNetworkList(ctx, list)
	case "CACHED":
		return cni.GetNetworkListCachedResult(list, runtime)
	}
	return nil, fmt.Errorf("verb %q", asked.Verb)
}
