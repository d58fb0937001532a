package main

import (
	"context"
	"log"
	"net"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	dialTimeout     = 5 * time.Second
	heartbeat       = 10 * time.Second
	unconfirmedMax  = 20_000
	batchesMax      = 1_000
	returnsBuffered = 16
)

// publisher publishes committed batches over one channel and watches their confirms in the background.
type publisher struct {
	channel     *amqp.Channel
	queue       string
	batches     chan []*entry
	unconfirmed chan *entry // in the order of publishing, which is that of the confirms
}

// dialPublisher connects, and ends the process when the connection is lost: without an outbox
// there is nothing to go on from.
func dialPublisher(address, queue string) (*publisher, error) {
	connection, err := amqp.DialConfig(address, amqp.Config{Heartbeat: heartbeat, Dial: dialCoalescing})
	if err != nil {
		return nil, err
	}
	channel, err := connection.Channel()
	if err != nil {
		return nil, err
	}
	if err := channel.Confirm(false); err != nil {
		return nil, err
	}
	p := &publisher{
		channel:     channel,
		queue:       queue,
		batches:     make(chan []*entry, batchesMax),
		unconfirmed: make(chan *entry, unconfirmedMax),
	}
	go p.watchConfirms(channel.NotifyPublish(make(chan amqp.Confirmation, unconfirmedMax)))
	go p.watchReturns(channel.NotifyReturn(make(chan amqp.Return, returnsBuffered)))
	go p.run()
	return p, nil
}

// publish hands a committed batch over; it waits when too many are not published yet.
func (p *publisher) publish(batch []*entry) {
	p.batches <- batch
}

func (p *publisher) run() {
	for batch := range p.batches {
		for _, e := range batch {
			p.unconfirmed <- e
			if err := p.send(e); err != nil {
				log.Fatalf("publish: %v", err)
			}
		}
	}
}

func (p *publisher) send(e *entry) error {
	return p.channel.PublishWithContext(context.Background(), "", p.queue, true, false, amqp.Publishing{
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		MessageId:    strconv.FormatInt(e.id, 10),
		Type:         e.eventType,
		Body:         []byte(e.body),
	})
}

// watchConfirms matches confirms, which the library puts in order, with what was published.
func (p *publisher) watchConfirms(confirms <-chan amqp.Confirmation) {
	for confirm := range confirms {
		e := <-p.unconfirmed
		if !confirm.Ack {
			go p.publish([]*entry{e})
		}
	}
	log.Fatal("the broker closed the channel")
}

func (p *publisher) watchReturns(returns <-chan amqp.Return) {
	for returned := range returns {
		log.Fatalf("the broker returned a message: %s", returned.ReplyText)
	}
}

func dialCoalescing(network, address string) (net.Conn, error) {
	connection, err := net.DialTimeout(network, address, dialTimeout)
	if err != nil {
		return nil, err
	}
	return newCoalescingConn(connection), nil
}
