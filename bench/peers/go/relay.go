package main

import "database/sql"

const (
	relayedEntries = 16 // read at a time

	newestEntry = "SELECT COALESCE(MAX(first_id), 0) FROM ingest_outbox"
	readEntries = "SELECT first_id, batch FROM ingest_outbox WHERE first_id > ? AND first_id <= ? " +
		"ORDER BY first_id LIMIT ?"
)

// relay publishes what an earlier process has committed and not settled.
type relay struct {
	db        *sql.DB
	publisher *publisher
	newest    int64
}

// newRelay finds what is left. No commit may come before it.
func newRelay(db *sql.DB, publisher *publisher) (*relay, error) {
	r := &relay{db: db, publisher: publisher}
	return r, db.QueryRow(newestEntry).Scan(&r.newest)
}

// run publishes the entries page by page, and closes the connection after the last.
func (r *relay) run() error {
	defer r.db.Close()
	last := int64(0)
	for last < r.newest {
		page, err := r.read(last)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for _, b := range page {
			last = b.firstID()
			r.publisher.publish(b.entries)
		}
	}
	return nil
}

func (r *relay) read(after int64) ([]*batch, error) {
	found, err := r.db.Query(readEntries, after, r.newest, relayedEntries)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var page []*batch
	for found.Next() {
		var firstID int64
		var packed []byte
		if err := found.Scan(&firstID, &packed); err != nil {
			return nil, err
		}
		b, err := unpack(firstID, packed)
		if err != nil {
			return nil, err
		}
		page = append(page, b)
	}
	return page, found.Err()
}
