// SPDX-License-Identifier: Apache-2.0

// The node's pods: reported Running, and gone for good when they have been terminating long enough.
package main

import (
	"fmt"
	"hash/fnv"
	"log"
	"net/url"
	"time"
)

type Pods struct {
	api  *API
	node string
	ip   string
	// By UID: pods whose end is under way. Touched by one goroutine only.
	ending map[string]bool
}

// keep follows them for as long as the process lives.
func (p *Pods) keep() {
	p.ending = map[string]bool{}
	p.api.keepFollowing("/api/v1/pods?fieldSelector="+url.QueryEscape("spec.nodeName="+p.node), func(pods []object) {
		for _, pod := range pods {
			p.see(pod)
		}
	}, func(kind string, pod object) {
		if kind == "DELETED" {
			delete(p.ending, text(pod, "metadata", "uid"))
		} else {
			p.see(pod)
		}
	})
}

func (p *Pods) see(pod object) {
	metadata := field(pod, "metadata")
	// A mirror pod stands for a file of the node's; it is the kubelet's own business, and we have no files.
	if _, mirror := field(metadata, "annotations")["kubernetes.io/config.mirror"]; mirror {
		return
	}
	if text(metadata, "deletionTimestamp") != "" {
		if uid := text(metadata, "uid"); !p.ending[uid] {
			p.ending[uid] = true
			go p.end(pod)
		}
		return
	}
	phase := text(pod, "status", "phase")
	if phase != "Pending" && phase != "" {
		return
	}
	if err := p.start(pod); err != nil {
		log.Printf("pod %s: %v", name(pod), err)
	}
}

func name(pod object) string {
	return text(pod, "metadata", "namespace") + "/" + text(pod, "metadata", "name")
}

func path(pod object) string {
	return "/api/v1/namespaces/" + text(pod, "metadata", "namespace") + "/pods/" + text(pod, "metadata", "name")
}

func (p *Pods) start(pod object) error {
	now := timestamp()
	statuses := []object{}
	containers, _ := field(pod, "spec")["containers"].([]interface{})
	for _, item := range containers {
		container := item.(object)
		statuses = append(statuses, object{
			"name": text(container, "name"), "image": text(container, "image"), "imageID": "stand-in",
			"containerID": "containerd://" + text(pod, "metadata", "uid"), "ready": true, "started": true,
			"restartCount": 0, "state": object{"running": object{"startedAt": now}},
		})
	}
	conditions := []object{}
	for _, kind := range []string{"Initialized", "Ready", "ContainersReady"} {
		conditions = append(conditions, object{"type": kind, "status": "True", "lastTransitionTime": now})
	}
	sum := fnv.New32a()
	sum.Write([]byte(text(pod, "metadata", "uid")))
	ip := fmt.Sprintf("10.42.%d.%d", byte(sum.Sum32()>>8), byte(sum.Sum32()))
	_, err := p.api.patch(path(pod)+"/status", object{
		"metadata": object{"uid": text(pod, "metadata", "uid")},
		"status": object{"phase": "Running", "startTime": now, "hostIP": p.ip, "podIP": ip,
			"podIPs": []object{{"ip": ip}}, "conditions": conditions, "containerStatuses": statuses},
	})
	return err
}

// Waits for the containers to stop, then deletes the pod with no grace left. deletionTimestamp is the moment
// at which the grace period ends.
func (p *Pods) end(pod object) {
	ends, err := time.Parse(time.RFC3339, text(pod, "metadata", "deletionTimestamp"))
	if err != nil {
		log.Printf("pod %s: %v", name(pod), err)
		return
	}
	if after, err := time.ParseDuration(text(pod, "metadata", "annotations", "stand-in/stops-after")); err == nil {
		grace, _ := field(pod, "metadata")["deletionGracePeriodSeconds"].(float64)
		if sooner := ends.Add(after - seconds(grace)); sooner.Before(ends) {
			ends = sooner
		}
	}
	log.Printf("pod %s: stopping until %s", name(pod), ends.Format(time.RFC3339))
	time.Sleep(time.Until(ends))
	for {
		_, err := p.api.do("DELETE", path(pod), "application/json", object{
			"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
			"preconditions": object{"uid": text(pod, "metadata", "uid")},
		})
		if err == nil || isCode(err, 404) || isCode(err, 409) {
			log.Printf("pod %s: gone", name(pod))
			return
		}
		log.Printf("pod %s: deleting: %v", name(pod), err)
		time.Sleep(time.Second)
	}
}
