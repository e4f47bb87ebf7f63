// SPDX-License-Identifier: Apache-2.0

// A stand-in for the program k3s, for hosts of the test cluster. It answers as k3s answers wherever
// k3s-upgrade-agent looks, over the real protocols: systemd's notification socket, TLS with client
// certificates, the Kubernetes API.
//
// Like k3s (paths, names and forms are k3s's own):
//   - `k3s --version`, `k3s kubectl version --client -o yaml`, `k3s etcd-snapshot save`, `prune` and `ls`.
//   - `k3s server` and `k3s agent` stay in the foreground, send READY=1, write kubelet.kubeconfig anew at
//     each start with a freshly signed client certificate, register the Node, keep its status and Lease
//     up to date with that certificate alone, run pods, and exit 0 on SIGTERM.
//   - The API is reached on 127.0.0.1:6443 of a server and 127.0.0.1:6444 of an agent, and goes away with
//     the process. An agent's proxy fails over from server to server.
//   - A server's data store lies where k3s has it: a folder of etcd's with its snapshots, or a state.db with a -wal
//     and a -shm while it is open.
//   - A terminating pod goes away for good when its grace period is over, also one whose grace period
//     ended while k3s was down.
//
// Unlike k3s:
//   - A host may be told to keep its data in etcd from its next start on, or no more; nothing is carried over.
//   - What lies there is text: state.db is the list of who has opened and closed it, a snapshot says whose it is.
//   - No container is ever run: a pod is Running because we say so. There are no containerd-shims that
//     survive a restart, hence nothing for KillMode=process to spare.
//   - The API server is one for all servers and lives elsewhere; a server passes bytes through to it.
//     While k3s starts, connections are refused; the 503s of a real start are not shown.
//   - Start takes 2 s to READY=1 and 1 s more to Ready; k3s takes 13 to 22 s on two cores.
//   - Status is reported every 10 s; a kubelet does so on change and otherwise every 5 min (its Lease
//     every 10 s, as here). A container stops when its grace period is over, never earlier, as if it
//     ignored SIGTERM, but for the annotation `stand-in/stops-after: 2s`.
//   - Certificates are signed on the host itself, with CA keys that the test cluster left there.
//   - There is no kubectl, crictl or ctr inside.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
)

// Told by the build, per release.
var (
	version   = "v0.0.0+k3s1"
	commit    = "00000000"
	buildDate = "2024-01-01T00:00:00Z"
	goVersion = "go1.22.5"
)

func main() {
	log.SetFlags(0) // journald stamps the lines
	args := os.Args[1:]
	// kubectl, crictl and ctr are links to k3s.
	if name := filepath.Base(os.Args[0]); name == "kubectl" || name == "crictl" || name == "ctr" {
		args = append([]string{name}, args...)
	}
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch command {
	case "--version", "-v":
		printed := version
		if m := readMisbehaviour(); m.VersionOutput != "" {
			printed = m.VersionOutput
		}
		fmt.Printf("k3s version %s (%s)\ngo version %s\n", printed, commit, goVersion)
	case "server", "agent":
		run(command, args[1:])
	case "kubectl":
		kubectl(args[1:])
	case "etcd-snapshot":
		etcdSnapshot(args[1:])
	default:
		fmt.Fprintf(os.Stderr, "k3s stand-in: no such command: %q\n", command)
		os.Exit(1)
	}
}

func kubectl(args []string) {
	client := false
	for _, arg := range args {
		client = client || arg == "--client" || arg == "--client=true"
	}
	if len(args) == 0 || args[0] != "version" || !client {
		fmt.Fprintln(os.Stderr, "k3s stand-in: of kubectl only `version --client` is here")
		os.Exit(1)
	}
	var major, minor, patch int
	fmt.Sscanf(version, "v%d.%d.%d", &major, &minor, &patch)
	fmt.Printf(`clientVersion:
  buildDate: "%s"
  compiler: gc
  gitCommit: %s
  gitTreeState: clean
  gitVersion: %s
  goVersion: %s
  major: "%d"
  minor: "%d"
  platform: linux/amd64
kustomizeVersion: v5.0.4-0.20230601165947-6ce0bf390ce3
`, buildDate, commit, version, goVersion, major, minor)
}

// The snapshot's content is of no use to anybody; that it was taken, and when, is.
