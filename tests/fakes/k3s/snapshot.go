// SPDX-License-Identifier: Apache-2.0

// `k3s etcd-snapshot` in the forms of three times.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

const (
	etcdAddress  = "127.0.0.1:2379"
	snapshotLog  = "/run/k3s-stand-in/etcd-snapshot.log" // a line of JSON for each call
	snapshotBusy = "/run/k3s-stand-in/in-progress"       // how often save was told that another one is at work
)

type snapshots struct {
	host Host
	m    Misbehaviour
	dir  string
	args []string
}

func etcdSnapshot(args, all []string) {
	s := &snapshots{host: readHost(), m: readMisbehaviour(), args: all}
	if s.dir = option(all, "etcd-snapshot-dir", "dir"); s.dir == "" {
		s.dir = dbDir + "/snapshots"
	}
	form, server := s.form(), ""
	if form == "current" {
		server = "https://127.0.0.1:6443"
		// Until 1.30.2 the configuration and the environment name it, too.
		if minor, patch := minorAndPatch(); minor < 30 || (minor == 30 && patch < 2) {
			server = first(option(all, "server"), os.Getenv("K3S_URL"), server)
		}
		server = first(option(args, "etcd-server", "server", "s"), server)
	}
	record(args, server)
	if !s.host.Etcd {
		fatal("etcd datastore disabled")
	}
	address := etcdAddress
	if target, err := url.Parse(server); server != "" && err == nil {
		address = target.Host
	}
	connection, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		fatal(err.Error())
	}
	connection.Close()
	if s.m.FailSnapshot {
		fatal("failed to save snapshot: told to fail")
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		fatal(err.Error())
	}
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command = args[0]
	}
	switch form {
	case "plain":
		s.plain(command)
	case "json":
		s.json(command)
	default:
		s.current(command)
	}
}

func (s *snapshots) form() string {
	minor, _ := minorAndPatch()
	switch {
	case s.m.SnapshotForm != "":
		return s.m.SnapshotForm
	case minor <= 20:
		return "plain"
	case minor == 21:
		return "json"
	}
	return "current"
}

// As v1.20.8: whatever is said, a snapshot is taken; a command ends the flags, so that --name behind it is lost.
func (s *snapshots) plain(command string) {
	name := "on-demand"
	if command == "" {
		name = s.name()
	}
	fmt.Println(`level=info msg="Managed etcd cluster bootstrap already complete and initialized"`)
	s.write(fmt.Sprintf("%s-%d", name, time.Now().Unix()))
}

// As v1.21.2: save names the file as it was while it was being written; prune knows the scheduled ones only.
func (s *snapshots) json(command string) {
	switch command {
	case "save", "":
		saved := s.saved()
		fmt.Fprintf(os.Stderr, `{"level":"info","ts":%d,"caller":"snapshot/v3_snapshot.go:119","msg":"created temporary db file","path":%q}`+"\n",
			time.Now().Unix(), filepath.Join(s.dir, saved+".part"))
		s.write(saved)
	case "prune":
		s.prune("etcd-snapshot")
	case "ls":
		s.list()
	case "delete":
		s.remove()
	default:
		fatal("No help topic for '" + command + "'")
	}
}

func (s *snapshots) current(command string) {
	switch command {
	case "save":
		s.wait()
		saved := s.saved()
		if s.m.SnapshotSilentFailure {
			s.write(saved + ".part")
			return
		}
		s.write(saved)
		fmt.Printf("level=info msg=\"Snapshot %s saved.\"\n", saved)
	case "prune":
		s.prune(s.name())
	case "ls":
		s.list()
	case "delete":
		s.remove()
	default:
		fatal("No help topic for '" + command + "'")
	}
}

// wait ends with an error as often as it was told to.
func (s *snapshots) wait() {
	content, _ := os.ReadFile(snapshotBusy)
	times, _ := strconv.Atoi(string(content))
	if times >= s.m.SnapshotInProgress {
		return
	}
	if err := write(snapshotBusy, []byte(strconv.Itoa(times+1)), 0o600); err != nil {
		fatal(err.Error())
	}
	fatal("see server log for details: snapshot save already in progress")
}

func (s *snapshots) name() string { return first(option(s.args, "name"), "on-demand") }

func (s *snapshots) saved() string {
	return fmt.Sprintf("%s-%s-%d", s.name(), s.host.NodeName, time.Now().Unix())
}

// The snapshot's content is of no use to anybody; that it was taken, and when, is.
func (s *snapshots) write(name string) {
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte("snapshot of "+version+"\n"), 0o600); err != nil {
		fatal(err.Error())
	}
}

func (s *snapshots) prune(prefix string) {
	keep, err := strconv.Atoi(first(option(s.args, "snapshot-retention"), "5"))
	if err != nil {
		fatal(err.Error())
	}
	names := s.names(prefix)
	for ; len(names) > keep; names = names[1:] {
		os.Remove(filepath.Join(s.dir, names[0]))
		fmt.Printf("level=info msg=\"Snapshot %s deleted.\"\n", names[0])
	}
}

func (s *snapshots) list() {
	for _, each := range s.names("") {
		fmt.Printf("%s file://%s/%s\n", each, s.dir, each)
	}
}

func (s *snapshots) remove() {
	name := s.args[len(s.args)-1]
	if err := os.Remove(filepath.Join(s.dir, filepath.Base(name))); err != nil {
		fatal(err.Error())
	}
	fmt.Printf("level=info msg=\"Snapshot %s deleted.\"\n", name)
}

// By the time in their names, the oldest first.
func (s *snapshots) names(prefix string) []string {
	var names []string
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		log.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) {
			names = append(names, entry.Name())
		}
	}
	age := func(name string) string { return name[strings.LastIndex(name, "-")+1:] }
	sort.Slice(names, func(i, j int) bool { return age(names[i]) < age(names[j]) })
	return names
}

func record(args []string, server string) {
	line, _ := json.Marshal(object{"args": args, "server": server})
	os.MkdirAll(filepath.Dir(snapshotLog), 0o755)
	file, err := os.OpenFile(snapshotLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return // a caller in a sandbox: nobody needs the record then
	}
	defer file.Close()
	file.Write(append(line, '\n'))
}

func first(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}
