// SPDX-License-Identifier: Apache-2.0

// The program inside the program: k3s unpacks itself below its data-dir, and goes on there.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// The build puts this behind the ELF file, then the payload's SHA-256, its length, a newline and the payload
// (tests/cluster/releases.py). What follows the payload is of no interest.
const payloadHeader = "\nk3s stand-in payload "

// isUnpacked: this is the inner program, `<data-dir>/data/<sha256>/bin/k3s`.
func isUnpacked() bool {
	program, err := os.Executable()
	if err != nil {
		fatal(err.Error())
	}
	hash := filepath.Base(filepath.Dir(filepath.Dir(program)))
	_, err = hex.DecodeString(hash)
	return err == nil && len(hash) == 2*sha256.Size
}

// goOnInside unpacks what is not there yet, and becomes the inner program. argv stays: whoever looks sees the
// name by which k3s was called, but for /proc/<pid>/exe.
func goOnInside() {
	dir, err := extract()
	if err != nil {
		fatal("extracting data: " + err.Error())
	}
	if !honoursDataDirVariable() {
		os.Setenv("K3S_DATA_DIR", dir)
	}
	fatal(syscall.Exec(dir+"/bin/k3s", os.Args, os.Environ()).Error())
}

func extract() (string, error) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	at := bytes.LastIndex(self, []byte(payloadHeader))
	start := at + 1 + bytes.IndexByte(self[at+1:], '\n') + 1
	var hash string
	var length int
	if _, err := fmt.Sscanf(string(self[at+len(payloadHeader):start]), "%64s %d", &hash, &length); err != nil {
		return "", fmt.Errorf("this was built without a payload: %v", err)
	}
	// One that root has unpacked serves everybody.
	for _, dir := range []string{defaultDataDir, dataDir} {
		dir += "/data/" + hash
		if _, err := os.Stat(dir + "/bin/k3s"); err == nil {
			return dir, nil
		}
	}
	if start+length > len(self) {
		return "", fmt.Errorf("unexpected EOF")
	}
	payload := self[start : start+length]
	if sum := sha256.Sum256(payload); hex.EncodeToString(sum[:]) != hash {
		return "", fmt.Errorf("flate: corrupt input before offset %d", length/2)
	}
	dir := dataDir + "/data/" + hash
	fmt.Fprintf(os.Stderr, "level=info msg=\"Preparing data dir %s\"\n", dir)
	temporary := dir + "-tmp"
	defer os.RemoveAll(temporary)
	if err := os.MkdirAll(temporary+"/bin", 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(temporary+"/bin/k3s-payload", payload, 0o644); err != nil {
		return "", err
	}
	if err := os.WriteFile(temporary+"/bin/k3s", self[:at], 0o755); err != nil {
		return "", err
	}
	err = os.Rename(temporary, dir)
	if _, there := os.Stat(dir + "/bin/k3s"); there == nil {
		return dir, nil // another one was faster
	}
	return dir, err
}
