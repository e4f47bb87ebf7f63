// SPDX-License-Identifier: Apache-2.0

// `k3s server` and `k3s agent`, from start to SIGTERM.
package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
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
		fatal("starting kubernetes: told to fail")
	}
	if m.CrashAfter > 0 {
		time.AfterFunc(seconds(m.CrashAfter), func() { fatal("told to crash") })
	}
	if m.HangStart {
		log.Print("told to hang (stand-in)")
		<-stop
		os.Exit(0)
	}
	go func() {
		if err := serve(role, args, host, m); err != nil {
			fatal(err.Error())
		}
	}()
	<-stop
	notify("STOPPING=1")
	if os.Getenv(logChild) != "" {
		time.Sleep(seconds(m.ChildOutlives))
	}
	closeDataStore(role, host)
	if role == "server" && m.FatalOnTerm {
		fatal("context canceled")
	}
	log.Print(`level=info msg="Shutting down" (stand-in)`)
}

func serve(role string, args []string, host Host, m Misbehaviour) error {
	started := time.Now()
	saidArgs, err := json.Marshal(masked(args))
	if err != nil {
		return err
	}
	saidEnv, err := json.Marshal(maskedEnvironment())
	if err != nil {
		return err
	}
	node := &Node{host: host, m: m, args: string(saidArgs), env: string(saidEnv)}
	if role == "server" {
		node.api, node.admin, err = serveServer(args, host, m, started)
	} else {
		node.api, err = serveAgent(host, m, started)
	}
	if err != nil {
		return err
	}
	if node.api == nil {
		return nil
	}
	go node.follow()
	go node.renewLease()
	time.Sleep(seconds(m.OldStatusSeconds))
	node.register()
	node.configure()
	node.giveRoles()
	go (&Pods{api: node.api, node: host.NodeName, ip: host.NodeIP}).keep()
	node.keepStatus()
	return nil
}

// Returns when the API is there for everybody, with the kubelet's access to it, if there is a kubelet, and the
// administrator's. systemd was told READY=1 before that.
func serveServer(args []string, host Host, m Misbehaviour, started time.Time) (*API, *API, error) {
	port, err := strconv.Atoi(first(option(args, "https-listen-port"), "6443"))
	if err != nil {
		return nil, nil, err
	}
	var api *API
	if !isSet(args, "disable-agent") {
		if api, err = kubelet(host, port, m); err != nil {
			return nil, nil, err
		}
	}
	if err := openDataStore(host); err != nil {
		return nil, nil, err
	}
	cert, err := adminIdentity(port)
	if err != nil {
		return nil, nil, err
	}
	admin, err := newAPI(port, cert)
	if err != nil {
		return nil, nil, err
	}
	for !answers(host.API) { // it does not start without its data store, either
		time.Sleep(200 * time.Millisecond)
	}
	time.Sleep(time.Until(started.Add(seconds(m.StartSeconds))))
	isUp()
	time.Sleep(seconds(m.RefusedSeconds))
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, nil, err
	}
	startup, err := newStartup(listener.Addr())
	if err != nil {
		return nil, nil, err
	}
	go proxy(listener, []string{host.API}, startup)
	startup.run(m)
	admin.await()
	return api, admin, nil
}

// An agent waits for its server as long as it takes. Its own port is another one at each start.
func serveAgent(host Host, m Misbehaviour, started time.Time) (*API, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	api, err := kubelet(host, listener.Addr().(*net.TCPAddr).Port, m)
	if err != nil {
		return nil, err
	}
	go proxy(listener, host.Servers, nil)
	api.await()
	time.Sleep(time.Until(started.Add(seconds(m.StartSeconds))))
	isUp()
	return api, nil
}

// kubelet writes the kubelet's identity, and gives its access to the API.
func kubelet(host Host, port int, m Misbehaviour) (*API, error) {
	if err := writeKubeletIdentity(host.NodeName, port, m); err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(kubeletCert, kubeletKey)
	if err != nil {
		return nil, err
	}
	return newAPI(port, cert)
}

func (a *API) await() {
	for try := 0; ; try++ {
		_, err := a.get("/version")
		if err == nil {
			return
		}
		if try%25 == 0 {
			log.Printf("level=info msg=\"Waiting for the API: %v\"", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func answers(address string) bool {
	connection, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return false
	}
	connection.Close()
	return true
}

func isUp() {
	notify("READY=1")
	log.Print(`level=info msg="k3s is up and running" (stand-in)`)
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
