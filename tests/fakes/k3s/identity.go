// SPDX-License-Identifier: Apache-2.0

// Certificates and kubeconfigs, in the places and forms of k3s.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

const (
	adminConfig    = "/etc/rancher/k3s/k3s.yaml"
	clientCAOfTest = standInDir + "/client-ca.crt"
	clientCAKey    = standInDir + "/client-ca.key"
	serverCAOfTest = standInDir + "/server-ca.crt"
)

// Below data-dir.
var (
	dataDir, agentDir, serverCAFile, clientCAFile, kubeletCert, kubeletKey, kubeletConfig string
	dbDir, stateDB                                                                        string
)

func useDataDir(dir string) {
	dataDir = dir
	agentDir = dir + "/agent"
	serverCAFile = agentDir + "/server-ca.crt"
	clientCAFile = agentDir + "/client-ca.crt"
	kubeletCert = agentDir + "/client-kubelet.crt"
	kubeletKey = agentDir + "/client-kubelet.key"
	kubeletConfig = agentDir + "/kubelet.kubeconfig"
	dbDir = dir + "/server/db"
	stateDB = dbDir + "/state.db"
}

// Writes what an agent fetches from its server at each start. The key is kept from start to start and
// the certificate is signed anew, as k3s does; the certificate's file holds the CA behind the leaf.
func writeKubeletIdentity(node string, port int, m Misbehaviour) error {
	if err := os.MkdirAll(agentDir, 0o755); err != nil {
		return err
	}
	for from, to := range map[string]string{serverCAOfTest: serverCAFile, clientCAOfTest: clientCAFile} {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := write(to, text, 0o644); err != nil {
			return err
		}
	}
	_, err := os.Stat(kubeletCert)
	if !m.KeepCert || err != nil {
		key, keyText, err := keepOrMakeKey(kubeletKey)
		if err != nil {
			return err
		}
		cert, err := sign(key, pkix.Name{Organization: []string{"system:nodes"}, CommonName: "system:node:" + node}, seconds(m.CertSeconds))
		if err != nil {
			return err
		}
		if err := write(kubeletKey, keyText, 0o600); err != nil {
			return err
		}
		if err := write(kubeletCert, cert, 0o600); err != nil {
			return err
		}
	}
	return writeInPlace(kubeletConfig, fmt.Sprintf(`apiVersion: v1
clusters:
- cluster:
    server: https://127.0.0.1:%d
    certificate-authority: %s
  name: local
contexts:
- context:
    cluster: local
    namespace: default
    user: user
  name: Default
current-context: Default
kind: Config
preferences: {}
users:
- name: user
  user:
    client-certificate: %s
    client-key: %s
`, port, serverCAFile, kubeletCert, kubeletKey))
}

// The administrator's credential that a k3s server has for itself; returned, and written as k3s.yaml.
func adminIdentity(port int) (tls.Certificate, error) {
	key, keyText, err := keepOrMakeKey("")
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := sign(key, pkix.Name{Organization: []string{"system:masters"}, CommonName: "system:admin"}, 365*24*time.Hour)
	if err != nil {
		return tls.Certificate{}, err
	}
	ca, err := os.ReadFile(serverCAOfTest)
	if err != nil {
		return tls.Certificate{}, err
	}
	base64 := base64.StdEncoding.EncodeToString
	text := fmt.Sprintf(`apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: %s
    server: https://127.0.0.1:%d
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
preferences: {}
users:
- name: default
  user:
    client-certificate-data: %s
    client-key-data: %s
`, base64(ca), port, base64(cert), base64(keyText))
	if err := write(adminConfig, []byte(text), 0o600); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, keyText)
}

func keepOrMakeKey(path string) (*ecdsa.PrivateKey, []byte, error) {
	if text, err := os.ReadFile(path); path != "" && err == nil {
		if block, _ := pem.Decode(text); block != nil {
			if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
				return key, text, nil
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func sign(key *ecdsa.PrivateKey, subject pkix.Name, valid time.Duration) ([]byte, error) {
	ca, err := tls.LoadX509KeyPair(clientCAOfTest, clientCAKey)
	if err != nil {
		return nil, err
	}
	issuer, err := x509.ParseCertificate(ca.Certificate[0])
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    issuer.NotBefore,
		NotAfter:     now.Add(valid),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, issuer, &key.PublicKey, ca.PrivateKey)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate[0]})...), nil
}

// Replaces the file in one step: whoever reads it meanwhile sees the old or the new one, whole.
func write(path string, text []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, text, mode); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// As k3s writes a kubeconfig: for a moment it is empty.
func writeInPlace(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	if _, err := file.WriteString(text); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
