// SPDX-License-Identifier: Apache-2.0

// Stands in for a bad way to the API server, or a bad API server: it takes TLS requests under the real server's certificate, passes
// them on to the real one, and misbehaves as the file `-mode` says. It holds two identities, a node's and an administrator's, and speaks
// as the one whose group the client's certificate names; unlike the real server it does not look who has signed that. A change of the mode ends all
// connections, so that what is under way meets it, too. Only the agent meets it: kubelets' requests always pass. Every request is a line in the file `-log`: unix time, method, path, protocol, user agent.
// To clients it speaks HTTP/2 where they do, as the real server, and to the real server HTTP/1.1.
//
// Modes: pass; 500; 429 (with Retry-After: 1); slow (bodies of one byte a second); cut (a watch breaks after a second); brief (a watch
// ends after a second, as the real server ends it when its time is over); huge (each GET that is no watch is answered with 100 MB of what
// could be a list); unready (/readyz says that etcd is not); 403 and 404 (as of an API server that has just started: nobody has any rights
// yet, or the CRDs are not loaded).
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

type proxy struct {
	mode    string
	lock    sync.Mutex
	conns   map[net.Conn]bool
	changed chan struct{} // closed when the mode changes
	log     *os.File
	node    http.Handler
	admin   http.Handler
}

func (p *proxy) now() (string, chan struct{}) {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.mode, p.changed
}

func (p *proxy) follow(file string) {
	for ; ; time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(file)
		mode := strings.TrimSpace(string(text))
		if err != nil || mode == "" {
			continue
		}
		p.lock.Lock()
		if mode != p.mode {
			p.mode = mode
			close(p.changed)
			p.changed = make(chan struct{})
			for conn := range p.conns {
				conn.Close()
			}
		}
		p.lock.Unlock()
	}
}

func (p *proxy) track(conn net.Conn, state http.ConnState) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(p.conns, conn)
	} else {
		p.conns[conn] = true
	}
}

func refuse(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"told to say so","reason":%q,"code":%d}`, reason, code)
}

// slowly lets one byte a second through.
type slowly struct {
	http.ResponseWriter
	over <-chan struct{}
}

func (s slowly) Write(data []byte) (int, error) {
	for i := range data {
		select {
		case <-s.over:
			return i, io.ErrClosedPipe
		case <-time.After(time.Second):
		}
		if _, err := s.ResponseWriter.Write(data[i : i+1]); err != nil {
			return i, err
		}
		s.ResponseWriter.(http.Flusher).Flush()
	}
	return len(data), nil
}

func (s slowly) Flush() { s.ResponseWriter.(http.Flusher).Flush() }

func huge(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a"}}`)
	item := []byte(`,{"metadata":{"name":"` + strings.Repeat("x", 1000) + `"}}`)
	piece := bytes.Repeat(item, 100)
	for sent := 0; sent < 100<<20; sent += len(piece) {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
	io.WriteString(w, "]}")
}

func (p *proxy) real(r *http.Request) http.Handler {
	if shown := r.TLS.PeerCertificates; len(shown) > 0 {
		for _, group := range shown[0].Subject.Organization {
			if group == "system:masters" {
				return p.admin
			}
		}
	}
	return p.node
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(p.log, "%d %s %s %s %s\n", time.Now().Unix(), r.Method, r.URL.RequestURI(), r.Proto, strings.ReplaceAll(r.UserAgent(), " ", "_"))
	mode, changed := p.now()
	if !strings.HasPrefix(r.UserAgent(), "k3s-upgrade-agent") {
		mode = "pass"
	}
	watch := r.URL.Query().Get("watch") != ""
	switch {
	case mode == "500":
		refuse(w, http.StatusInternalServerError, "InternalError")
	case mode == "429":
		refuse(w, http.StatusTooManyRequests, "TooManyRequests")
	case mode == "403":
		refuse(w, http.StatusForbidden, "Forbidden")
	case mode == "404" && strings.HasPrefix(r.URL.Path, "/apis/upgrade.cattle.io/"):
		http.NotFound(w, r)
	case mode == "huge" && r.Method == "GET" && !watch:
		huge(w)
	case mode == "unready" && r.URL.Path == "/readyz":
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n")
	case mode == "slow":
		r.Header.Set("Accept-Encoding", "identity")
		p.real(r).ServeHTTP(slowly{w, changed}, r)
	case mode == "cut" && watch:
		// What is passed on ends in the middle, and with it the stream (HTTP/2) or the connection (HTTP/1.1).
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		p.real(r).ServeHTTP(w, r.WithContext(ctx))
	case mode == "brief" && watch:
		query := r.URL.Query()
		query.Set("timeoutSeconds", "1")
		r.URL.RawQuery = query.Encode()
		p.real(r).ServeHTTP(w, r)
	default:
		p.real(r).ServeHTTP(w, r)
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "")
	target := flag.String("server", "", "the real server's URL")
	cert := flag.String("cert", "", "the real server's certificate and, with .key, its key")
	ca := flag.String("ca", "", "whom to trust")
	node := flag.String("node", "", "a node's certificate and, with .key, its key")
	admin := flag.String("admin", "", "the same of an administrator")
	mode := flag.String("mode", "", "")
	logFile := flag.String("log", "", "")
	flag.Parse()

	fail := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}
	url, err := url.Parse(*target)
	fail(err)
	trusted, err := os.ReadFile(*ca)
	fail(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	pair := func(file string) tls.Certificate {
		loaded, err := tls.LoadX509KeyPair(file, strings.TrimSuffix(file, ".crt")+".key")
		fail(err)
		return loaded
	}
	quiet := log.New(io.Discard, "", 0) // of clients that go
	as := func(file string) http.Handler {
		reverse := httputil.NewSingleHostReverseProxy(url)
		reverse.FlushInterval = -1
		reverse.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair(file)}}}
		reverse.ErrorLog = quiet
		return reverse
	}
	requests, err := os.OpenFile(*logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	fail(err)

	p := &proxy{mode: "pass", conns: map[net.Conn]bool{}, changed: make(chan struct{}), log: requests, node: as(*node), admin: as(*admin)}
	go p.follow(*mode)

	listener, err := net.Listen("tcp", *listen)
	fail(err)
	server := &http.Server{Handler: p, ConnState: p.track, ErrorLog: quiet,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair(*cert)}, NextProtos: []string{"h2", "http/1.1"}, ClientAuth: tls.RequestClientCert}}
	go func() { fail(server.ServeTLS(listener, "", "")) }()
	notify()
	select {}
}

func notify() {
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		if connection, err := net.Dial("unixgram", path); err == nil {
			fmt.Fprint(connection, "READY=1")
			connection.Close()
		}
	}
}
