// memberlist-peer runs one member on the reference memberlist library, for interoperability tests.
//
// Standard output carries one JSON object a line (membership events and answers), standard input one command a line.
// Nothing here is part of an image.
package main

import (
	"bufio"
	"bytes"
	"compress/lzw"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

type printer struct{ mu sync.Mutex }

func (p *printer) line(fields map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	encoded, err := json.Marshal(fields)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	os.Stdout.Write(append(encoded, '\n'))
}

type events struct{ out *printer }

func (e events) report(kind string, n *memberlist.Node) {
	e.out.line(map[string]any{
		"event": kind, "node": n.Name, "address": n.Address(), "meta": hex.EncodeToString(n.Meta),
		"at": float64(time.Now().UnixNano()) / 1e9,
	})
}
func (e events) NotifyJoin(n *memberlist.Node)   { e.report("join", n) }
func (e events) NotifyLeave(n *memberlist.Node)  { e.report("leave", n) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.report("update", n) }

type metadata struct{ meta, state []byte }

func (m metadata) NodeMeta(limit int) []byte                  { return m.meta }
func (m metadata) NotifyMsg([]byte)                           {}
func (m metadata) GetBroadcasts(overhead, limit int) [][]byte { return nil }
func (m metadata) LocalState(join bool) []byte                { return m.state }
func (m metadata) MergeRemoteState(buf []byte, join bool)     {}

// secretKey is the rule a MetalLB speaker applies to its secret text.
func secretKey(text string) []byte {
	if text == "" {
		return nil
	}
	return sha256.New().Sum([]byte(text))[:32]
}

func compress(r io.Reader, w io.Writer) error {
	input, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	c := lzw.NewWriter(&out, lzw.LSB, 8)
	if _, err := c.Write(input); err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return err
	}
	_, err = w.Write(out.Bytes())
	return err
}

func decompress(r io.Reader, w io.Writer) error {
	_, err := io.Copy(w, lzw.NewReader(r, lzw.LSB, 8))
	return err
}

func main() {
	name := flag.String("name", "", "node name")
	bind := flag.String("bind", "127.0.0.1", "address to bind and advertise")
	port := flag.Int("port", 7946, "port to bind and advertise")
	secret := flag.String("secret", "", "secret text; empty means plaintext")
	profile := flag.String("profile", "lan", "lan, wan or local")
	compression := flag.Bool("compression", true, "compress what is sent")
	label := flag.String("label", "", "packet label")
	protocol := flag.Int("protocol", 2, "protocol version to speak; 1 selects padded encryption")
	meta := flag.String("meta", "", "node metadata")
	state := flag.String("state", "", "user state sent with a push/pull")
	interval := flag.Duration("probe-interval", 0, "override of the profile's probe interval")
	timeout := flag.Duration("probe-timeout", 0, "override of the profile's probe timeout")
	filter := flag.String("lzw", "", "run as a filter from standard input to standard output: compress or decompress")
	verbose := flag.Bool("verbose", false, "library log on standard error")
	flag.Parse()

	switch *filter {
	case "compress", "decompress":
		run := compress
		if *filter == "decompress" {
			run = decompress
		}
		if err := run(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}

	config := memberlist.DefaultLANConfig()
	switch *profile {
	case "wan":
		config = memberlist.DefaultWANConfig()
	case "local":
		config = memberlist.DefaultLocalConfig()
	}
	config.Name, config.BindAddr, config.BindPort, config.AdvertisePort = *name, *bind, *port, *port
	config.EnableCompression, config.Label, config.ProtocolVersion = *compression, *label, uint8(*protocol)
	config.SecretKey = secretKey(*secret)
	if *interval > 0 {
		config.ProbeInterval = *interval
	}
	if *timeout > 0 {
		config.ProbeTimeout = *timeout
	}
	if !*verbose {
		config.LogOutput = io.Discard
	}
	out := &printer{}
	config.Events = events{out}
	if *meta != "" || *state != "" {
		config.Delegate = metadata{[]byte(*meta), []byte(*state)}
	}
	list, err := memberlist.Create(config)
	if err != nil {
		out.line(map[string]any{"event": "error", "error": err.Error()})
		os.Exit(1)
	}
	out.line(map[string]any{"event": "ready"})

	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		word, argument, _ := strings.Cut(strings.TrimSpace(commands.Text()), " ")
		answer := map[string]any{"answer": word}
		var failure error
		switch word {
		case "join":
			answer["joined"], failure = list.Join(strings.Split(argument, ","))
		case "members":
			names := []string{}
			for _, n := range list.Members() {
				names = append(names, n.Name)
			}
			sort.Strings(names)
			answer["members"] = names
		case "health":
			answer["score"] = list.GetHealthScore()
		case "leave":
			milliseconds, _ := strconv.Atoi(argument)
			failure = list.Leave(time.Duration(milliseconds) * time.Millisecond)
		case "key-add":
			failure = config.Keyring.AddKey(secretKey(argument))
		case "key-use":
			failure = config.Keyring.UseKey(secretKey(argument))
		case "key-remove":
			failure = config.Keyring.RemoveKey(secretKey(argument))
		case "quit":
			_ = list.Shutdown()
			return
		default:
			failure = fmt.Errorf("unknown command")
		}
		if failure != nil {
			answer["error"] = failure.Error()
		}
		out.line(answer)
	}
	_ = list.Shutdown()
}
