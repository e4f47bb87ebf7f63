// SPDX-License-Identifier: Apache-2.0

// What a server's API answers while it starts: first 503, then 403 to whoever is no administrator, because the
// default roles are not loaded yet.
package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Startup answers in the place of the API server until it is over.
type Startup struct {
	over      int32
	forbidden int32
	accepted  chan net.Conn
	address   net.Addr
}

func newStartup(address net.Addr) (*Startup, error) {
	certificate, err := tls.LoadX509KeyPair(standInDir+"/api-server.crt", standInDir+"/api-server.key")
	if err != nil {
		return nil, err
	}
	s := &Startup{accepted: make(chan net.Conn), address: address}
	server := &http.Server{Handler: s}
	server.SetKeepAlivesEnabled(false) // the next request is another connection, and may be the API server's own
	go server.Serve(tls.NewListener(s, &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert,
	}))
	return s, nil
}

// run is the order of events; it returns when the API server is to be seen.
func (s *Startup) run(m Misbehaviour) {
	time.Sleep(seconds(m.UnavailableSeconds))
	atomic.StoreInt32(&s.forbidden, 1)
	time.Sleep(seconds(m.ForbiddenSeconds))
	atomic.StoreInt32(&s.over, 1)
}

// take: false when the start is over, and the connection somebody else's.
func (s *Startup) take(connection net.Conn) bool {
	if atomic.LoadInt32(&s.over) == 1 {
		return false
	}
	s.accepted <- connection
	return true
}

// Startup is the listener of its own server.
func (s *Startup) Accept() (net.Conn, error) { return <-s.accepted, nil }
func (s *Startup) Close() error              { return nil }
func (s *Startup) Addr() net.Addr            { return s.address }

func (s *Startup) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	if atomic.LoadInt32(&s.forbidden) == 0 {
		refuse(answer, http.StatusServiceUnavailable, "ServiceUnavailable", "apiserver not ready")
		return
	}
	user := "system:anonymous"
	if certificates := request.TLS.PeerCertificates; len(certificates) > 0 {
		user = certificates[0].Subject.CommonName
	}
	refuse(answer, http.StatusForbidden, "Forbidden", forbidden(user, request))
}

func refuse(answer http.ResponseWriter, code int, reason, message string) {
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(code)
	json.NewEncoder(answer).Encode(object{
		"kind": "Status", "apiVersion": "v1", "metadata": object{}, "status": "Failure",
		"message": message, "reason": reason, "code": code,
	})
}

// forbidden says it in the API server's words.
func forbidden(user string, request *http.Request) string {
	verb := strings.ToLower(request.Method)
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	group := ""
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		group, parts = parts[1], parts[3:]
	default:
		return fmt.Sprintf("forbidden: User %q cannot %s path %q", user, verb, request.URL.Path)
	}
	where := "at the cluster scope"
	if len(parts) > 2 && parts[0] == "namespaces" {
		where, parts = fmt.Sprintf("in the namespace %q", parts[1]), parts[2:]
	}
	resource, subject := parts[0], parts[0]
	if group != "" {
		subject += "." + group
	}
	if len(parts) > 1 {
		subject += fmt.Sprintf(" %q", parts[1])
	}
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	switch {
	case verb == "post":
		verb = "create"
	case verb == "put":
		verb = "update"
	case verb == "get" && request.URL.Query().Get("watch") != "":
		verb = "watch"
	case verb == "get" && len(parts) == 1:
		verb = "list"
	}
	return fmt.Sprintf("%s is forbidden: User %q cannot %s resource %q in API group %q %s: can only read resources of this type",
		subject, user, verb, resource, group, where)
}
