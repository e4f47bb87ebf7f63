// SPDX-License-Identifier: Apache-2.0

// The Node, as a kubelet registers and reports it, and what k3s adds to it.
package main

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"log"
	"net/url"
	"runtime"
	"sync"
	"time"
)

type Node struct {
	api   *API
	admin *API // nil but on servers
	host  Host
	m     Misbehaviour
	args  string // for the annotation k3s.io/node-args
	env   string // for k3s.io/node-env

	mutex sync.Mutex
	seen  object // the Node as the watch has shown it last; nil when there is none

	ready    time.Time // from then on it is Ready
	reported time.Time // the last report
	delay    time.Duration
}

const (
	statusTries     = 5
	statusPeriod    = 10 * time.Second // nodeStatusUpdateFrequency
	reportPeriod    = 5 * time.Minute  // nodeStatusReportFrequency
	attachDetach    = "volumes.kubernetes.io/controller-managed-attach-detach"
	providedAddress = "alpha.kubernetes.io/provided-node-ip"
)

func (n *Node) path() string { return "/api/v1/nodes/" + n.host.NodeName }

func timestamp() string { return time.Now().UTC().Format(time.RFC3339) }

// follow keeps what there is to compare with, so that an idle kubelet asks for nothing.
func (n *Node) follow() {
	see := func(node object) {
		n.mutex.Lock()
		defer n.mutex.Unlock()
		n.seen = node
	}
	n.api.keepFollowing("/api/v1/nodes?fieldSelector="+url.QueryEscape("metadata.name="+n.host.NodeName), func(nodes []object) {
		see(nil)
		for _, node := range nodes {
			see(node)
		}
	}, func(kind string, node object) {
		if kind == "DELETED" {
			node = nil
		}
		see(node)
	})
}

// Those of its labels that a kubelet puts right at its start.
func defaultLabels(name string) object {
	return object{
		"kubernetes.io/hostname":           name,
		"kubernetes.io/os":                 "linux",
		"kubernetes.io/arch":               runtime.GOARCH,
		"beta.kubernetes.io/os":            "linux",
		"beta.kubernetes.io/arch":          runtime.GOARCH,
		"beta.kubernetes.io/instance-type": "k3s",
		"node.kubernetes.io/instance-type": "k3s",
	}
}

// register returns when the Node is there. A kubelet does this once: a Node that is deleted later comes back with the
// next start.
func (n *Node) register() {
	for pause := 100 * time.Millisecond; ; pause = doubled(pause) {
		time.Sleep(pause)
		err := n.tryRegister()
		if err == nil {
			return
		}
		log.Printf("registering the node: %v", err)
	}
}

func (n *Node) tryRegister() error {
	labels := defaultLabels(n.host.NodeName)
	for key, value := range n.host.Labels {
		labels[key] = value
	}
	// The taint node.kubernetes.io/not-ready is the API server's own addition.
	_, err := n.api.post("/api/v1/nodes", object{
		"apiVersion": "v1", "kind": "Node",
		"metadata": object{"name": n.host.NodeName, "labels": labels, "annotations": object{
			attachDetach: "true", providedAddress: n.host.NodeIP,
		}},
		"spec":   object{"providerID": "k3s://" + n.host.NodeName},
		"status": n.status(object{}),
	})
	// Somebody may be allowed to change what he may not make; kubelets look since 1.32.
	if minor, _ := minorAndPatch(); !isCode(err, 409) && !(isCode(err, 403) && minor >= 32) {
		return err
	}
	there, err := n.api.get(n.path())
	if err != nil {
		return err
	}
	metadata := object{}
	put := func(kind, key, value string) {
		if text(there, "metadata", kind, key) == value {
			return
		}
		if metadata[kind] == nil {
			metadata[kind] = object{}
		}
		field(metadata, kind)[key] = value
	}
	for key := range defaultLabels(n.host.NodeName) {
		put("labels", key, labels[key].(string))
	}
	put("annotations", attachDetach, "true")
	if len(metadata) > 0 {
		_, err = n.api.patch(n.path()+"/status", object{"metadata": metadata})
	}
	return err
}

// configure is k3s's part, not the kubelet's: it writes the Node whole, when there is something to change.
func (n *Node) configure() {
	for {
		node, err := n.api.get(n.path())
		if err == nil && n.amend(field(node, "metadata")) {
			_, err = n.api.put(n.path(), node)
		}
		if err == nil {
			return
		}
		log.Printf("setting annotations and labels of the node: %v", err)
		time.Sleep(500 * time.Millisecond)
	}
}

// amend tells whether it has changed something.
func (n *Node) amend(metadata object) bool {
	changed := false
	put := func(kind, key, value string) {
		if metadata[kind] == nil {
			metadata[kind] = object{}
		}
		changed = changed || field(metadata, kind)[key] != value
		field(metadata, kind)[key] = value
	}
	for key, value := range n.host.Labels {
		put("labels", key, value)
	}
	put("annotations", "k3s.io/hostname", n.host.NodeName)
	put("annotations", "k3s.io/internal-ip", n.host.NodeIP)
	sum := sha256.Sum256([]byte(n.args + n.env))
	hash := base32.StdEncoding.EncodeToString(sum[:])
	if text(metadata, "annotations", "k3s.io/node-config-hash") != hash {
		put("annotations", "k3s.io/node-args", n.args)
		put("annotations", "k3s.io/node-env", n.env)
		put("annotations", "k3s.io/node-config-hash", hash)
	}
	return changed
}

// giveRoles: what a node may not say of itself under NodeRestriction, a k3s server says with its own administrator's
// credential.
func (n *Node) giveRoles() {
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
			return
		}
		log.Printf("labelling the node with its roles: %v", err)
		time.Sleep(500 * time.Millisecond)
	}
}

// keepStatus looks again and again whether there is something to report. The first report after a start is always made,
// and says the new version.
func (n *Node) keepStatus() {
	n.ready = time.Now().Add(seconds(n.m.ReadySeconds))
	period := statusPeriod
	if n.m.StatusSeconds > 0 {
		period = seconds(n.m.StatusSeconds)
	}
	for {
		n.updateStatus()
		pause := jittered(period)
		if left := time.Until(n.ready); 0 < left && left < pause {
			pause = left // that it has become Ready is reported at once
		}
		time.Sleep(pause)
	}
}

func (n *Node) updateStatus() {
	for try := 0; try < statusTries; try++ {
		err := n.tryUpdateStatus(try)
		if err == nil {
			return
		}
		log.Printf("reporting the status: %v", err)
		if try > 0 {
			n.api.disconnect()
		}
	}
}

// tryUpdateStatus reports when the status has changed, or when it has been silent for long enough.
func (n *Node) tryUpdateStatus(try int) error {
	n.mutex.Lock()
	node := n.seen
	n.mutex.Unlock()
	if try > 0 { // what the watch has shown may be old
		var err error
		if node, err = n.api.get(n.path()); err != nil {
			return err
		}
	} else if node == nil {
		return errors.New("the node was not found")
	}
	status := n.status(node)
	changed := !says(field(node, "status"), plain(status))
	first := n.reported.IsZero()
	if !changed && !first && time.Since(n.reported) < n.longest()+n.delay {
		return nil
	}
	n.delay = 0
	if minor, _ := minorAndPatch(); minor >= 33 && (changed || first) {
		n.delay = time.Duration((random() - 0.5) * float64(n.longest()))
	}
	_, err := n.api.patch(n.path()+"/status", object{"status": status})
	if err == nil {
		n.reported = time.Now()
	}
	return err
}

// longest is how long the status may stay as it is without a report.
func (n *Node) longest() time.Duration {
	if n.m.StatusSeconds > 0 {
		return seconds(n.m.StatusSeconds)
	}
	return reportPeriod
}
