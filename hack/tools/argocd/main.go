// cache-server is the cache that Argo CD asks for: an in-memory server of the Redis protocol, on the address given.
//
// It is the library that Argo CD's own tests use, so no package of the system, and no service that starts with it, is needed.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: cache-server ADDRESS:PORT")
		os.Exit(2)
	}
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer server.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-second.C:
			// The library's clock stands still by itself; what expires would stay for ever.
			server.FastForward(time.Second)
		case <-stop:
			return
		}
	}
}
