package main

import (
	"strings"
	"testing"
	"time"
)

// sound is the book of a group of two generations in which nothing went wrong.
func sound() *book {
	b := newBook(2)
	begun := time.Now().Add(-time.Second)
	for generation := 1; generation <= 2; generation++ {
		b.reasons[generation] = []reason{{begun, "member joined"}}
	}
	for _, line := range []string{"owns 1 a 0,1", "owns 2 a 0", "owns 2 b 1", "read 0 0 4",
		"committed", "read 1 0 2", "owns 2 a 0"} {
		b.heard(strings.Fields(line))
	}
	b.sent(0, 4)
	b.sent(1, 2)
	b.committed(0, 5)
	b.committed(1, 3)
	return b
}

// verdict is why the book is no good; empty: it is.
func verdict(b *book) (why string) {
	defer func() {
		if recover() != nil {
			why = strings.Join(b.faults, "; ")
		}
	}()
	b.conclude()
	return ""
}

func TestASoundHistoryPasses(t *testing.T) {
	if why := verdict(sound()); why != "" {
		t.Fatal(why)
	}
}

func TestEveryBadHistoryIsFound(t *testing.T) {
	for expected, spoil := range map[string]func(*book){
		"belongs to":   func(b *book) { b.heard(strings.Fields("owns 2 c 1")) },
		"nobody read":  func(b *book) { b.sent(1, 3) },
		"back to":      func(b *book) { b.committed(0, 4) },
		"nothing says": func(b *book) { delete(b.reasons, 1) },
		"empty reason": func(b *book) { b.reasons[2][0].text = " " },
		"generation 2 took": func(b *book) {
			b.reasons[2][0].at = time.Now().Add(-session - rebalance - 2*slack)
		},
	} {
		b := sound()
		spoil(b)
		if why := verdict(b); !strings.Contains(why, expected) {
			t.Errorf("%q was not found: %q", expected, why)
		}
	}
}
