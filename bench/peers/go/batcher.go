package main

import (
	"database/sql"
	"strings"
	"sync"
	"time"
)

const (
	batchEventsMax = 500
	batchBytesMax  = 1 << 20 // the driver sends up to 4 MiB, and escaping may double it

	insert       = "INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time) VALUES "
	row          = "(?,?,?,?,?),"
	columns      = 5
	sequenceBits = 22
)

var rows = strings.Repeat(row, batchEventsMax)

// entry is an event on its way to the database; done gets the outcome of its commit.
type entry struct {
	id        int64
	callID    string
	eventType string
	body      string
	done      chan error
}

// batcher is a group commit: whenever a connection is free it takes all that waits, without lingering.
type batcher struct {
	db        *sql.DB
	publisher *publisher
	waiting   chan *entry

	mu     sync.Mutex
	lastID int64
}

func newBatcher(db *sql.DB, publisher *publisher) *batcher {
	return &batcher{db: db, publisher: publisher, waiting: make(chan *entry, waitingEventsMax)}
}

// commit returns when the event is durable.
func (b *batcher) commit(e *event, body string) error {
	waiting := &entry{callID: e.CallID, eventType: e.EventType, body: body, done: make(chan error, 1)}
	b.waiting <- waiting
	return <-waiting.done
}

// run writes batch after batch over one connection at a time.
func (b *batcher) run() {
	args := make([]any, 0, batchEventsMax*columns)
	for first := range b.waiting {
		batch := b.take(first)
		err := b.write(batch, args)
		for _, e := range batch {
			e.done <- err
		}
		if err == nil {
			b.publisher.publish(batch)
		}
	}
}

// take returns first and all that waits behind it, up to the limits, with ids.
func (b *batcher) take(first *entry) []*entry {
	batch := make([]*entry, 1, 64)
	batch[0] = first
	size := len(first.body)
	for len(batch) < batchEventsMax && size < batchBytesMax {
		select {
		case next := <-b.waiting:
			batch = append(batch, next)
			size += len(next.body)
			continue
		default:
		}
		break
	}
	b.number(batch)
	return batch
}

// number gives the batch ascending ids: 41 bits of milliseconds, 22 bits of sequence.
func (b *batcher) number(batch []*entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := time.Now().UnixMilli() << sequenceBits
	if next <= b.lastID {
		next = b.lastID + 1
	}
	for i, e := range batch {
		e.id = next + int64(i)
	}
	b.lastID = next + int64(len(batch)) - 1
}

func (b *batcher) write(batch []*entry, args []any) error {
	created := time.Now().UTC().Format("2006-01-02 15:04:05.000000")
	for _, e := range batch {
		// Strings, not bytes: the driver marks those as binary, which a JSON column refuses.
		args = append(args, e.id, e.callID, e.eventType, e.body, created)
	}
	_, err := b.db.Exec(insert+rows[:len(batch)*len(row)-1], args...)
	return err
}
