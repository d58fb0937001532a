package main

import "time"

const (
	batchEventsMax   = 500
	batchBytesMax    = 1 << 20
	waitingEventsMax = 20_000
	sequenceBits     = 22
)

// entry is an event on its way to the database and the broker; done gets the outcome of its commit.
type entry struct {
	id        int64
	callID    string
	eventType string
	body      string
	done      chan error
	batch     *batch
}

// batch is what one transaction commits. Its ids are consecutive.
type batch struct {
	entries     []*entry
	unconfirmed int // only the publisher's watcher of confirms reads and changes it
}

func newBatch(entries []*entry) *batch {
	b := &batch{entries: entries, unconfirmed: len(entries)}
	for _, e := range entries {
		e.batch = b
	}
	return b
}

func (b *batch) firstID() int64 {
	return b.entries[0].id
}

// batcher is a group commit: whenever the connection is free it takes all that waits, without lingering.
type batcher struct {
	store     *store
	publisher *publisher
	waiting   chan *entry
	lastID    int64
}

func newBatcher(store *store, publisher *publisher) *batcher {
	return &batcher{store: store, publisher: publisher, waiting: make(chan *entry, waitingEventsMax)}
}

// commit returns when the event is durable.
func (b *batcher) commit(e *event, body string) error {
	waiting := &entry{callID: e.CallID, eventType: e.EventType, body: body, done: make(chan error, 1)}
	b.waiting <- waiting
	return <-waiting.done
}

// run commits batch after batch, and settles at each tick of settling.
func (b *batcher) run(settling <-chan time.Time) {
	for {
		select {
		case first := <-b.waiting:
			b.write(newBatch(b.take(first)))
		case <-settling:
			b.store.settle()
		}
	}
}

// take returns first and all that waits behind it, up to the limits, with ids.
func (b *batcher) take(first *entry) []*entry {
	taken := make([]*entry, 1, 64)
	taken[0] = first
	size := len(first.body)
	for len(taken) < batchEventsMax && size < batchBytesMax {
		select {
		case next := <-b.waiting:
			taken = append(taken, next)
			size += len(next.body)
			continue
		default:
		}
		break
	}
	b.number(taken)
	return taken
}

// number gives ascending ids: 41 bits of milliseconds, 22 bits of sequence.
func (b *batcher) number(entries []*entry) {
	next := time.Now().UnixMilli() << sequenceBits
	if next <= b.lastID {
		next = b.lastID + 1
	}
	for i, e := range entries {
		e.id = next + int64(i)
	}
	b.lastID = next + int64(len(entries)) - 1
}

func (b *batcher) write(batch *batch) {
	err := b.store.write(batch)
	for _, e := range batch.entries {
		e.done <- err
	}
	if err == nil {
		b.publisher.publish(batch.entries)
	}
}
