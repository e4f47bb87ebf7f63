// SPDX-License-Identifier: Apache-2.0

// A stand-in for the program k3s, for hosts of the test cluster. It answers as k3s answers wherever
// k3s-upgrade-agent looks, over the real protocols: systemd's notification socket, TLS with client
// certificates, the Kubernetes API.
//
// Like k3s (paths, names and forms are k3s's own):
//   - `k3s --version`, `k3s kubectl version --client -o yaml`, `k3s etcd-snapshot save`, `prune`, `delete` and `ls`. The
//     version is told by the name the program was called by.
//   - Each command first reads the configuration ($K3S_CONFIG_FILE, --config or /etc/rancher/k3s/config.yaml, and
//     `<file>.d/*.yaml`), and dies when it can't; --version does so before 1.22 only. Each but --version then unpacks
//     the payload into `<data-dir>/data/<sha256>`, dies when that is corrupt, and goes on as the program in there:
//     /proc/<pid>/exe is that one. What was unpacked of other versions stays.
//   - data-dir is the argument's, config.yaml.d's, config.yaml's or the environment's, in that order; without any it
//     is below HOME for a user who is not root. Everything of k3s lies below it.
//   - `k3s server` and `k3s agent` stay in the foreground, hide their arguments, send READY=1, write kubelet.kubeconfig
//     in place at each start with a freshly signed client certificate, and with that alone keep the Node, its Lease and
//     the pods. On SIGTERM a server exits 1 with "context canceled", as before 1.22.2; an agent exits 0.
//   - The kubelet asks and says what that of Kubernetes 1.37 does, with the fields of its own version. It registers with
//     a POST and puts the Node right after a 409; a Node that is deleted comes back with the next start. It follows its
//     Node by a watch, looks every 10 s whether the status has changed, and reports when it has, at each start, and
//     otherwise every 5 min (2.5 to 7.5 min after a change, since 1.33). The Lease of 40 s is renewed every 10 s by a PUT
//     of what it knows, from before the first report on. What fails is tried five times and then given up until the
//     next look. k3s adds its annotations with a PUT of the Node.
//   - With --log the process that systemd knows is `k3s init`, says READY=1 at once, and may end before its child.
//   - The API is reached on port 6443 of a server (--https-listen-port), and on a port of an agent that is another one
//     at each start; it goes away with the process. An agent's proxy fails over from server to server.
//   - A server with --disable-agent has no kubelet, hence no kubelet.kubeconfig and no Node.
//   - A server is READY=1 before its API is: connections are refused, then answered 503, then for a while 403, as long
//     as the roles are not loaded. The Node shows what it did before the start for a moment more.
//   - A server's data store lies where k3s has it: a folder of etcd's with its snapshots, or a state.db with a -wal
//     and a -shm while it is open. etcd-snapshot speaks and acts as in 1.20, in 1.21 or as it does today.
//   - A terminating pod goes away for good when its grace period is over, also one whose grace period
//     ended while k3s was down.
//
// Unlike k3s:
//   - Of YAML a configuration may have `key: value`, and `key:` with one `- item` a line, quoted or not.
//   - A host may be told to keep its data in etcd from its next start on, or no more; nothing is carried over.
//   - What lies there is text: state.db is the list of who has opened and closed it, a snapshot says whose it is.
//   - No container is ever run: a pod is Running because we say so. There are no containerd-shims that
//     survive a restart, hence nothing for KillMode=process to spare.
//   - The API server is one for all servers and lives elsewhere; once its start is over, a server passes bytes through
//     to it. During the 403s the administrator is refused, too.
//   - A server's API is there for everybody 3.3 s after its start, and the Node Ready 2 s later; k3s takes 13 to 22 s on
//     two cores.
//   - A report has all of the status; a kubelet's has what differs. What an API server that is older than the kubelet
//     drops does not count as a change. Sizes and images are made up. A restart is never without a report that says not
//     Ready, unless readySeconds is 0. There are no Events about the Node and no CSINode.
//   - There is no cloud controller: the Node has its providerID and instance type from the kubelet, and never the taint
//     node.cloudprovider.kubernetes.io/uninitialized.
//   - A container stops when its grace period is over, never earlier, as if it ignored SIGTERM, but for the
//     annotation `stand-in/stops-after: 2s`.
//   - Certificates are signed on the host itself, with CA keys that the test cluster left there.
//   - There is no kubectl, crictl or ctr inside. The payload is noise; of the real one's programs only k3s is unpacked.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
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
	name := strings.Clone(os.Args[0])
	var args []string
	for _, arg := range os.Args[1:] {
		args = append(args, strings.Clone(arg))
	}
	// kubectl, crictl and ctr are links to k3s.
	if link := filepath.Base(name); link == "kubectl" || link == "crictl" || link == "ctr" {
		args = append([]string{link}, args...)
	}
	// A flag of k3s's own may stand before the command.
	if len(args) > 2 && args[0] == "--data-dir" {
		args = append(args[2:], args[:2]...)
	}
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	asksVersion := command == "--version" || command == "-v"
	if minor, _ := minorAndPatch(); asksVersion && minor >= 22 {
		printVersion(name)
		return
	}
	settings, err := configured(args)
	if err != nil {
		fatal(err.Error())
	}
	if asksVersion {
		printVersion(name)
		return
	}
	all := effective(args, settings)
	useDataDir(findDataDir(all))
	if !isUnpacked() {
		goOnInside()
	}
	switch command {
	case "server", "agent":
		if file := option(all, "log", "l"); file != "" && os.Getenv(logChild) == "" {
			runLogging(name, args, file)
		}
		setTitle(name + " " + command)
		run(command, all)
	case "kubectl":
		kubectl(args[1:])
	case "etcd-snapshot":
		etcdSnapshot(args[1:], all)
	default:
		fatal(fmt.Sprintf("of k3s the stand-in has no command %q", command))
	}
}

func fatal(text string) {
	fmt.Fprintf(os.Stderr, "time=%q level=fatal msg=%q\n", timestamp(), text)
	os.Exit(1)
}

func printVersion(name string) {
	printed := version
	if m := readMisbehaviour(); m.VersionOutput != "" {
		printed = m.VersionOutput
	}
	fmt.Printf("%s version %s (%s)\ngo version %s\n", filepath.Base(name), printed, commit, goVersion)
}

func minorAndPatch() (minor, patch int) {
	var major int
	fmt.Sscanf(version, "v%d.%d.%d", &major, &minor, &patch)
	return minor, patch
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
	minor, _ := minorAndPatch()
	fmt.Printf(`clientVersion:
  buildDate: "%s"
  compiler: gc
  gitCommit: %s
  gitTreeState: clean
  gitVersion: %s
  goVersion: %s
  major: "1"
  minor: "%d"
  platform: linux/amd64
kustomizeVersion: v5.0.4-0.20230601165947-6ce0bf390ce3
`, buildDate, commit, version, goVersion, minor)
}
