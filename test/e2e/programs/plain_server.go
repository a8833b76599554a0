// A UDP server in Go that echoes, as plain_server.py, for IPv4. Arguments: ADDRESS PORT
package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

const magic = 0x754F4131

func main() {
	address, err := net.ResolveUDPAddr("udp4", os.Args[1]+":"+os.Args[2])
	if err != nil {
		panic(err)
	}
	conn, err := net.ListenUDP("udp4", address)
	if err != nil {
		panic(err)
	}
	conn.SetReadBuffer(4 << 20)
	var received, empty, attributed, wrong, unnamed int64
	clients := map[string]bool{}
	done := make(chan bool)
	fmt.Println(`{"event": "ready"}`)
	go func() {
		buffer := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFromUDP(buffer)
			if err != nil {
				done <- true
				return
			}
			atomic.AddInt64(&received, 1)
			data := buffer[:n]
			clients[from.String()] = true
			switch {
			case n == 0:
				empty++
			case n < 26 || binary.BigEndian.Uint32(data) != magic:
				unnamed++
			case from.IP.Equal(net.IP(data[8:24])) && from.Port == int(binary.BigEndian.Uint16(data[24:26])):
				attributed++
			default:
				wrong++
			}
			if _, err := conn.WriteToUDP(data, from); err != nil {
				panic(err)
			}
		}
	}()
	os.Stdin.Read(make([]byte, 1))
	conn.Close()
	<-done
	fmt.Printf("{\"event\": \"result\", \"received\": %d, \"empty\": %d, \"attributed\": %d, \"wrong\": %d, \"unnamed\": %d, \"clients\": %d}\n",
		received, empty, attributed, wrong, unnamed, len(clients))
}
