//go:build tools

// Package tools names the programs of etcd that the test cluster runs.
package tools

import (
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/server/v3"
)
