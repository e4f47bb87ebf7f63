// SPDX-License-Identifier: Apache-2.0

// The Node and its Lease, as a kubelet keeps them.
package main

import (
	"log"
	"os"
	"runtime"
	"strings"
	"time"
)

type Node struct {
	api   *API
	admin *API // nil but on servers
	host  Host
	m     Misbehaviour
	args  string // for the annotation k3s.io/node-args
}

func (n *Node) path() string { return "/api/v1/nodes/" + n.host.NodeName }

func timestamp() string { return time.Now().UTC().Format(time.RFC3339) }

// Creates the Node if there is none, else says its arguments. What a node may not say of itself under NodeRestriction, its roles, a
// k3s server says with its own administrator's credential.
func (n *Node) register() {
	labels := object{
		"kubernetes.io/hostname":           n.host.NodeName,
		"kubernetes.io/os":                 "linux",
		"kubernetes.io/arch":               runtime.GOARCH,
		"beta.kubernetes.io/os":            "linux",
		"beta.kubernetes.io/arch":          runtime.GOARCH,
		"beta.kubernetes.io/instance-type": "k3s",
		"node.kubernetes.io/instance-type": "k3s",
	}
	for key, value := range n.host.Labels {
		labels[key] = value
	}
	args := object{"k3s.io/node-args": n.args}
	for {
		_, err := n.api.patch(n.path(), object{"metadata": object{"annotations": args}})
		if isCode(err, 404) {
			_, err = n.api.post("/api/v1/nodes", object{
				"apiVersion": "v1", "kind": "Node",
				"metadata": object{"name": n.host.NodeName, "labels": labels, "annotations": object{
					"k3s.io/hostname":    n.host.NodeName,
					"k3s.io/internal-ip": n.host.NodeIP,
					"k3s.io/node-args":   n.args,
					"volumes.kubernetes.io/controller-managed-attach-detach": "true",
				}},
				"spec": object{"providerID": "k3s://" + n.host.NodeName},
			})
		}
		if err == nil {
			break
		}
		log.Printf("registering the node: %v", err)
		time.Sleep(500 * time.Millisecond)
	}
	for n.admin != nil {
		roles := object{
			"node-role.kubernetes.io/control-plane": "true",
			"node-role.kubernetes.io/master":        "true",
		}
		roles["node-role.kubernetes.io/etcd"] = nil // takes away what an earlier start has left
		if n.host.Etcd {
			roles["node-role.kubernetes.io/etcd"] = "true"
		}
		_, err := n.admin.patch(n.path(), object{"metadata": object{"labels": roles}})
		if err == nil {
			break
		}
		log.Printf("labelling the node with its roles: %v", err)
		time.Sleep(500 * time.Millisecond)
	}
}

// The first report after a start says the new version and, as with a kubelet whose container runtime was
// not asked yet, not Ready.
func (n *Node) keepStatus() {
	ready := time.Now().Add(seconds(n.m.ReadySeconds))
	for {
		isReady := !time.Now().Before(ready) && !n.m.NeverReady
		err := n.report(isReady)
		if isCode(err, 404) { // somebody deleted the Node: a kubelet registers again only when it restarts
			log.Print("the node was not found")
		} else if err != nil {
			log.Printf("reporting the status: %v", err)
			time.Sleep(500 * time.Millisecond)
			continue
		}
		if !isReady && !n.m.NeverReady {
			time.Sleep(time.Until(ready))
			continue
		}
		time.Sleep(seconds(n.m.StatusSeconds))
	}
}

func (n *Node) report(ready bool) error {
	current, err := n.api.get(n.path())
	if err != nil {
		return err
	}
	reported := version
	if n.m.ReportVersion != "" {
		reported = n.m.ReportVersion
	}
	conditions := []object{
		n.condition(current, "MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		n.condition(current, "DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		n.condition(current, "PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
	}
	if ready {
		conditions = append(conditions, n.condition(current, "Ready", "True", "KubeletReady", "kubelet is posting ready status"))
	} else {
		conditions = append(conditions, n.condition(current, "Ready", "False", "KubeletNotReady",
			"[container runtime status check may not have completed yet]"))
	}
	capacity := object{"cpu": "4", "memory": "8Gi", "ephemeral-storage": "20Gi", "pods": "110"}
	_, err = n.api.patch(n.path()+"/status", object{"status": object{
		"addresses": []object{
			{"type": "InternalIP", "address": n.host.NodeIP},
			{"type": "Hostname", "address": n.host.NodeName},
		},
		"capacity":    capacity,
		"allocatable": capacity,
		"conditions":  conditions,
		"nodeInfo": object{
			"architecture": runtime.GOARCH, "operatingSystem": "linux",
			"kubeletVersion": reported, "kubeProxyVersion": reported,
			"containerRuntimeVersion": "containerd://1.7.20-k3s1",
			"osImage":                 "Debian GNU/Linux 12 (bookworm)",
			"kernelVersion":           line("/proc/sys/kernel/osrelease"),
			"bootID":                  line("/proc/sys/kernel/random/boot_id"),
			"machineID":               line("/etc/machine-id"),
			"systemUUID":              line("/etc/machine-id"),
		},
		"daemonEndpoints": object{"kubeletEndpoint": object{"Port": 10250}},
	}})
	return err
}

// lastTransitionTime stays as long as the status does.
func (n *Node) condition(node object, kind, status, reason, message string) object {
	now := timestamp()
	changed := now
	list, _ := field(node, "status")["conditions"].([]interface{})
	for _, item := range list {
		if old, ok := item.(object); ok && text(old, "type") == kind && text(old, "status") == status {
			changed = text(old, "lastTransitionTime")
		}
	}
	return object{"type": kind, "status": status, "reason": reason, "message": message,
		"lastHeartbeatTime": now, "lastTransitionTime": changed}
}

func (n *Node) renewLease() {
	const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
	for {
		now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
		spec := object{"holderIdentity": n.host.NodeName, "leaseDurationSeconds": 40, "renewTime": now}
		lease, err := n.api.get(leases + "/" + n.host.NodeName)
		if isCode(err, 404) {
			metadata := object{"name": n.host.NodeName, "namespace": "kube-node-lease"}
			if node, err := n.api.get(n.path()); err == nil {
				metadata["ownerReferences"] = []object{{"apiVersion": "v1", "kind": "Node",
					"name": n.host.NodeName, "uid": text(node, "metadata", "uid")}}
			}
			_, err = n.api.post(leases, object{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
				"metadata": metadata, "spec": spec})
		} else if err == nil {
			lease["spec"] = spec
			_, err = n.api.put(leases+"/"+n.host.NodeName, lease)
		}
		if err != nil {
			log.Printf("renewing the lease: %v", err)
			time.Sleep(time.Second)
			continue
		}
		time.Sleep(10 * time.Second)
	}
}

func line(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}
