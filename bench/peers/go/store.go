package main

import (
	"database/sql"
	"log"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	dbTimeout      = 5 * time.Second
	packetBytesMax = 8 << 20 // rows and outbox entry of a batch, each perhaps doubled by escaping

	insertRows  = "INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time) VALUES "
	row         = "(?,?,?,?,?),"
	columns     = 5
	insertEntry = ";INSERT INTO ingest_outbox (first_id, count, lease_until, batch) VALUES (?,?,UTC_TIMESTAMP(6),?)"
	deleteEntry = ";DELETE FROM ingest_outbox WHERE first_id IN ("
	commit      = ";COMMIT"
)

var (
	rows  = strings.Repeat(row, batchEventsMax)
	marks = strings.Repeat("?,", settledMax)
)

// store commits over one connection; a second one makes batches smaller, and each event dearer.
type store struct {
	db     *sql.DB
	outbox *outbox // nil: rows alone
	args   []any
}

func newStore(db *sql.DB, outbox *outbox) *store {
	return &store{db: db, outbox: outbox, args: make([]any, 0, batchEventsMax*columns+settledMax+3)}
}

// write commits the batch in one round trip: its rows and, with an outbox, its entry and the
// deletion of settled ones.
func (s *store) write(b *batch) error {
	query := insertRows + rows[:len(b.entries)*len(row)-1]
	args := appendRows(s.args, b)
	if s.outbox == nil {
		_, err := s.db.Exec(query, args...)
		return err
	}
	args = append(args, b.firstID(), len(b.entries), pack(b))
	return s.transact(query+insertEntry, args, s.outbox.take(settledMin))
}

// settle deletes the settled entries that no commit has taken along.
func (s *store) settle() {
	if settled := s.outbox.take(1); len(settled) > 0 {
		if err := s.transact("DO 0", s.args, settled); err != nil {
			log.Printf("settle: %v", err)
		}
	}
}

// transact needs a session without autocommit. After an error nothing of the transaction is left.
func (s *store) transact(query string, args []any, settled []int64) error {
	if len(settled) > 0 {
		query += deleteEntry + marks[:2*len(settled)-1] + ")"
		for _, firstID := range settled {
			args = append(args, firstID)
		}
	}
	_, err := s.db.Exec(query+commit, args...)
	if err != nil {
		s.outbox.settle(settled...)
		if _, err := s.db.Exec("ROLLBACK"); err != nil {
			log.Printf("rollback: %v", err) // the driver has closed the connection, and the server rolls back
		}
	}
	return err
}

func appendRows(args []any, b *batch) []any {
	created := time.Now().UTC().Format("2006-01-02 15:04:05.000000")
	for _, e := range b.entries {
		// Strings, not bytes: the driver marks those as binary, which a JSON column refuses.
		args = append(args, e.id, e.callID, e.eventType, e.body, created)
	}
	return args
}

// open connects once to mysql://user:password@host:port/database.
func open(address string, transactions bool) (*sql.DB, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", u.Host
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.DBName = strings.TrimPrefix(u.Path, "/")
	config.InterpolateParams = true // one round trip a query instead of prepare, execute, close
	config.MaxAllowedPacket = packetBytesMax
	config.Timeout, config.ReadTimeout, config.WriteTimeout = dbTimeout, dbTimeout, dbTimeout
	if transactions {
		config.MultiStatements = true
		config.Params = map[string]string{"autocommit": "0"}
	}
	db, err := sql.Open("mysql", config.FormatDSN())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	return db, db.Ping()
}
