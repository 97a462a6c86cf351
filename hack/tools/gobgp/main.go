// gobgp-peer is a BGP router of a page, on GoBGP's library of messages, for interoperability tests: it asks for routes again, which GoBGP's
// daemon cannot be told to do.
//
// It waits for a neighbour, takes IPv4 and IPv6 from it, and tells nothing. Standard output carries one JSON object a line: the neighbour's
// OPEN, every UPDATE, its NOTIFICATION, the end. A line of standard input names a family (ipv4-unicast), for which it sends ROUTE-REFRESH.
// Nothing here is part of an image.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// 23456 stands for a number that only the capability holds (RFC 6793).
const asTrans = 23456

type peer struct {
	asn      uint32
	routerID string
	holdTime uint16

	mu   sync.Mutex
	conn net.Conn
}

func say(fields map[string]any) {
	encoded, err := json.Marshal(fields)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(append(encoded, '\n'))
}

func (p *peer) send(message *bgp.BGPMessage) error {
	data, err := message.Serialize()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return fmt.Errorf("there is no session")
	}
	_, err = p.conn.Write(data)
	return err
}

func (p *peer) open() *bgp.BGPMessage {
	short := uint16(asTrans)
	if p.asn <= 0xffff {
		short = uint16(p.asn)
	}
	capabilities := []bgp.ParameterCapabilityInterface{
		bgp.NewCapMultiProtocol(bgp.RF_IPv4_UC),
		bgp.NewCapMultiProtocol(bgp.RF_IPv6_UC),
		bgp.NewCapRouteRefresh(),
		bgp.NewCapFourOctetASNumber(p.asn),
	}
	parameters := []bgp.OptionParameterInterface{bgp.NewOptionParameterCapability(capabilities)}
	return bgp.NewBGPOpenMessage(short, p.holdTime, p.routerID, parameters)
}

func receive(reader io.Reader) (*bgp.BGPMessage, error) {
	head := make([]byte, bgp.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(reader, head); err != nil {
		return nil, err
	}
	header := &bgp.BGPHeader{}
	if err := header.DecodeFromBytes(head); err != nil {
		return nil, err
	}
	if int(header.Len) < len(head) {
		return nil, fmt.Errorf("a message of %d bytes", header.Len)
	}
	body := make([]byte, int(header.Len)-len(head))
	if _, err := io.ReadFull(reader, body); err != nil {
		return nil, err
	}
	return bgp.ParseBGPBody(header, body)
}

func texts[T fmt.Stringer](items []T) []string {
	found := []string{}
	for _, item := range items {
		found = append(found, item.String())
	}
	return found
}

func update(body *bgp.BGPUpdate) map[string]any {
	if ended, family := body.IsEndOfRib(); ended {
		return map[string]any{"event": "end-of-rib", "family": family.String()}
	}
	family := bgp.RF_IPv4_UC
	announced, withdrawn, attributes := texts(body.NLRI), texts(body.WithdrawnRoutes), []string{}
	for _, attribute := range body.PathAttributes {
		switch each := attribute.(type) {
		case *bgp.PathAttributeMpReachNLRI:
			family = bgp.AfiSafiToRouteFamily(each.AFI, each.SAFI)
			announced = append(announced, texts(each.Value)...)
			attributes = append(attributes, "{Nexthop: "+each.Nexthop.String()+"}")
		case *bgp.PathAttributeMpUnreachNLRI:
			family = bgp.AfiSafiToRouteFamily(each.AFI, each.SAFI)
			withdrawn = append(withdrawn, texts(each.Value)...)
		default:
			attributes = append(attributes, each.String())
		}
	}
	return map[string]any{
		"event": "update", "family": family.String(),
		"announced": announced, "withdrawn": withdrawn, "attributes": attributes,
	}
}

// serve holds one session until its connection ends.
func (p *peer) serve(conn net.Conn) error {
	defer conn.Close()
	p.mu.Lock()
	p.conn = conn
	p.mu.Unlock()
	done := make(chan struct{})
	defer func() {
		close(done)
		p.mu.Lock()
		p.conn = nil
		p.mu.Unlock()
	}()
	if err := p.send(p.open()); err != nil {
		return err
	}
	reader := bufio.NewReader(conn)
	for {
		message, err := receive(reader)
		if err != nil {
			return err
		}
		switch body := message.Body.(type) {
		case *bgp.BGPOpen:
			if err := p.send(bgp.NewBGPKeepAliveMessage()); err != nil {
				return err
			}
			go p.keepAlive(done)
			capabilities := []string{}
			for _, parameter := range body.OptParams {
				if offered, is := parameter.(*bgp.OptionParameterCapability); is {
					for _, each := range offered.Capability {
						capabilities = append(capabilities, each.Code().String())
					}
				}
			}
			say(map[string]any{"event": "open", "capabilities": capabilities})
		case *bgp.BGPUpdate:
			say(update(body))
		case *bgp.BGPNotification:
			say(map[string]any{"event": "notification", "code": body.ErrorCode, "subcode": body.ErrorSubcode})
		}
	}
}

func (p *peer) keepAlive(done <-chan struct{}) {
	ticker := time.NewTicker(time.Duration(p.holdTime) * time.Second / 3)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			if p.send(bgp.NewBGPKeepAliveMessage()) != nil {
				return
			}
		}
	}
}

// commands reads families to ask for; the end of the input is the end of the program.
func (p *peer) commands() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		family, err := bgp.GetRouteFamily(lines.Text())
		if err == nil {
			afi, safi := bgp.RouteFamilyToAfiSafi(family)
			err = p.send(bgp.NewBGPRouteRefreshMessage(afi, 0, safi))
		}
		if err != nil {
			say(map[string]any{"event": "error", "error": err.Error()})
		} else {
			say(map[string]any{"event": "asked", "family": family.String()})
		}
	}
	os.Exit(0)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:179", "address and port to wait at")
	asn := flag.Uint("asn", 64512, "autonomous system")
	routerID := flag.String("router-id", "192.0.2.1", "BGP identifier")
	holdTime := flag.Uint("hold-time", 90, "seconds")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p := &peer{asn: uint32(*asn), routerID: *routerID, holdTime: uint16(*holdTime)}
	go p.commands()
	say(map[string]any{"event": "ready"})
	for {
		conn, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		say(map[string]any{"event": "end", "why": p.serve(conn).Error()})
	}
}
