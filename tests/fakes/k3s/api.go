// SPDX-License-Identifier: Apache-2.0

// As much of a Kubernetes client as a kubelet needs, without the generated types.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

type object = map[string]interface{}

type API struct {
	base   string
	client *http.Client

	mutex       sync.Mutex
	connections map[net.Conn]bool
}

// StatusError is an answer that is not 2xx.
type StatusError struct {
	Code int
	Text string
}

func (e *StatusError) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Text) }

func isCode(err error, code int) bool {
	status, ok := err.(*StatusError)
	return ok && status.Code == code
}

func newAPI(port int, cert tls.Certificate) (*API, error) {
	text, err := os.ReadFile(serverCAOfTest)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	api := &API{base: fmt.Sprintf("https://127.0.0.1:%d", port), connections: map[net.Conn]bool{}}
	api.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}},
		ForceAttemptHTTP2: true,
		IdleConnTimeout:   30 * time.Second,
		DialContext:       api.dial,
	}}
	return api, nil
}

// A connection that its API can close.
type connection struct {
	net.Conn
	api *API
}

func (c *connection) Close() error {
	c.api.mutex.Lock()
	delete(c.api.connections, c)
	c.api.mutex.Unlock()
	return c.Conn.Close()
}

func (a *API) dial(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &connection{plain, a}
	a.mutex.Lock()
	a.connections[c] = true
	a.mutex.Unlock()
	return c, nil
}

// disconnect ends every request that is under way, the watches, too: a kubelet does so when its heartbeats fail, for
// a connection may be dead without anybody having said so.
func (a *API) disconnect() {
	a.mutex.Lock()
	var all []net.Conn
	for c := range a.connections {
		all = append(all, c)
	}
	a.mutex.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// open sends the request and gives the body of a 2xx to the caller, who closes it.
func (a *API) open(ctx context.Context, method, path, contentType string, body interface{}) (io.ReadCloser, error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, reader)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "kubelet/"+version+" (stand-in)")
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 != 2 {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 2000))
		return nil, &StatusError{answer.StatusCode, string(text)}
	}
	return answer.Body, nil
}

func (a *API) do(method, path, contentType string, body interface{}) (object, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	reader, err := a.open(ctx, method, path, contentType, body)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var result object
	err = json.NewDecoder(reader).Decode(&result)
	return result, err
}

func (a *API) get(path string) (object, error) { return a.do("GET", path, "", nil) }

func (a *API) post(path string, body interface{}) (object, error) {
	return a.do("POST", path, "application/json", body)
}

func (a *API) put(path string, body interface{}) (object, error) {
	return a.do("PUT", path, "application/json", body)
}

func (a *API) patch(path string, body interface{}) (object, error) {
	return a.do("PATCH", path, "application/strategic-merge-patch+json", body)
}

// field walks into nested objects; what is missing gives an empty value of the kind asked for.
func field(o object, path ...string) object {
	for _, name := range path {
		o, _ = o[name].(object)
	}
	return o
}

func text(o object, path ...string) string {
	s, _ := field(o, path[:len(path)-1]...)[path[len(path)-1]].(string)
	return s
}
