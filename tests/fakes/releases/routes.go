// SPDX-License-Identifier: Apache-2.0

// The paths of github.com, its download host and the channel server.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	downloads = "/k3s-io/k3s/releases/download/"
	pages     = "/k3s-io/k3s/releases/tag/"
	channels  = "/v1-release/channels/"
	objects   = "/github-production-release-asset/"
)

func (s *server) route(w *recorder, r *http.Request, settings Settings) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	path := r.URL.Path // decoded: %2B is + already
	switch {
	case strings.HasPrefix(path, downloads):
		s.redirectDownload(w, r, strings.TrimPrefix(path, downloads))
	case strings.HasPrefix(path, objects):
		if r.URL.Query().Get("X-Amz-Signature") == "" {
			http.Error(w, "AuthenticationFailed", http.StatusForbidden)
			return
		}
		s.serveFile(w, r, strings.TrimPrefix(path, objects))
	case strings.HasPrefix(path, pages):
		fmt.Fprintf(w, "Release %s\n", strings.TrimPrefix(path, pages))
	case strings.HasPrefix(path, channels):
		s.redirectChannel(w, r, strings.TrimPrefix(path, channels), settings)
	default:
		http.Error(w, "Not Found", http.StatusNotFound)
	}
}

// file gives the path of <tag>/<name> below the folder of releases, or "".
func (s *server) file(name string) string {
	parts := strings.Split(name, "/")
	if len(parts) != 2 || parts[0] == ".." || parts[1] == ".." {
		return ""
	}
	path := filepath.Join(s.dir, "releases", parts[0], parts[1])
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return ""
	}
	return path
}

func (s *server) redirectDownload(w http.ResponseWriter, r *http.Request, name string) {
	if s.file(name) == "" {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	tag, file, _ := strings.Cut(name, "/")
	signature := sha256.Sum256([]byte(name))
	w.Header().Set("Location", fmt.Sprintf("https://objects.githubusercontent.com%s%s%s/%s?X-Amz-Expires=300&X-Amz-Signature=%s",
		port(r), objects, plus(tag, "%2B"), file, hex.EncodeToString(signature[:])))
	w.WriteHeader(http.StatusFound)
}

// On a port of its own (a control plane without hosts), the redirect must lead back to it.
func port(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil && port != "443" {
		return ":" + port
	}
	return ""
}

func plus(tag, spelling string) string {
	return strings.ReplaceAll(url.PathEscape(tag), "+", spelling)
}

func (s *server) redirectChannel(w http.ResponseWriter, r *http.Request, channel string, settings Settings) {
	if settings.ChannelBody != "" {
		fmt.Fprint(w, settings.ChannelBody)
		return
	}
	tag := settings.Channels[channel]
	if tag == "" {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	w.Header().Set("Location", "https://github.com"+port(r)+pages+plus(tag, settings.ChannelPlus))
	w.WriteHeader(http.StatusFound)
}

func (s *server) serveFile(w *recorder, r *http.Request, name string) {
	path := s.file(name)
	if path == "" {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	file, err := os.Open(path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var content io.ReadSeeker = file
	modified := info.ModTime().Truncate(time.Second)
	etag := fmt.Sprintf("\"0x%X\"", modified.UnixNano()+info.Size())
	if f := w.fault; f.WrongByte || f.Truncate > 0 || f.Replace != "" {
		text, err := io.ReadAll(file)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		content = bytes.NewReader(f.spoil(text))
	}
	if w.fault.NoRange {
		r.Header.Del("Range")
	} else {
		w.Header().Set("Accept-Ranges", "bytes")
	}
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", modified, content)
}

func (f Fault) spoil(text []byte) []byte {
	if f.Replace != "" {
		text = []byte(f.Replace)
	}
	if f.WrongByte && len(text) > 0 {
		text[len(text)-1] ^= 1
	}
	if f.Truncate > 0 && int64(len(text)) > f.Truncate {
		text = text[:f.Truncate]
	}
	return text
}

// recorder counts what goes out, and holds the body back or cuts it as the fault says.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	fault  Fault
	done   <-chan struct{}
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(text []byte) (int, error) {
	written := 0
	for written < len(text) {
		piece := text[written:]
		if limit := r.fault.BytesPerSecond / 10; r.fault.BytesPerSecond > 0 {
			if limit < 1 {
				limit = 1
			}
			if len(piece) > limit {
				piece = piece[:limit]
			}
		}
		if left := r.fault.CutAfter - r.bytes; r.fault.CutAfter > 0 && int64(len(piece)) > left {
			piece = piece[:left]
		}
		if len(piece) == 0 { // cut: the connection breaks, without a proper end of the body
			panic(http.ErrAbortHandler)
		}
		n, err := r.ResponseWriter.Write(piece)
		written += n
		r.bytes += int64(n)
		if err != nil {
			return written, err
		}
		if r.fault.BytesPerSecond > 0 {
			r.ResponseWriter.(http.Flusher).Flush()
			pause := time.Duration(float64(time.Second) * float64(n) / float64(r.fault.BytesPerSecond))
			select {
			case <-time.After(pause):
			case <-r.done:
				return written, http.ErrAbortHandler
			}
		}
	}
	return written, nil
}
