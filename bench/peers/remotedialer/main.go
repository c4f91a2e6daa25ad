// Command remotedialer is a relay through github.com/rancher/remotedialer as Rancher builds one, as a peer for the
// benchmarks: the server ends the callers' TLS and reverse-proxies each request to the upstream, whose connections
// it dials through the client's session; TLS to the upstream begins at the server, so the client only copies bytes.
//
// It checks no token, asks no policy and counts nothing: what is measured is the relay alone.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rancher/remotedialer"
)

// Where the client connects.
const connectPath = "/connect"

// The client's name. There is one.
const session = "cluster"

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: remotedialer server|client [flags]")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	run := map[string]func(*flag.FlagSet, []string) error{"server": server, "client": client}[os.Args[1]]
	if run == nil {
		log.Fatalf("unknown command %q: server or client", os.Args[1])
	}
	if err := run(flags, os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func server(flags *flag.FlagSet, arguments []string) error {
	listen := flags.String("listen", "", "address for callers and for the client")
	certificate := flags.String("cert", "", "certificate of this server, PEM")
	key := flags.String("key", "", "its key, PEM")
	upstream := flags.String("upstream", "", "URL of the upstream")
	ca := flags.String("ca", "", "CA of the upstream, PEM")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	target, err := url.Parse(*upstream)
	if err != nil {
		return err
	}
	roots, err := pool(*ca)
	if err != nil {
		return err
	}
	relay := remotedialer.New(func(*http.Request) (string, bool, error) { return session, true, nil }, remotedialer.DefaultErrorWriter)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) { request.SetURL(target) },
		Transport: &http.Transport{
			DialContext:         relay.Dialer(session),
			TLSClientConfig:     &tls.Config{RootCAs: roots},
			MaxIdleConnsPerHost: 128, // the default of 2 would make a connection for nearly every request
			DisableCompression:  true,
		},
	}
	mux := http.NewServeMux()
	mux.Handle(connectPath, relay)
	mux.Handle("/", proxy)
	listener := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return listener.ListenAndServeTLS(*certificate, *key)
}

func client(flags *flag.FlagSet, arguments []string) error {
	server := flags.String("server", "", "host and port of the server")
	ca := flags.String("ca", "", "CA of the server, PEM")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	roots, err := pool(*ca)
	if err != nil {
		return err
	}
	dialer := &websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: roots}, HandshakeTimeout: 10 * time.Second}
	allow := func(string, string) bool { return true }
	return remotedialer.ClientConnect(context.Background(), "wss://"+*server+connectPath, nil, dialer, allow, nil)
}

func pool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return roots, nil
}
