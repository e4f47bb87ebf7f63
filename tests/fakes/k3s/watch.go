// SPDX-License-Identifier: Apache-2.0

// A list, and then what becomes of it, as a kubelet's informers follow the API.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"strings"
	"time"
)

// keepFollowing lists and watches for as long as this process lives. Each list is given whole, then each change
// with its kind: ADDED, MODIFIED or DELETED. `path` has a query.
func (a *API) keepFollowing(path string, listed func([]object), changed func(kind string, o object)) {
	for {
		err := a.follow(path, listed, changed)
		log.Printf("following %s: %v", strings.SplitN(path, "?", 2)[0], err)
		time.Sleep(500 * time.Millisecond)
	}
}

func (a *API) follow(path string, listed func([]object), changed func(kind string, o object)) error {
	list, err := a.get(path)
	if err != nil {
		return err
	}
	items, _ := list["items"].([]interface{})
	objects := []object{}
	for _, item := range items {
		objects = append(objects, item.(object))
	}
	listed(objects)
	body, err := a.open(context.Background(), "GET", path+"&watch=1&allowWatchBookmarks=true&resourceVersion="+
		text(list, "metadata", "resourceVersion"), "", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	decoder := json.NewDecoder(body)
	for {
		var event struct {
			Type   string
			Object object
		}
		if err := decoder.Decode(&event); err != nil {
			return fmt.Errorf("watch ended: %w", err)
		}
		switch event.Type {
		case "ADDED", "MODIFIED", "DELETED":
			changed(event.Type, event.Object)
		case "ERROR":
			return fmt.Errorf("watch: %s", text(event.Object, "message"))
		}
	}
}
