// SPDX-License-Identifier: Apache-2.0

// `k3s server` and `k3s agent`, from start to SIGTERM.
package main

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func run(role string, args []string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)

	m := readMisbehaviour()
	host := readHost()
	log.Printf("level=info msg=\"Starting k3s %s %s (%s)\" (stand-in)", role, version, commit)
	if m.FailStart {
		log.Fatal(`level=fatal msg="starting kubernetes: told to fail" (stand-in)`)
	}
	if m.CrashAfter > 0 {
		time.AfterFunc(seconds(m.CrashAfter), func() {
			log.Fatal(`level=fatal msg="told to crash" (stand-in)`)
		})
	}
	if m.HangStart {
		log.Print("told to hang (stand-in)")
		<-stop
		os.Exit(0)
	}
	go func() {
		if err := serve(role, host, m); err != nil {
			log.Fatalf("level=fatal msg=%q (stand-in)", err)
		}
	}()
	<-stop
	notify("STOPPING=1")
	closeDataStore(role, host)
	log.Print(`level=info msg="Shutting down" (stand-in)`)
}

func serve(role string, host Host, m Misbehaviour) error {
	started := time.Now()
	port := 6444
	if role == "server" {
		port = 6443
	}
	if err := writeKubeletIdentity(host.NodeName, port, m); err != nil {
		return err
	}
	var admin *API
	if role == "server" {
		openDataStore(host)
		cert, err := adminIdentity()
		if err != nil {
			return err
		}
		if admin, err = newAPI(port, cert); err != nil {
			return err
		}
		// A server's API is not there from the first moment on.
		time.Sleep(seconds(m.StartSeconds * 0.8))
		if err := serveProxy(":6443", []string{host.API}); err != nil {
			return err
		}
	} else if err := serveProxy("127.0.0.1:6444", host.Servers); err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(kubeletCert, kubeletKey)
	if err != nil {
		return err
	}
	api, err := newAPI(port, cert)
	if err != nil {
		return err
	}
	// k3s is not ready before the API answers; an agent waits for its server as long as it takes.
	for try := 0; ; try++ {
		if _, err = api.get("/version"); err == nil {
			break
		}
		if try%25 == 0 {
			log.Printf("level=info msg=\"Waiting for the API: %v\"", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	time.Sleep(time.Until(started.Add(seconds(m.StartSeconds))))
	notify("READY=1")
	log.Print(`level=info msg="k3s is up and running" (stand-in)`)

	node := &Node{api: api, admin: admin, host: host, m: m, role: role}
	node.register()
	go node.renewLease()
	go (&Pods{api: api, node: host.NodeName, ip: host.NodeIP}).keep()
	node.keepStatus()
	return nil
}

func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	connection, err := net.Dial("unixgram", path)
	if err != nil {
		log.Print(err)
		return
	}
	defer connection.Close()
	fmt.Fprint(connection, state)
}
