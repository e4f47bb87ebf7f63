// SPDX-License-Identifier: Apache-2.0

// The Node's Lease, which says that the kubelet lives, and nothing else.
package main

import (
	"log"
	"time"
)

const (
	leases        = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
	leaseDuration = 40 * time.Second
	leaseTries    = 5
)

// renewLease goes on from the kubelet's start to its end, whatever becomes of the Node: it begins before the first report.
func (n *Node) renewLease() {
	var latest object // as the API server gave it last
	for {
		latest = n.syncLease(latest)
		time.Sleep(jittered(leaseDuration / 4))
	}
}

// syncLease renews it without asking first: hardly anybody else writes it.
func (n *Node) syncLease(latest object) object {
	if latest != nil {
		if renewed := n.updateLease(latest); renewed != nil {
			return renewed
		}
	}
	latest, made := n.ensureLease()
	if latest == nil || made {
		return latest
	}
	if renewed := n.updateLease(latest); renewed != nil {
		return renewed
	}
	return latest
}

// updateLease gives nothing when that was in vain.
func (n *Node) updateLease(base object) object {
	for try := 0; try < leaseTries && base != nil; try++ {
		lease, err := n.newLease(base)
		if err == nil {
			lease, err = n.api.put(leases+"/"+n.host.NodeName, lease)
		}
		if err == nil {
			return lease
		}
		log.Printf("renewing the lease: %v", err)
		if isCode(err, 409) {
			base, _ = n.ensureLease()
			continue
		}
		if try > 0 {
			n.api.disconnect()
		}
	}
	return nil
}

// ensureLease gives the one that is there, or makes it: as long as there is no Node to own it, it does neither.
func (n *Node) ensureLease() (lease object, made bool) {
	for pause := 200 * time.Millisecond; ; pause = doubled(pause) {
		lease, err := n.api.get(leases + "/" + n.host.NodeName)
		if err == nil {
			return lease, false
		}
		if isCode(err, 404) {
			lease, err = n.newLease(nil)
			if err != nil {
				log.Printf("making the lease: %v", err)
				return nil, false
			}
			if lease, err = n.api.post(leases, lease); err == nil {
				return lease, true
			}
		}
		log.Printf("looking for the lease: %v", err)
		time.Sleep(pause)
	}
}

func (n *Node) newLease(base object) (object, error) {
	lease := object{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
		"metadata": object{"name": n.host.NodeName, "namespace": "kube-node-lease"},
		"spec":     object{"holderIdentity": n.host.NodeName},
	}
	if base != nil {
		lease = plain(base)
	}
	spec := field(lease, "spec")
	spec["leaseDurationSeconds"] = int(leaseDuration / time.Second)
	spec["renewTime"] = time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	metadata := field(lease, "metadata")
	if metadata["ownerReferences"] == nil {
		node, err := n.api.get(n.path())
		if err != nil {
			return nil, err
		}
		metadata["ownerReferences"] = []object{{"apiVersion": "v1", "kind": "Node",
			"name": n.host.NodeName, "uid": text(node, "metadata", "uid")}}
	}
	return lease, nil
}

func doubled(pause time.Duration) time.Duration {
	const longest = 7 * time.Second
	if 2*pause > longest {
		return longest
	}
	return 2 * pause
}

// jittered is up to 4 % more, so that kubelets that began together do not stay together.
func jittered(period time.Duration) time.Duration {
	return period + time.Duration(0.04*random()*float64(period))
}

// random is from 0 to just under 1.
func random() float64 { return float64(time.Now().UnixNano()%1e6) / 1e6 }
