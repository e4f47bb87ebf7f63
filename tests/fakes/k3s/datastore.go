// SPDX-License-Identifier: Apache-2.0

// A server's data store: what a backup would look for, and k3s's own snapshots of etcd.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

const (
	dbDir        = dataDir + "/server/db"
	snapshotsDir = dbDir + "/snapshots"
	stateDB      = dbDir + "/state.db"
)

func openDataStore(host Host) {
	if host.Etcd {
		write(dbDir+"/etcd/name", []byte(host.NodeName), 0o600)
		return
	}
	noteInStateDB("opened")
	write(stateDB+"-wal", []byte("of "+version+"\n"), 0o644)
	write(stateDB+"-shm", nil, 0o644)
}

func closeDataStore(role string, host Host) {
	if role != "server" || host.Etcd {
		return
	}
	if _, err := os.Stat(stateDB + "-wal"); err != nil {
		return // not opened
	}
	noteInStateDB("closed")
	os.Remove(stateDB + "-wal")
	os.Remove(stateDB + "-shm")
}

func noteInStateDB(what string) {
	text, err := os.ReadFile(stateDB)
	if os.IsNotExist(err) {
		text = []byte("SQLite format 3\x00\n")
	} else if err != nil {
		log.Fatal(err)
	}
	if err := write(stateDB, append(text, []byte(what+" by "+version+"\n")...), 0o644); err != nil {
		log.Fatal(err)
	}
}

func etcdSnapshot(args []string) {
	fail := func(text string) {
		fmt.Fprintf(os.Stderr, "level=fatal msg=%q (stand-in)\n", text)
		os.Exit(1)
	}
	if len(args) == 0 {
		fail("etcd-snapshot wants a command")
	}
	flags := flag.NewFlagSet("etcd-snapshot", flag.ExitOnError)
	name := flags.String("name", "on-demand", "")
	dir := flags.String("data-dir", dataDir, "")
	retention := flags.Int("snapshot-retention", 5, "")
	flags.Parse(args[1:])
	host := readHost()
	if !host.Etcd || *dir != dataDir {
		fail("etcd datastore disabled")
	}
	// Current releases ask the server that runs.
	connection, err := net.DialTimeout("tcp", "127.0.0.1:6443", 2*time.Second)
	if err != nil {
		fail(err.Error())
	}
	connection.Close()
	if readMisbehaviour().FailSnapshot {
		fail("failed to save snapshot: told to fail")
	}
	if err := os.MkdirAll(snapshotsDir, 0o700); err != nil {
		fail(err.Error())
	}
	switch args[0] {
	case "save":
		saved := fmt.Sprintf("%s-%s-%d", *name, host.NodeName, time.Now().Unix())
		if err := os.WriteFile(filepath.Join(snapshotsDir, saved), []byte("snapshot of "+version+"\n"), 0o600); err != nil {
			fail(err.Error())
		}
		fmt.Printf("level=info msg=\"Snapshot %s saved.\"\n", saved)
	case "prune":
		names := snapshots(*name)
		for len(names) > *retention {
			os.Remove(filepath.Join(snapshotsDir, names[0]))
			fmt.Printf("level=info msg=\"Snapshot %s deleted.\"\n", names[0])
			names = names[1:]
		}
	case "ls":
		for _, each := range snapshots("") {
			fmt.Printf("%s file://%s/%s\n", each, snapshotsDir, each)
		}
	default:
		fail("of etcd-snapshot only save, prune and ls are here")
	}
}

// By the time in their names, the oldest first.
func snapshots(prefix string) []string {
	var names []string
	entries, err := os.ReadDir(snapshotsDir)
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
