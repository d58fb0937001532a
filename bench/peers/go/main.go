// A rival of the Call Events Service: net/http or fasthttp, one multi-row INSERT for all requests that
// wait, and publisher confirms awaited in the background. README.md says what it does and leaves out.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"net"
	"os"
	"time"

	jsoniter "github.com/json-iterator/go"
)

const (
	readTimeout = 5 * time.Second
	idleTimeout = time.Minute
)

// front is an HTTP server with the JSON library that its users choose.
type front struct {
	serve     func(address string, a *api) error
	unmarshal unmarshal
}

var fronts = map[string]front{
	"net":  {serveNet, json.Unmarshal},
	"fast": {serveFast, jsoniter.ConfigFastest.Unmarshal},
}

func main() {
	name := flag.String("http", "net", "HTTP server: net (net/http, encoding/json) or fast (fasthttp, json-iterator)")
	withOutbox := flag.Bool("outbox", false, "write an outbox entry with the rows, and publish what an earlier process left")
	flag.Parse()
	front, known := fronts[*name]
	if !known {
		log.Fatalf("-http %s: there is no such server", *name)
	}
	a := &api{[]byte(need("API_TOKEN")), front.unmarshal, start(*withOutbox)}
	log.Fatal(front.serve(net.JoinHostPort("127.0.0.1", need("PORT")), a))
}

// start connects to both servers and begins to commit and publish.
func start(withOutbox bool) *batcher {
	var o *outbox
	var settling <-chan time.Time
	if withOutbox {
		o, settling = &outbox{}, time.Tick(settleEvery)
	}
	p, err := dialPublisher(need("AMQP_URL"), need("QUEUE"), o)
	check("broker", err)
	if withOutbox {
		startRelay(p)
	}
	db, err := open(need("DATABASE_URL"), withOutbox)
	check("database", err)
	b := newBatcher(newStore(db, o), p)
	go b.run(settling)
	return b
}

func startRelay(p *publisher) {
	db, err := open(need("DATABASE_URL"), false)
	check("database", err)
	r, err := newRelay(db, p)
	check("relay", err)
	go func() { check("relay", r.run()) }()
}

// check ends the process after an error. Whatever supervises it starts it again.
func check(part string, err error) {
	if err != nil {
		log.Fatalf("%s: %v", part, err)
	}
}

func need(name string) string {
	value := os.Getenv(name)
	if value == "" {
		log.Fatalf("%s is not set", name)
	}
	return value
}
