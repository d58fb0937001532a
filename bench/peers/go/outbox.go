package main

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

const (
	settledMax  = 500
	settledMin  = 8 // fewer wait for the tick: a statement more in a commit would cost more than it saves
	settleEvery = 100 * time.Millisecond
)

// outbox knows the entries to delete: all their messages are confirmed.
type outbox struct {
	mu      sync.Mutex
	settled []int64
}

func (o *outbox) settle(firstIDs ...int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settled = append(o.settled, firstIDs...)
}

// take returns up to settledMax entries, or none if there are fewer than least.
func (o *outbox) take(least int) []int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.settled) < least {
		return nil
	}
	n := len(o.settled)
	if n > settledMax {
		n = settledMax
	}
	taken := o.settled[:n:n]
	o.settled = o.settled[n:]
	return taken
}

var errDamaged = errors.New("an outbox entry is damaged")

// pack keeps what a publisher needs, with the bodies as received; a JSON column does not keep them.
func pack(b *batch) []byte {
	size := 0
	for _, e := range b.entries {
		size += len(e.eventType) + len(e.body) + 2*binary.MaxVarintLen32
	}
	packed := make([]byte, 0, size)
	for _, e := range b.entries {
		packed = appendText(packed, e.eventType)
		packed = appendText(packed, e.body)
	}
	return packed
}

func unpack(firstID int64, packed []byte) (*batch, error) {
	var entries []*entry
	for len(packed) > 0 {
		e := &entry{id: firstID + int64(len(entries))}
		for _, text := range []*string{&e.eventType, &e.body} {
			length, n := binary.Uvarint(packed)
			if n <= 0 || length > uint64(len(packed)-n) {
				return nil, errDamaged
			}
			end := n + int(length)
			*text, packed = string(packed[n:end]), packed[end:]
		}
		entries = append(entries, e)
	}
	return newBatch(entries), nil
}

func appendText(packed []byte, text string) []byte {
	return append(binary.AppendUvarint(packed, uint64(len(text))), text...)
}
