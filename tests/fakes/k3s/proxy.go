// SPDX-License-Identifier: Apache-2.0

// The way to the API: bytes passed through, for as long as this process lives.
package main

import (
	"io"
	"log"
	"net"
	"sync/atomic"
	"time"
)

// Passes each connection to the first of the addresses that answers, beginning with the one that answered last
// (k3s's agents stay with a server until it fails); but for those that startup takes, if there is one.
func proxy(listener net.Listener, addresses []string, startup *Startup) {
	var current int32
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Printf("proxy on %s: %v", listener.Addr(), err)
			return
		}
		go func() {
			if startup != nil && startup.take(client) {
				return
			}
			defer client.Close()
			for try := range addresses {
				index := (int(atomic.LoadInt32(&current)) + try) % len(addresses)
				server, err := net.DialTimeout("tcp", addresses[index], 2*time.Second)
				if err != nil {
					continue
				}
				atomic.StoreInt32(&current, int32(index))
				pass(client, server)
				return
			}
		}()
	}
}

func pass(a, b net.Conn) {
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		go func(to, from net.Conn) {
			io.Copy(to, from)
			to.Close()
			done <- struct{}{}
		}(pair[0], pair[1])
	}
	<-done
	<-done
}
