package main

import (
	"io"
	"net/http"
)

// serveNet serves with net/http, and returns when it cannot.
func serveNet(address string, a *api) error {
	mux := http.NewServeMux()
	mux.HandleFunc(path, a.handleNet)
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: readTimeout}
	return server.ListenAndServe()
}

func (a *api) handleNet(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		sendNet(w, methodNotAllowed)
		return
	}
	if !a.knows([]byte(r.Header.Get("X-Api-Token"))) {
		sendNet(w, unauthenticated)
		return
	}
	body, err := readNet(w, r)
	if err != nil {
		sendNet(w, unreadable)
		return
	}
	sendNet(w, a.take(body))
}

// readNet takes the whole body, in one allocation where its length is known.
func readNet(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > bodyBytesMax || r.ContentLength < 0 {
		return io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

var jsonType = []string{contentType}

func sendNet(w http.ResponseWriter, answer answer) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(answer.status)
	w.Write(answer.body)
}
