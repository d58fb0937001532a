package main

import (
	"crypto/subtle"
	"encoding/json"
	"log"
	"net/http"
)

const (
	path         = "/api/call-events"
	bodyBytesMax = 64 << 10
	contentType  = "application/json"
)

// answer is a status with a JSON body.
type answer struct {
	status int
	body   []byte
}

var (
	queued           = answer{http.StatusOK, []byte(`{"status":"queued"}`)}
	unauthenticated  = refusal(http.StatusUnauthorized, "Unauthenticated.", nil)
	notFound         = refusal(http.StatusNotFound, "Not found.", nil)
	methodNotAllowed = refusal(http.StatusMethodNotAllowed, "Method not allowed.", nil)
	unreadable       = refusal(http.StatusRequestEntityTooLarge, "The body could not be read.", nil)
	notStored        = refusal(http.StatusInternalServerError, "The event could not be stored.", nil)
)

// api is the endpoint as both HTTP servers call it.
type api struct {
	token     []byte
	unmarshal unmarshal
	batcher   *batcher
}

func (a *api) knows(token []byte) bool {
	return subtle.ConstantTimeCompare(token, a.token) == 1
}

// take returns when the event is durable or refused. It keeps nothing of body.
func (a *api) take(body []byte) answer {
	e, invalid, err := decode(a.unmarshal, body)
	if err != nil {
		return refusal(http.StatusBadRequest, err.Error(), nil)
	}
	if invalid != nil {
		return refusal(http.StatusUnprocessableEntity, "The given data was invalid.", invalid)
	}
	if err := a.batcher.commit(&e, string(body)); err != nil {
		log.Printf("commit: %v", err)
		return notStored
	}
	return queued
}

func refusal(status int, message string, invalid fieldErrors) answer {
	body, err := json.Marshal(struct {
		Message string      `json:"message"`
		Errors  fieldErrors `json:"errors,omitempty"`
	}{message, invalid})
	if err != nil {
		panic(err) // strings always have a JSON form
	}
	return answer{status, body}
}
