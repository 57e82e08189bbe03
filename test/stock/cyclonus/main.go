// Every test case of cyclonus as JSON, a line per step: the cluster, its NetworkPolicies, and what cyclonus's own
// simulation says about every pair (test/scenario/stock-cyclonus.test.ts).
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/connectivity"
	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/kube"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
	"github.com/sirupsen/logrus"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

type port struct {
	Name     string      `json:"name,omitempty"`
	Port     int         `json:"port"`
	Protocol v1.Protocol `json:"protocol"`
}

type pod struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels"`
	IP        string            `json:"ip"`
	Ports     []port            `json:"ports"`
}

type step struct {
	Name       string                        `json:"name"`
	Namespaces map[string]map[string]string  `json:"namespaces"`
	Pods       []pod                         `json:"pods"`
	Outside    []string                      `json:"outside"`
	Policies   []*networkingv1.NetworkPolicy `json:"policies"`
	Ports      []port                        `json:"ports"`
	// One digit for each sender, receiver (pods, then outside) and port: 1 ingress allowed + 2 egress allowed.
	Verdicts string `json:"verdicts"`
}

var protocols = []v1.Protocol{v1.ProtocolTCP, v1.ProtocolUDP, v1.ProtocolSCTP}

// Served are 80 and 81; the others are what the cases' ranges and DNS rules are about.
var numbers = []int{53, 79, 80, 81, 82, 103}

// Two addresses of the pods' network that no pod has, and one of the world.
var outside = []string{"192.168.1.200", "192.168.2.5", "198.51.100.7"}

func main() {
	logrus.SetLevel(logrus.ErrorLevel)
	namespaces := []string{"x", "y", "z"}
	start, err := probe.NewDefaultResources(kube.NewMockKubernetes(1), namespaces, []string{"a", "b", "c"}, []int{80, 81}, protocols, nil, 5, false, "")
	check(err)
	subject, err := start.GetPod("z", "c")
	check(err)
	out := json.NewEncoder(os.Stdout)
	for _, allowDNS := range []bool{true, false} {
		for i, test := range generator.NewTestCaseGenerator(allowDNS, subject.IP, namespaces, nil, nil).GenerateTestCases() {
			mock := kube.NewMockKubernetes(1)
			check(start.CreateResourcesInKube(mock))
			state := &connectivity.TestCaseState{Kubernetes: mock, Resources: start}
			for j, one := range test.Steps {
				for _, action := range one.Actions {
					check(apply(state, action))
				}
				check(out.Encode(judge(fmt.Sprintf("case %d step %d, DNS %t: %s", i+1, j+1, allowDNS, test.Description), state)))
			}
		}
	}
}

func apply(state *connectivity.TestCaseState, action *generator.Action) error {
	switch {
	case action.CreatePolicy != nil:
		return state.CreatePolicy(action.CreatePolicy.Policy)
	case action.UpdatePolicy != nil:
		return state.UpdatePolicy(action.UpdatePolicy.Policy)
	case action.DeletePolicy != nil:
		return state.DeletePolicy(action.DeletePolicy.Namespace, action.DeletePolicy.Name)
	case action.CreateNamespace != nil:
		return state.CreateNamespace(action.CreateNamespace.Namespace, action.CreateNamespace.Labels)
	case action.SetNamespaceLabels != nil:
		return state.SetNamespaceLabels(action.SetNamespaceLabels.Namespace, action.SetNamespaceLabels.Labels)
	case action.DeleteNamespace != nil:
		return state.DeleteNamespace(action.DeleteNamespace.Namespace)
	case action.ReadNetworkPolicies != nil:
		return state.ReadPolicies(action.ReadNetworkPolicies.Namespaces)
	case action.CreatePod != nil:
		return state.CreatePod(action.CreatePod.Namespace, action.CreatePod.Pod, action.CreatePod.Labels)
	case action.SetPodLabels != nil:
		return state.SetPodLabels(action.SetPodLabels.Namespace, action.SetPodLabels.Pod, action.SetPodLabels.Labels)
	case action.DeletePod != nil:
		return state.DeletePod(action.DeletePod.Namespace, action.DeletePod.Pod)
	}
	return fmt.Errorf("an action that is none: %+v", action)
}

func judge(name string, state *connectivity.TestCaseState) step {
	now := state.Resources
	said := step{Name: name, Namespaces: now.Namespaces, Outside: outside, Policies: state.Policies}
	for _, number := range numbers {
		for _, protocol := range protocols {
			said.Ports = append(said.Ports, port{Port: number, Protocol: protocol})
		}
	}
	var parties []*matcher.TrafficPeer
	var names []map[port]string // of each party's container ports
	for _, one := range now.Pods {
		plain := pod{Namespace: one.Namespace, Name: one.Name, Labels: one.Labels, IP: one.IP}
		named := map[port]string{}
		for _, container := range one.Containers {
			plain.Ports = append(plain.Ports, port{container.PortName, container.Port, container.Protocol})
			named[port{Port: container.Port, Protocol: container.Protocol}] = container.PortName
		}
		said.Pods = append(said.Pods, plain)
		names = append(names, named)
		parties = append(parties, &matcher.TrafficPeer{IP: one.IP, Internal: &matcher.InternalPeer{
			PodLabels: one.Labels, NamespaceLabels: now.Namespaces[one.Namespace], Namespace: one.Namespace,
		}})
	}
	for _, address := range outside {
		parties = append(parties, &matcher.TrafficPeer{IP: address})
		names = append(names, nil)
	}
	policies := matcher.BuildNetworkPolicies(false, state.Policies)
	var digits []byte
	for _, from := range parties {
		for i, to := range parties {
			for _, asked := range said.Ports {
				name, known := names[i][asked]
				if !known {
					name = "no such port"
				}
				traffic := &matcher.Traffic{Source: from, Destination: to, ResolvedPort: asked.Port, ResolvedPortName: name, Protocol: asked.Protocol}
				allowed := policies.IsTrafficAllowed(traffic)
				digit := byte('0')
				if allowed.Ingress.IsAllowed() {
					digit += 1
				}
				if allowed.Egress.IsAllowed() {
					digit += 2
				}
				digits = append(digits, digit)
			}
		}
	}
	said.Verdicts = string(digits)
	return said
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
