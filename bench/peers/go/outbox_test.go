package main

import (
	"errors"
	"testing"
)

func TestEntryKeepsIdsTypesAndBytes(t *testing.T) {
	written := newBatch([]*entry{
		{id: 7, eventType: "call_started", body: `{"a" : 1}`},
		{id: 8, eventType: "", body: "\x00'\\é"},
	})

	read, err := unpack(written.firstID(), pack(written))
	if err != nil || len(read.entries) != 2 || read.unconfirmed != 2 {
		t.Fatalf("%+v %v", read, err)
	}
	for i, e := range read.entries {
		w := written.entries[i]
		if e.id != w.id || e.eventType != w.eventType || e.body != w.body || e.batch != read {
			t.Errorf("%+v instead of %+v", e, w)
		}
	}
}

func TestDamagedEntryIsAnError(t *testing.T) {
	packed := pack(newBatch([]*entry{{id: 7, eventType: "call_started", body: "{}"}}))
	for _, damaged := range [][]byte{packed[:len(packed)-1], packed[:1], {0xff}} {
		if _, err := unpack(7, damaged); !errors.Is(err, errDamaged) {
			t.Errorf("%x: %v", damaged, err)
		}
	}
}

func TestFewSettledEntriesWaitForTheTick(t *testing.T) {
	o := &outbox{}
	o.settle(1)
	if taken := o.take(settledMin); taken != nil {
		t.Errorf("%v", taken)
	}
	if taken := o.take(1); len(taken) != 1 {
		t.Errorf("%v", taken)
	}
}

func TestOneStatementSettlesBoundedEntries(t *testing.T) {
	o := &outbox{}
	o.settle(make([]int64, settledMax+1)...)
	for _, expected := range []int{settledMax, 1, 0} {
		if taken := o.take(1); len(taken) != expected {
			t.Errorf("%d instead of %d", len(taken), expected)
		}
	}
}
