// SPDX-License-Identifier: Apache-2.0

// What the stand-in is told: who it is (by the test cluster) and how to misbehave (by a test).
package main

import (
	"encoding/base64"
	"encoding/json"
	"log"
	"os"
	"time"
)

const (
	defaultDataDir   = "/var/lib/rancher/k3s"
	standInDir       = "/etc/rancher/k3s-stand-in"
	misbehaviourFile = "/etc/rancher/k3s/stand-in.json"
)

// Host is written by the test cluster to k3s-stand-in/host.json.
type Host struct {
	NodeName string            `json:"nodeName"`
	NodeIP   string            `json:"nodeIP"`
	API      string            `json:"api"`     // host:port of the real kube-apiserver
	Servers  []string          `json:"servers"` // host:port of each server's 6443
	Etcd     bool              `json:"etcd"`    // the servers form an etcd cluster
	Labels   map[string]string `json:"labels"`
}

func readHost() Host {
	var host Host
	text, err := os.ReadFile(standInDir + "/host.json")
	if err == nil {
		err = json.Unmarshal(text, &host)
	}
	if err != nil {
		log.Fatalf("k3s stand-in: %v", err)
	}
	return host
}

// Misbehaviour is read at each start: first what was built into the release, then, over it, the file.
type Misbehaviour struct {
	FailStart     bool    `json:"failStart"`     // exit 1 at once
	HangStart     bool    `json:"hangStart"`     // neither READY=1 nor anything else, ever
	CrashAfter    float64 `json:"crashAfter"`    // seconds after the start: exit 1
	NeverReady    bool    `json:"neverReady"`    // the Node reports Ready=False
	ReportVersion string  `json:"reportVersion"` // kubeletVersion says this
	VersionOutput string  `json:"versionOutput"` // --version says this
	StartSeconds  float64 `json:"startSeconds"`  // from start to READY=1
	ReadySeconds  float64 `json:"readySeconds"`  // from the Node's first report to Ready
	// A kubelet's --node-status-update-frequency, also in that it is then the time between two reports, as well. Without
	// it: between two looks at the status 10 s, and between two reports of one that has not changed about 5 min.
	StatusSeconds float64 `json:"statusSeconds"`
	FatalOnTerm   bool    `json:"fatalOnTerm"`   // a server exits 1 on SIGTERM
	ChildOutlives float64 `json:"childOutlives"` // seconds from SIGTERM to the end of the child of one with --log
	KeepCert      bool    `json:"keepCert"`      // do not sign the kubelet's certificate anew
	CertSeconds   float64 `json:"certSeconds"`   // how long the kubelet's certificate is valid

	// What a server's API answers after READY=1: nothing, 503, 403, each for so many seconds.
	RefusedSeconds     float64 `json:"refusedSeconds"`
	UnavailableSeconds float64 `json:"unavailableSeconds"`
	ForbiddenSeconds   float64 `json:"forbiddenSeconds"`
	OldStatusSeconds   float64 `json:"oldStatusSeconds"` // from then on until the Node's first report

	FailSnapshot          bool   `json:"failSnapshot"`          // etcd-snapshot exits 1
	SnapshotForm          string `json:"snapshotForm"`          // plain (1.20), json (1.21) or current; else by version
	SnapshotSilentFailure bool   `json:"snapshotSilentFailure"` // save exits 0, and has written a .part only
	SnapshotInProgress    int    `json:"snapshotInProgress"`    // so many times, save finds another one at work
}

// Base64 of a Misbehaviour's JSON, told by the build of a broken release.
var baked = ""

func readMisbehaviour() Misbehaviour {
	m := Misbehaviour{
		StartSeconds: 1, RefusedSeconds: 0.3, UnavailableSeconds: 0.5, ForbiddenSeconds: 1.5, OldStatusSeconds: 1,
		ReadySeconds: 1, CertSeconds: 365 * 24 * 3600, FatalOnTerm: true,
	}
	if text, err := base64.StdEncoding.DecodeString(baked); err != nil || (len(text) > 0 && json.Unmarshal(text, &m) != nil) {
		log.Fatalf("k3s stand-in: what was built in makes no sense: %q", text)
	}
	text, err := os.ReadFile(misbehaviourFile)
	if os.IsNotExist(err) {
		return m
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		log.Fatalf("k3s stand-in: %s: %v", misbehaviourFile, err)
	}
	return m
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
