// A hub in the usual design of chat servers in Go: one goroutine owns the set of clients; each client has a channel of
// 256 messages, a goroutine that writes and one that reads. It reads events from a unix socket, one a line. A line "?"
// is answered with the number of messages that were dropped because a client's channel was full.
//
// The messages that are queued for a client are sent in one frame, one a line; with -frames, each in its own frame.
//
// Arguments: the path of the unix socket; then, for TLS, the files of the certificate and of its key.
package main

import (
	"bufio"
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

const (
	queueSize        = 256
	pingInterval     = 54 * time.Second
	pongTimeout      = 60 * time.Second
	writeTimeout     = 10 * time.Second
	maxClientMessage = 512 // bytes
)

var frames = flag.Bool("frames", false, "send each message in a frame of its own")

type client struct {
	socket *websocket.Conn
	send   chan []byte
}

type hub struct {
	clients    map[*client]bool
	register   chan *client
	unregister chan *client
	broadcast  chan []byte
	ask        chan chan int
	dropped    int
}

func (h *hub) run() {
	for {
		select {
		case c := <-h.register:
			h.clients[c] = true
		case c := <-h.unregister:
			if h.clients[c] {
				delete(h.clients, c)
				close(c.send)
			}
		case message := <-h.broadcast:
			for c := range h.clients {
				select {
				case c.send <- message:
				default:
					h.dropped++
				}
			}
		case answer := <-h.ask:
			answer <- h.dropped
		}
	}
}

func (c *client) writePump() {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	defer c.socket.Close()
	for {
		select {
		case message, open := <-c.send:
			c.socket.SetWriteDeadline(time.Now().Add(writeTimeout))
			if !open {
				c.socket.WriteMessage(websocket.CloseMessage, []byte{})
				return
			}
			if c.write(message) != nil {
				return
			}
		case <-ticker.C:
			c.socket.SetWriteDeadline(time.Now().Add(writeTimeout))
			if c.socket.WriteMessage(websocket.PingMessage, nil) != nil {
				return
			}
		}
	}
}

func (c *client) write(message []byte) error {
	if *frames {
		return c.socket.WriteMessage(websocket.TextMessage, message)
	}
	out, err := c.socket.NextWriter(websocket.TextMessage)
	if err != nil {
		return err
	}
	out.Write(message)
	for more := len(c.send); more > 0; more-- {
		out.Write([]byte{'\n'})
		out.Write(<-c.send)
	}
	return out.Close()
}

func (c *client) readPump(h *hub) {
	defer func() {
		h.unregister <- c
		c.socket.Close()
	}()
	c.socket.SetReadLimit(maxClientMessage)
	c.socket.SetReadDeadline(time.Now().Add(pongTimeout))
	c.socket.SetPongHandler(func(string) error { return c.socket.SetReadDeadline(time.Now().Add(pongTimeout)) })
	for {
		if _, _, err := c.socket.ReadMessage(); err != nil {
			return
		}
	}
}

func (h *hub) feed(source net.Conn) {
	lines := bufio.NewScanner(source)
	for lines.Scan() {
		if lines.Text() == "?" {
			answer := make(chan int)
			h.ask <- answer
			fmt.Fprintln(source, <-answer)
			continue
		}
		h.broadcast <- append([]byte(nil), lines.Bytes()...)
	}
}

func (h *hub) accept(feeds net.Listener) {
	for {
		source, err := feeds.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go h.feed(source)
	}
}

func main() {
	flag.Parse()
	h := &hub{
		clients: map[*client]bool{}, register: make(chan *client), unregister: make(chan *client),
		broadcast: make(chan []byte, queueSize), ask: make(chan chan int),
	}
	go h.run()
	upgrader := websocket.Upgrader{}
	http.HandleFunc("/ws", func(answer http.ResponseWriter, request *http.Request) {
		socket, err := upgrader.Upgrade(answer, request, nil)
		if err != nil {
			return
		}
		c := &client{socket, make(chan []byte, queueSize)}
		h.register <- c
		go c.writePump()
		go c.readPump(h)
	})
	feeds, err := net.Listen("unix", flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	go h.accept(feeds)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr().(*net.TCPAddr).Port)
	if flag.NArg() > 2 {
		server := &http.Server{TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}}
		log.Fatal(server.ServeTLS(listener, flag.Arg(1), flag.Arg(2)))
	}
	log.Fatal(http.Serve(listener, nil))
}
