// SPDX-License-Identifier: Apache-2.0

// A server's data store: what a backup would look for.
package main

import (
	"log"
	"net"
	"os"
)

func openDataStore(host Host) error {
	if host.Etcd {
		write(dbDir+"/etcd/name", []byte(host.NodeName), 0o600)
		return listenAsEtcd()
	}
	noteInStateDB("opened")
	write(stateDB+"-wal", []byte("of "+version+"\n"), 0o644)
	write(stateDB+"-shm", nil, 0o644)
	return nil
}

// listenAsEtcd: etcd-snapshot of older releases wants it to be there; it says nothing.
func listenAsEtcd() error {
	listener, err := net.Listen("tcp", etcdAddress)
	if err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				log.Printf("etcd: %v", err)
				return
			}
			connection.Close()
		}
	}()
	return nil
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
