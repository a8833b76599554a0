// A UDP server that knows its clients behind uoa-proxy: it answers each datagram with its client's address.
// go build server.go; usage: server IP PORT    (IP may be :: on a host with one address of each family)
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
)

const recvDstOpts, dstOpts = 58, 59 // linux/in6.h

// The client in the first UOA (option 31, 30). The lengths of IPv4's options count type and length, too.
func clientIn(options []byte, isIPv4 bool) (client netip.AddrPort, isTold bool) {
	for at := 0; at+1 < len(options); {
		kind, length := options[at], int(options[at+1])
		if kind == 0 || (kind == 1 && isIPv4) { // padding of one byte
			at++
			continue
		}
		if isIPv4 {
			length -= 2
		}
		if length < 0 || at+2+length > len(options) {
			break
		}
		content := options[at+2 : at+2+length]
		at += 2 + length
		if kind != 31 && kind != 30 {
			continue
		}
		if length == 14 || length == 38 { // unified over IPv4 begins with an operation
			content = content[2:]
		}
		var ip []byte
		switch len(content) {
		case 6, 18:
			ip = content[2:]
		case 12, 36: // unified: cport, vport, client, VIP
			ip = content[4 : 4+(len(content)-4)/2]
		default:
			continue
		}
		address, _ := netip.AddrFromSlice(ip)
		return netip.AddrPortFrom(address, binary.BigEndian.Uint16(content)), true
	}
	return client, false
}

func askForOptions(network, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_RECVOPTS, 1)
		if network == "udp6" {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, recvDstOpts, 1)
		}
	})
}

func main() {
	config := net.ListenConfig{Control: askForOptions}
	packets, err := config.ListenPacket(context.Background(), "udp", net.JoinHostPort(os.Args[1], os.Args[2]))
	if err != nil {
		panic(err)
	}
	conn := packets.(*net.UDPConn)
	clients := map[netip.AddrPort]netip.AddrPort{} // by source address, LIP:lport; never more than there are lports
	payload, control := make([]byte, 65535), make([]byte, 512)
	fmt.Println("ready")
	for {
		n, controlLen, _, source, err := conn.ReadMsgUDPAddrPort(payload, control)
		if err != nil {
			continue
		}
		isTold := false
		messages, _ := syscall.ParseSocketControlMessage(control[:controlLen])
		for _, message := range messages {
			var client netip.AddrPort
			found := false
			switch {
			case message.Header.Level == syscall.IPPROTO_IP && message.Header.Type == syscall.IP_RECVOPTS:
				client, found = clientIn(message.Data, true)
			case message.Header.Level == syscall.IPPROTO_IPV6 && message.Header.Type == dstOpts && len(message.Data) > 2:
				client, found = clientIn(message.Data[2:], false)
			}
			if found {
				clients[source], isTold = client, true
			}
		}
		if isTold && n == 0 {
			continue // a carrier: it was only for the UOA
		}
		client, isKnown := clients[source]
		if !isKnown { // as after a restart of this server: it goes by LIP:lport until the proxy tells again
			client = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
		}
		_, _ = conn.WriteToUDPAddrPort(append([]byte(client.String()+" "), payload[:n]...), source)
	}
}
