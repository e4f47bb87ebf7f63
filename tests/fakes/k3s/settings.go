// SPDX-License-Identifier: Apache-2.0

// What k3s is told by its arguments, its configuration files and its environment.
package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

const configFile = "/etc/rancher/k3s/config.yaml"

// A setting of a configuration file: a scalar has one value.
type setting struct {
	key    string
	values []string
}

// configured reads the configuration as k3s does before each command: $K3S_CONFIG_FILE, else what --config
// names, else the usual file, then `<file>.d/*.yaml`. Only a usual file may be missing.
func configured(args []string) ([]setting, error) {
	file, named := os.Getenv("K3S_CONFIG_FILE"), true
	if file == "" {
		file = option(args, "config", "c")
	}
	if file == "" {
		file, named = configFile, false
	}
	entries, err := os.ReadDir(file + ".d") // by name
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	files := []string{file}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".yaml") {
			files = append(files, filepath.Join(file+".d", entry.Name()))
		}
	}
	var all []setting
	for i, each := range files {
		content, err := os.ReadFile(each)
		if i == 0 && errors.Is(err, os.ErrNotExist) && !named {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = merge(all, parse(string(content)))
	}
	return all, nil
}

// merge lets the later ones win; a key that ends in + adds its values instead.
func merge(all, later []setting) []setting {
	for _, each := range later {
		key := strings.TrimSuffix(each.key, "+")
		at := 0
		for at < len(all) && all[at].key != key {
			at++
		}
		if at == len(all) {
			all = append(all, setting{key: key})
		}
		if key != each.key {
			each.values = append(append([]string{}, all[at].values...), each.values...)
		}
		all[at].values = each.values
	}
	return all
}

// parse knows `key: value`, and `key:` with one `- item` a line; each may be quoted.
func parse(content string) []setting {
	var all []setting
	for _, line := range strings.Split(content, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line == "---" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "- ") && len(all) > 0 {
			last := &all[len(all)-1]
			last.values = append(last.values, scalar(line[2:]))
			continue
		}
		colon := strings.Index(line, ":")
		if colon < 0 {
			fatal("error converting YAML to JSON: yaml: could not find expected ':' in " + line)
		}
		each := setting{key: scalar(line[:colon])}
		if value := scalar(line[colon+1:]); value != "" {
			each.values = []string{value}
		}
		all = append(all, each)
	}
	return all
}

func scalar(text string) string {
	text = strings.TrimSpace(text)
	if len(text) > 1 && (text[0] == '"' || text[0] == '\'') {
		if end := strings.IndexByte(text[1:], text[0]); end >= 0 {
			return text[1 : end+1]
		}
	}
	if comment := strings.Index(text, " #"); comment >= 0 {
		text = strings.TrimSpace(text[:comment])
	}
	return text
}

// effective puts the configuration's settings between the command and its arguments: what is said last counts.
func effective(args []string, settings []setting) []string {
	if len(args) == 0 {
		return args
	}
	all := []string{args[0]}
	for _, each := range settings {
		dashes := "--"
		if len(each.key) == 1 {
			dashes = "-"
		}
		if each.values == nil {
			all = append(all, dashes+each.key)
		}
		for _, value := range each.values {
			all = append(all, dashes+each.key+"="+value)
		}
	}
	return append(all, args[1:]...)
}

// option finds the value of the flag, whose last name may be its letter; the last one counts.
func option(args []string, names ...string) string {
	value := ""
	for i, arg := range args {
		for _, name := range names {
			dashes := "--"
			if len(name) == 1 {
				dashes = "-"
			}
			if arg == dashes+name && i+1 < len(args) {
				value = args[i+1]
			} else if strings.HasPrefix(arg, dashes+name+"=") {
				value = arg[len(dashes+name)+1:]
			}
		}
	}
	return value
}

func isSet(args []string, name string) bool {
	for _, arg := range args {
		if arg == "--"+name || arg == "--"+name+"=true" {
			return true
		}
	}
	return false
}

// masked is what k3s says of its arguments in the Node's annotation k3s.io/node-args.
func masked(args []string) []string {
	var said []string
	for _, arg := range args {
		if equals := strings.Index(arg, "="); equals > 0 && strings.HasPrefix(arg, "--") {
			said = append(said, arg[:equals], arg[equals+1:])
		} else {
			said = append(said, arg)
		}
	}
	for i := 0; i+1 < len(said); i++ {
		switch said[i] {
		case "--token", "-t", "--agent-token", "--datastore-endpoint", "--cluster-secret", "--etcd-s3-access-key",
			"--etcd-s3-secret-key":
			said[i+1] = omitted
		}
	}
	return said
}

const omitted = "********"

// maskedEnvironment is what k3s says of its variables in k3s.io/node-env.
func maskedEnvironment() map[string]string {
	said := map[string]string{}
	for _, variable := range os.Environ() {
		name, value := variable, ""
		if equals := strings.Index(variable, "="); equals > 0 {
			name, value = variable[:equals], variable[equals+1:]
		}
		switch name {
		case "K3S_TOKEN", "K3S_DATASTORE_ENDPOINT", "K3S_AGENT_TOKEN", "K3S_CLUSTER_SECRET":
			value = omitted
		}
		if strings.HasPrefix(name, "K3S_") {
			said[name] = value
		}
	}
	return said
}

// findDataDir goes by argument, config.yaml.d, config.yaml, environment, and last by who it is.
func findDataDir(all []string) string {
	dir := option(all, "data-dir", "d")
	if dir == "" && honoursDataDirVariable() {
		dir = os.Getenv("K3S_DATA_DIR")
	}
	if dir != "" {
		return dir
	}
	if os.Getuid() == 0 {
		return defaultDataDir
	}
	home := os.Getenv("HOME")
	if home == "" {
		fatal("$HOME is not defined")
	}
	return home + "/.rancher/k3s"
}

// K3S_DATA_DIR is the user's since these releases; in earlier ones it is k3s's own, for its inner program.
func honoursDataDirVariable() bool {
	since := map[int]int{27: 16, 28: 12, 29: 7, 30: 3}
	minor, patch := minorAndPatch()
	first, listed := since[minor]
	return minor > 30 || (listed && patch >= first)
}
