package main

import (
	_ "go.etcd.io/etcd/server/v3/embed"
	_ "helm.sh/helm/v4/pkg/cmd"
	_ "k8s.io/kubernetes/cmd/kube-apiserver/app"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	_ "k8s.io/kubernetes/cmd/kube-scheduler/app"
	_ "k8s.io/kubernetes/cmd/kubelet/app"
	_ "k8s.io/kubectl/pkg/cmd"
	_ "golang.org/x/sys/unix"
	_ "github.com/spf13/cobra"
)

func main() {}
