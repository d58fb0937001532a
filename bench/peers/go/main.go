// A rival of the Call Events Service: net/http, one multi-row INSERT for all requests that wait, and
// publisher confirms awaited in the background. README.md says what it does and what it leaves out.
package main

import (
	"database/sql"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	writers          = 1 // connections that commit; a second one makes batches smaller, and each event dearer
	dbTimeout        = 5 * time.Second
	headerTimeout    = 5 * time.Second
	waitingEventsMax = 20_000
)

func main() {
	db, err := open(need("DATABASE_URL"))
	if err != nil {
		log.Fatalf("database: %v", err)
	}
	publisher, err := dialPublisher(need("AMQP_URL"), need("QUEUE"))
	if err != nil {
		log.Fatalf("broker: %v", err)
	}
	batcher := newBatcher(db, publisher)
	for i := 0; i < writers; i++ {
		go batcher.run()
	}
	mux := http.NewServeMux()
	mux.Handle("/api/call-events", newHandler(need("API_TOKEN"), batcher))
	server := &http.Server{
		Addr:              net.JoinHostPort("127.0.0.1", need("PORT")),
		Handler:           mux,
		ReadHeaderTimeout: headerTimeout,
	}
	log.Fatal(server.ListenAndServe())
}

// open connects to mysql://user:password@host:port/database.
func open(address string) (*sql.DB, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", u.Host
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.DBName = strings.TrimPrefix(u.Path, "/")
	config.InterpolateParams = true // one round trip an INSERT instead of prepare, execute, close
	config.Timeout, config.ReadTimeout, config.WriteTimeout = dbTimeout, dbTimeout, dbTimeout
	db, err := sql.Open("mysql", config.FormatDSN())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(writers)
	db.SetMaxIdleConns(writers)
	return db, db.Ping()
}

func need(name string) string {
	value := os.Getenv(name)
	if value == "" {
		log.Fatalf("%s is not set", name)
	}
	return value
}
