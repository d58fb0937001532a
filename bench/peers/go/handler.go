package main

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"log"
	"net/http"
)

const (
	bodyBytesMax = 64 << 10
)

var (
	jsonType = []string{"application/json"}
	queued   = []byte(`{"status":"queued"}`)
)

type handler struct {
	token   []byte
	batcher *batcher
}

func newHandler(token string, batcher *batcher) *handler {
	return &handler{token: []byte(token), batcher: batcher}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "Method not allowed.", nil)
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Api-Token")), h.token) != 1 {
		refuse(w, http.StatusUnauthorized, "Unauthenticated.", nil)
		return
	}
	body, err := read(w, r)
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "The body could not be read.", nil)
		return
	}
	e, invalid, err := decode(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error(), nil)
		return
	}
	if invalid != nil {
		refuse(w, http.StatusUnprocessableEntity, "The given data was invalid.", invalid)
		return
	}
	if err := h.batcher.commit(&e, string(body)); err != nil {
		log.Printf("commit: %v", err)
		refuse(w, http.StatusInternalServerError, "The event could not be stored.", nil)
		return
	}
	w.Header()["Content-Type"] = jsonType
	w.Write(queued)
}

// read takes the whole body, in one allocation where its length is known.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > bodyBytesMax || r.ContentLength < 0 {
		return io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

func refuse(w http.ResponseWriter, status int, message string, invalid fieldErrors) {
	answer := struct {
		Message string      `json:"message"`
		Errors  fieldErrors `json:"errors,omitempty"`
	}{message, invalid}
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer)
}
