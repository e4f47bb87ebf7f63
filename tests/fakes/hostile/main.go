// SPDX-License-Identifier: Apache-2.0

// Stands in for a release of k3s whose binary is hostile: asked for its version, it tries to reach what it must not, leaves a
// process behind, and prints `reached: ` with what it reached instead of a version, so that the agent's refusal tells. With
// `-X main.mode=hang` it ignores every signal it can and never ends, with `flood` it prints 100 MB.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

var mode, api = "", "127.0.0.1:6443"

func writes(path string) bool {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return false
	}
	file.Close()
	os.Remove(path)
	return true
}

func reads(path string) bool {
	_, err := os.ReadFile(path)
	return err == nil
}

func lists(path string) bool {
	_, err := os.ReadDir(path)
	return err == nil
}

func connects(network, address string) bool {
	connection, err := net.DialTimeout(network, address, 2*time.Second)
	if err != nil {
		return false
	}
	connection.Close()
	return true
}

func reached() []string {
	var all []string
	try := func(name string, worked bool) {
		if worked {
			all = append(all, name)
		}
	}
	// The control plane's address in every test cluster, and the port of the host's own k3s.
	for _, address := range []string{"10.63.0.1:443", "10.63.0.1:6443", api} {
		try("tcp "+address, connects("tcp", address))
	}
	try("udp", connects("udp", "10.63.0.1:53"))
	for _, socket := range []string{"/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/journal/socket"} {
		try(filepath.Base(socket), connects("unix", socket) || connects("unixgram", socket))
	}
	for _, folder := range []string{"/etc", "/usr", "/usr/local/bin", "/var/lib", "/var/lib/k3s-upgrade-agent", "/run", "/run/lock",
		"/dev/shm", "/dev/mqueue", "/root", "/sys/fs/cgroup", "/var/cache", "/var/log"} {
		try("write "+folder, writes(folder+"/hostile"))
	}
	try("read shadow", reads("/etc/shadow"))
	try("read kubelet key", reads("/var/lib/rancher/k3s/agent/client-kubelet.key"))
	try("read journal.json", reads("/var/lib/k3s-upgrade-agent/journal.json"))
	try("list root", lists("/root"))
	try("list state", lists("/var/lib/k3s-upgrade-agent"))
	try("be root", syscall.Setuid(0) == nil)
	try("mount", syscall.Mount("none", "/tmp", "tmpfs", 0, "") == nil)
	try("unshare", syscall.Unshare(syscall.CLONE_NEWUSER) == nil)
	if !writes("/tmp/own") || !writes(os.Getenv("HOME")+"/own") {
		all = append(all, "not even its own folder")
	}
	return all
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "linger" {
		signal.Ignore()
		time.Sleep(time.Hour)
		return
	}
	switch mode {
	case "hang":
		signal.Ignore()
		time.Sleep(time.Hour)
	case "flood":
		line := strings.Repeat("k3s\n", 1<<18)
		for count := 0; count < 100; count++ {
			fmt.Print(line)
		}
		return
	}
	// In a session of its own, so that no signal to a group reaches it; holding our output open.
	left := exec.Command("/proc/self/exe", "linger")
	left.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	left.Stdout, left.Stderr = os.Stdout, os.Stderr
	if err := left.Start(); err != nil {
		fmt.Println("could not leave a process:", err)
		return
	}
	fmt.Printf("reached: %s\n", strings.Join(reached(), ", "))
}
