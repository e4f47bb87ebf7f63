// SPDX-License-Identifier: Apache-2.0

// A stand-in for the web servers that k3s is released on: github.com (and the host it redirects downloads
// to) and k3s's channel server update.k3s.io, all on one TLS listener.
//
// Like them: the paths; `+` in a tag raw or as %2B; a download is a 302 from github.com to
// objects.githubusercontent.com with a query that counts as its signature, then 200 with ETag,
// Last-Modified and Accept-Ranges, and 206 or 416 for a Range; 404 as short text; a channel is a 302 to
// the release's page. Unlike them: HTTP/1.1 and HTTP/2 on one address, no HTML, no expiry of signatures.
//
// Told at run time by settings.json in its folder, which is read anew for each request: see Settings.
// One JSON line per request goes to access.log there.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Settings say where the channels point and what goes wrong.
type Settings struct {
	Channels    map[string]string `json:"channels"`    // "stable": "v1.31.4+k3s1"
	ChannelBody string            `json:"channelBody"` // if set, channels answer 200 with this: a captive portal
	ChannelPlus string            `json:"channelPlus"` // how + is spelled in the channel's Location: "%2B" or "+"
	Faults      []Fault           `json:"faults"`
}

// Fault applies to the requests whose host/path contains Match (an empty one matches all).
type Fault struct {
	Match          string `json:"match"`
	Status         int    `json:"status"`         // answer this and nothing else
	BytesPerSecond int    `json:"bytesPerSecond"` // slow body
	CutAfter       int64  `json:"cutAfter"`       // break the connection after so many bytes of the body
	Truncate       int64  `json:"truncate"`       // the file seems to end here
	WrongByte      bool   `json:"wrongByte"`      // flip the file's last byte
	NoRange        bool   `json:"noRange"`        // ignore Range
	Replace        string `json:"replace"`        // send this text in the file's place
	StallSeconds   int    `json:"stallSeconds"`   // say nothing for so long, then go on
	Times          int    `json:"times"`          // only for the first so many matching requests; 0: all
}

type server struct {
	dir string

	mutex sync.Mutex
	used  map[string]int // by a fault's JSON: how often it applied
	log   *os.File
}

func main() {
	dir := flag.String("dir", "", "folder with releases/<tag>/<file>, settings.json, tls.crt, tls.key")
	listen := flag.String("listen", ":443", "address; port 0 takes a free one, written to the folder's file `port`")
	flag.Parse()
	access, err := os.OpenFile(filepath.Join(*dir, "access.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(*dir, "tls.crt"), filepath.Join(*dir, "tls.key"))
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(filepath.Join(*dir, "port"), []byte(port), 0o644); err != nil {
		log.Fatal(err)
	}
	s := &server{dir: *dir, used: map[string]int{}, log: access}
	web := &http.Server{Handler: s, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	ready()
	log.Fatal(web.ServeTLS(listener, "", ""))
}

func ready() {
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		if c, err := net.Dial("unixgram", path); err == nil {
			fmt.Fprint(c, "READY=1")
			c.Close()
		}
	}
}

func (s *server) settings() Settings {
	settings := Settings{ChannelPlus: "+"}
	text, err := os.ReadFile(filepath.Join(s.dir, "settings.json"))
	if err == nil {
		err = json.Unmarshal(text, &settings)
	}
	if err != nil && !os.IsNotExist(err) {
		log.Print(err)
	}
	return settings
}

// The fault for this request, counted as used; an empty one if there is none.
func (s *server) fault(faults []Fault, r *http.Request) Fault {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, f := range faults {
		if !strings.Contains(r.Host+r.URL.Path, f.Match) {
			continue
		}
		key, _ := json.Marshal(f)
		if f.Times > 0 && s.used[string(key)] >= f.Times {
			continue
		}
		s.used[string(key)]++
		return f
	}
	return Fault{}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	settings := s.settings()
	recorder := &recorder{ResponseWriter: w, status: 200, fault: s.fault(settings.Faults, r), done: r.Context().Done()}
	defer func() {
		line, _ := json.Marshal(map[string]interface{}{
			"time": begun.UTC().Format(time.RFC3339Nano), "client": r.RemoteAddr, "protocol": r.Proto,
			"method": r.Method, "host": r.Host, "path": r.URL.Path, "raw": r.RequestURI,
			"headers": r.Header, "status": recorder.status, "bytes": recorder.bytes,
			"seconds": time.Since(begun).Seconds(),
		})
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.log.Write(append(line, '\n'))
	}()
	if recorder.fault.StallSeconds > 0 {
		select {
		case <-time.After(time.Duration(recorder.fault.StallSeconds) * time.Second):
		case <-r.Context().Done():
			return
		}
	}
	if recorder.fault.Status != 0 {
		http.Error(recorder, http.StatusText(recorder.fault.Status), recorder.fault.Status)
		return
	}
	s.route(recorder, r, settings)
}
