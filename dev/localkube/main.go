// Localkube is a Kubernetes control plane in one executable: the name it is
// started under (a link, or its first argument) picks the component. One
// binary shares the packages that three separate ones would each link again.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
}

func main() {
	args := os.Args
	if filepath.Base(args[0]) == "localkube" && len(args) > 1 {
		args = args[1:]
	}
	name := filepath.Base(args[0])
	os.Args = args
	if name == "etcd" {
		etcdmain.Main(args)
		return
	}
	newCommand, known := components[name]
	if !known {
		fmt.Fprintln(os.Stderr, "usage: localkube etcd|kube-apiserver|kube-controller-manager [flags]")
		os.Exit(2)
	}
	os.Exit(cli.Run(newCommand()))
}
