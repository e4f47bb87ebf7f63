// SPDX-License-Identifier: Apache-2.0

// What a kubelet of this version says of its Node.
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"runtime"
	"strings"
	"time"
)

// status is what is reported now; `node` is what the Node shows.
func (n *Node) status(node object) object {
	minor, _ := minorAndPatch()
	status := object{
		"addresses": []object{
			{"type": "InternalIP", "address": n.host.NodeIP},
			{"type": "Hostname", "address": n.host.NodeName},
		},
		"capacity":    resources("20Gi"),
		"allocatable": resources("20401094656"), // k3s keeps 5 % of the disk free
		"conditions": []object{
			condition(node, "MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
			condition(node, "DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
			condition(node, "PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
			n.readiness(node),
		},
		"nodeInfo":        n.info(),
		"daemonEndpoints": object{"kubeletEndpoint": object{"Port": 10250}},
		"images": []object{
			{"names": []string{"docker.io/rancher/mirrored-coredns-coredns:1.10.1"}, "sizeBytes": 16190758},
			{"names": []string{"docker.io/rancher/mirrored-pause:3.6"}, "sizeBytes": 301463},
		},
	}
	if minor >= 31 { // RecursiveReadOnlyMounts by default
		features := object{"recursiveReadOnlyMounts": true, "userNamespaces": minor >= 33}
		status["runtimeHandlers"] = []object{{"name": "", "features": features}, {"name": "runc", "features": features}}
	}
	if minor >= 33 { // SupplementalGroupsPolicy by default, and k3s has a containerd that knows it
		status["features"] = object{"supplementalGroupsPolicy": true}
	}
	if minor >= 36 { // NodeDeclaredFeatures by default: of what is asked for, what is on by default, too
		status["declaredFeatures"] = []string{"ExtendWebSocketsToKubelet", "InPlacePodLevelResourcesVerticalScaling",
			"InPlacePodVerticalScalingInitContainers", "RestartAllContainersOnContainerExits"}
	}
	return status
}

// An API server that is older than the kubelet drops these.
var newFields = map[string]bool{"runtimeHandlers": true, "features": true, "declaredFeatures": true,
	"swap": true, "runningInUserNamespace": true}

func resources(disk string) object {
	return object{"cpu": "4", "memory": "8Gi", "ephemeral-storage": disk, "pods": "110", "hugepages-1Gi": "0", "hugepages-2Mi": "0"}
}

func (n *Node) info() object {
	minor, _ := minorAndPatch()
	reported := version
	if n.m.ReportVersion != "" {
		reported = n.m.ReportVersion
	}
	info := object{
		"architecture": runtime.GOARCH, "operatingSystem": "linux",
		"kubeletVersion": reported, "kubeProxyVersion": reported,
		"containerRuntimeVersion": "containerd://1.7.20-k3s1",
		"osImage":                 osName(),
		"kernelVersion":           line("/proc/sys/kernel/osrelease"),
		"bootID":                  line("/proc/sys/kernel/random/boot_id"),
		"machineID":               line("/etc/machine-id"),
		"systemUUID":              line("/etc/machine-id"),
	}
	if minor >= 33 { // DisableNodeKubeProxyVersion by default
		info["kubeProxyVersion"] = ""
		info["containerRuntimeVersion"] = "containerd://2.0.4-k3s2"
	}
	if swap := swapBytes(); minor >= 34 && swap > 0 {
		info["swap"] = object{"capacity": swap}
	}
	if minor >= 37 { // KubeletInUserNamespace by default
		info["runningInUserNamespace"] = false
	}
	return info
}

// readiness: not Ready at first, as with a kubelet that has not finished its start.
func (n *Node) readiness(node object) object {
	message := "CSINode is not yet initialized"
	if minor, _ := minorAndPatch(); minor < 31 { // since then the container runtime is asked before the first report
		message = "[container runtime status check may not have completed yet, PLEG is not healthy: pleg has yet to be successful]"
	}
	switch started := !n.ready.IsZero() && !time.Now().Before(n.ready); {
	case !started:
		return condition(node, "Ready", "False", "KubeletNotReady", message)
	case n.m.NeverReady:
		return condition(node, "Ready", "False", "KubeletNotReady", "container runtime network not ready: NetworkReady=false "+
			"reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized")
	}
	return condition(node, "Ready", "True", "KubeletReady", "kubelet is posting ready status")
}

// lastTransitionTime stays as long as the status does.
func condition(node object, kind, status, reason, message string) object {
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

// says tells whether `have` says all that `want` does, heartbeats aside. Both are plain JSON; what has a type is found by it.
func says(have, want interface{}) bool {
	switch want := want.(type) {
	case object:
		have, _ := have.(object)
		for key, value := range want {
			there, found := have[key]
			dropped := !found && newFields[key]
			if key != "lastHeartbeatTime" && !dropped && !says(there, value) {
				return false
			}
		}
		return true
	case []interface{}:
		have, _ := have.([]interface{})
		for i, item := range want {
			there := interface{}(nil)
			if kind := kindOf(item); kind != "" {
				for _, other := range have {
					if kindOf(other) == kind {
						there = other
					}
				}
			} else if i < len(have) && len(have) == len(want) {
				there = have[i]
			}
			if !says(there, item) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(have, want)
}

func kindOf(item interface{}) string {
	o, _ := item.(object)
	kind, _ := o["type"].(string)
	return kind
}

// plain is a copy, with nothing in it but what JSON has.
func plain(o object) object {
	var result object
	text, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(text, &result)
	}
	if err != nil {
		panic(err)
	}
	return result
}

func line(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

func osName() string {
	for _, each := range strings.Split(line("/etc/os-release"), "\n") {
		if name := strings.TrimPrefix(each, "PRETTY_NAME="); name != each {
			return strings.Trim(name, `"`)
		}
	}
	return "linux"
}

func swapBytes() int64 {
	for _, each := range strings.Split(line("/proc/meminfo"), "\n") {
		if words := strings.Fields(each); len(words) == 3 && words[0] == "SwapTotal:" {
			var kibibytes int64
			json.Unmarshal([]byte(words[1]), &kibibytes)
			return kibibytes << 10
		}
	}
	return 0
}
