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
	nackPause       = 100 * time.Millisecond
	unconfirmedMax  = 20_000
	batchesMax      = 1_000
	returnsBuffered = 16
)

// sent is a message on its way. The library's NotifyPublish would be simpler, but when it puts confirms
// in order, an ack of several messages also covers one among them that was refused before.
type sent struct {
	entry   *entry
	confirm *amqp.DeferredConfirmation
}

// publisher publishes committed batches over one channel and watches their confirms in the background.
type publisher struct {
	wire        *coalescingConn
	channel     *amqp.Channel
	queue       string
	outbox      *outbox // nil: confirmed batches need no settling
	batches     chan []*entry
	unconfirmed chan sent
}

// dialPublisher connects. The process ends when the connection is lost, as its start is the only
// moment that publishes again.
func dialPublisher(address, queue string, outbox *outbox) (*publisher, error) {
	p := &publisher{
		queue:       queue,
		outbox:      outbox,
		batches:     make(chan []*entry, batchesMax),
		unconfirmed: make(chan sent, unconfirmedMax),
	}
	connection, err := amqp.DialConfig(address, amqp.Config{Heartbeat: heartbeat, Dial: p.dial})
	if err != nil {
		return nil, err
	}
	p.channel, err = connection.Channel()
	if err != nil {
		return nil, err
	}
	if err := p.channel.Confirm(false); err != nil {
		return nil, err
	}
	go p.watchClose(p.channel.NotifyClose(make(chan *amqp.Error, 1)))
	go p.watchConfirms(p.channel.NotifyReturn(make(chan amqp.Return, returnsBuffered)))
	go p.run()
	return p, nil
}

func (p *publisher) dial(network, address string) (net.Conn, error) {
	connection, err := net.DialTimeout(network, address, dialTimeout)
	if err != nil {
		return nil, err
	}
	p.wire = newCoalescingConn(connection)
	return p.wire, nil
}

// publish hands committed events over; it waits when too many are not published yet.
func (p *publisher) publish(entries []*entry) {
	p.batches <- entries
}

func (p *publisher) run() {
	for entries := range p.batches {
		// The library misses a confirm that comes before its publish call returns.
		p.wire.hold()
		for _, e := range entries {
			confirm, err := p.send(e)
			if err != nil {
				log.Fatalf("publish: %v", err)
			}
			p.unconfirmed <- sent{e, confirm}
		}
		p.wire.release()
	}
}

func (p *publisher) send(e *entry) (*amqp.DeferredConfirmation, error) {
	message := amqp.Publishing{
		ContentType:  contentType,
		DeliveryMode: amqp.Persistent,
		MessageId:    strconv.FormatInt(e.id, 10),
		Type:         e.eventType,
		Body:         []byte(e.body),
	}
	return p.channel.PublishWithDeferredConfirmWithContext(context.Background(), "", p.queue, true, false, message)
}

// watchConfirms waits for the confirms one by one. A returned message is confirmed too, but the
// library hands over its return first.
func (p *publisher) watchConfirms(returns <-chan amqp.Return) {
	for message := range p.unconfirmed {
		acked := message.confirm.Wait()
		select {
		case returned, open := <-returns:
			if open {
				log.Fatalf("the broker returned a message: %s", returned.ReplyText)
			}
		default:
		}
		if acked {
			p.confirmed(message.entry.batch)
		} else {
			refused := []*entry{message.entry}
			time.AfterFunc(nackPause, func() { p.publish(refused) })
		}
	}
}

func (p *publisher) confirmed(b *batch) {
	b.unconfirmed--
	if b.unconfirmed == 0 && p.outbox != nil {
		p.outbox.settle(b.firstID())
	}
}

func (p *publisher) watchClose(closed <-chan *amqp.Error) {
	log.Fatalf("the broker closed the channel: %v", <-closed)
}
