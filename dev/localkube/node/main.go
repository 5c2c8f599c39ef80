// Localnode is what a node of a local cluster runs beside containerd, and the
// scheduler that gives it pods, in one executable: the name it is started
// under (a link, or its first argument) picks the component.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var components = map[string]func() *cobra.Command{
	"kube-proxy":     proxy.NewProxyCommand,
	"kube-scheduler": func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":        func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

func main() {
	if filepath.Base(os.Args[0]) == "localnode" && len(os.Args) > 1 {
		os.Args = os.Args[1:]
	}
	newCommand, known := components[filepath.Base(os.Args[0])]
	if !known {
		fmt.Fprintln(os.Stderr, "usage: localnode kube-proxy|kube-scheduler|kubelet [flags]")
		os.Exit(2)
	}
	os.Exit(cli.Run(newCommand()))
}
