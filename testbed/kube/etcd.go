package main

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
)

// newEtcdCommand is a single etcd member for tests. It does not call fsync: what it wrote survives the end of its
// process (the kernel has it), only not a power cut, and each write is several times faster.
func newEtcdCommand() *cobra.Command {
	var dir, client, peer string
	command := &cobra.Command{
		Use:           "etcd",
		Short:         "One etcd member, without fsync",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: false,
		RunE:          func(*cobra.Command, []string) error { return serveEtcd(dir, client, peer) },
	}
	command.Flags().StringVar(&dir, "data-dir", "", "where the data is kept")
	command.Flags().StringVar(&client, "client-url", "http://127.0.0.1:2379", "where clients are served")
	command.Flags().StringVar(&peer, "peer-url", "http://127.0.0.1:2380", "where other members would be served")
	_ = command.MarkFlagRequired("data-dir")
	return command
}

func serveEtcd(dir, client, peer string) error {
	clientURL, err := url.Parse(client)
	if err != nil {
		return fmt.Errorf("--client-url: %w", err)
	}
	peerURL, err := url.Parse(peer)
	if err != nil {
		return fmt.Errorf("--peer-url: %w", err)
	}
	config := embed.NewConfig()
	config.Dir = dir
	config.UnsafeNoFsync = true
	config.LogLevel = "warn"
	config.TickMs, config.ElectionMs = 100, 1000
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	<-etcd.Server.ReadyNotify()
	return <-etcd.Err()
}
