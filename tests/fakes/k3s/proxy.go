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

// Listens, and passes each connection to the first of the addresses that answers, beginning with the one
// that answered last (k3s's agents stay with a server until it fails).
func serveProxy(listen string, addresses []string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	var current int32
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				log.Printf("proxy on %s: %v", listen, err)
				return
			}
			go func() {
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
	}()
	return nil
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
