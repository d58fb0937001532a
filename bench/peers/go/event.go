package main

import (
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"
)

const durationMax = 1<<31 - 1

type event struct {
	CallID     string `json:"call_id"`
	FromNumber string `json:"from_number"`
	ToNumber   string `json:"to_number"`
	EventType  string `json:"event_type"`
	Timestamp  string `json:"timestamp"`
	Duration   *int64 `json:"duration"`
}

// fieldErrors tells of each wrong field why, in the form of Laravel's validator.
type fieldErrors map[string][]string

// errMalformed: the body is not JSON at all.
var errMalformed = errors.New("the body is not a JSON object")

// unmarshal reads JSON as encoding/json's function of this name does.
type unmarshal func(data []byte, v any) error

// decode returns the event of a body, or what is wrong with its fields, or errMalformed.
func decode(unmarshal unmarshal, body []byte) (event, fieldErrors, error) {
	var e event
	if unmarshal(body, &e) == nil {
		return e, e.check(), nil
	}
	return explain(body)
}

// explain decodes a refused body again, as only the errors of encoding/json name the field.
func explain(body []byte) (event, fieldErrors, error) {
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		var mistyped *json.UnmarshalTypeError
		if errors.As(err, &mistyped) && mistyped.Field != "" {
			return e, fieldErrors{mistyped.Field: {"The field must be a " + mistyped.Type.String() + "."}}, nil
		}
		return e, nil, errMalformed
	}
	return e, e.check(), nil
}

func (e *event) check() fieldErrors {
	var found fieldErrors
	add := func(field, message string) {
		if found == nil {
			found = fieldErrors{}
		}
		found[field] = append(found[field], message)
	}
	text := func(field, value string, limit int) {
		if value == "" {
			add(field, "The field is required.")
		} else if len(value) > limit && utf8.RuneCountInString(value) > limit {
			add(field, "The field is too long.")
		}
	}
	text("call_id", e.CallID, 255)
	text("from_number", e.FromNumber, 128)
	text("to_number", e.ToNumber, 128)
	text("event_type", e.EventType, 64)
	if _, err := time.Parse(time.RFC3339, e.Timestamp); err != nil {
		add("timestamp", "The timestamp must be as in RFC 3339.")
	}
	switch {
	case e.Duration == nil && e.EventType == "call_ended":
		add("duration", "The duration field is required when event type is call_ended.")
	case e.Duration != nil && (*e.Duration < 0 || *e.Duration > durationMax):
		add("duration", "The duration must be a whole number of seconds.")
	}
	return found
}
