package main

import (
	"errors"
	"testing"
)

func TestBothFrontsDecodeAlike(t *testing.T) {
	valid := `{"call_id":"c","from_number":"1","to_number":"2","event_type":"call_ended",` +
		`"timestamp":"2025-01-31T13:45:00Z","duration":42,"more":[1,{"a":null}]}`
	cases := []struct {
		body      string
		field     string // a wrong one
		malformed bool
	}{
		{body: valid},
		{body: `{"call_id":5}`, field: "call_id"},
		{body: `{"duration":1.5}`, field: "duration"},
		{body: `{"duration":"42"}`, field: "duration"},
		{body: `{}`, field: "event_type"},
		{body: `null`, field: "call_id"},
		{body: valid + "x", malformed: true},
		{body: `[]`, malformed: true},
		{body: ``, malformed: true},
		{body: `{"call_id":"c"`, malformed: true},
	}
	for name, front := range fronts {
		for _, c := range cases {
			e, invalid, err := decode(front.unmarshal, []byte(c.body))
			if errors.Is(err, errMalformed) != c.malformed {
				t.Errorf("%s: %s: %v", name, c.body, err)
			}
			if c.field != "" && invalid[c.field] == nil {
				t.Errorf("%s: %s: %v", name, c.body, invalid)
			}
			if c.body == valid && (invalid != nil || e.CallID != "c" || *e.Duration != 42) {
				t.Errorf("%s: %+v %v", name, e, invalid)
			}
		}
	}
}
