// Package suite holds the cases of the clients that are written in Go. A client brings an adapter,
// Client; the cases are the same for all, and print what tests/clients/run wants to read.
//
// A case fails by a panic in its own goroutine, which Main turns into a line.
package suite

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Cases wait for timers of the broker most of the time, so several run at once.
	atOnce   = 6
	patience = 60 * time.Second
	// How long a wait for something that is due may take.
	patienceWait = 40 * time.Second
)

// A Client is the library under test.
type Client interface {
	Producer(ProducerSettings) Producer
	// Reader reads whole partitions from their start, without a group.
	Reader(topic string, partitions int32, settings ReaderSettings) Reader
	// Member joins a group, and gives the values it reads to `read`.
	Member(group, topic string, read *Read, settings MemberSettings) Member
	Admin() Admin
	// Code is the number of the error in Kafka's protocol; 0 without an error, -1 for others.
	Code(error) int
}

// ProducerSettings are the differences from the client's own defaults.
type ProducerSettings struct {
	// "0", "1" or "all"; not idempotent then.
	Acks         string
	Codec        string
	MaxBytes     int
	SmallBatches bool
}

// A Producer sends. The client decides when; `done` gets the offset (-1 when it is not told).
type Producer interface {
	Send(topic string, record Record, done func(offset int64, err error))
	// SentBytes is what the records have taken on the wire.
	SentBytes() int64
	Flush()
	Close()
}

// ReaderSettings are the differences from the client's own defaults.
type ReaderSettings struct {
	MaxWait time.Duration
}

// A Reader reads partitions in the order of each.
type Reader interface {
	// Read returns what comes within `wait`, at the first that comes.
	Read(wait time.Duration) []Record
	Seek(partition int32, offset int64)
	Close()
}

// MemberSettings say how a member joins. The session lasts 6 s, or 30 s for a static member.
type MemberSettings struct {
	Cooperative bool
	// The name of a static member.
	Instance string
}

// A Member of a group polls by itself until it is closed.
type Member interface {
	Owned() []int32
	// Revoked are the partitions that were taken away while it stayed.
	Revoked() []int32
	// Assignments counts how often it was told about an assignment.
	Assignments() int
	Close()
}

// An Admin panics where an error is nothing that a case asks for.
type Admin interface {
	CreateTopic(name string, partitions int, configs map[string]string) error
	DeleteTopic(name string)
	Topics() []string
	Partitions(topic string) int
	Configs(topic string) map[string]string
	SetConfig(topic, key, value string) error
	AddPartitions(topic string, total int) error
	// DeleteRecords returns the new start of the partition.
	DeleteRecords(topic string, partition int32, before int64) int64
	// Offset of a time in milliseconds, or Earliest or Latest; -1 if there is none.
	Offset(topic string, partition int32, when int64) int64
	Groups() []string
	// Group returns the state in lower case and the number of members.
	Group(group string) (string, int)
	DeleteGroup(group string)
	Commit(group, topic string, partition int32, offset int64, metadata string)
	// Committed returns offset -1 if there is none.
	Committed(group, topic string, partition int32) (int64, string)
	Close()
}

// Earliest and Latest are the special times of Admin.Offset.
const (
	Latest   = int64(-1)
	Earliest = int64(-2)
)

// A Header of a record. A nil value is not an empty one.
type Header struct {
	Name  string
	Value []byte
}

// A Record as sent and read. Time 0 is now.
type Record struct {
	Partition   int32
	Offset      int64
	Key, Value  []byte
	Headers     []Header
	TimestampMs int64
}

// Read collects the values that the members of a group have read.
type Read struct {
	lock   sync.Mutex
	values []string
}

// Add takes one value.
func (r *Read) Add(value []byte) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.values = append(r.values, string(value))
}

// Values are those so far.
func (r *Read) Values() []string {
	r.lock.Lock()
	defer r.lock.Unlock()
	return append([]string(nil), r.values...)
}

type failure struct{ why string }

// Check panics with the reason unless `holds`.
func Check(holds bool, format string, arguments ...any) {
	if !holds {
		panic(failure{fmt.Sprintf(format, arguments...)})
	}
}

// Same panics unless both are equal.
func Same[V comparable](expected, actual V, what string) {
	Check(expected == actual, "%s: %v instead of %v", what, actual, expected)
}

// Ok panics if there is an error.
func Ok(err error) {
	if err != nil {
		panic(failure{err.Error()})
	}
}

// Must is the value; it panics if there is an error.
func Must[V any](value V, err error) V {
	Ok(err)
	return value
}

// Await waits for what is due.
func Await(what string, done func() bool) {
	deadline := time.Now().Add(patienceWait)
	for !done() {
		Check(time.Now().Before(deadline), "waited in vain: %s", what)
		time.Sleep(10 * time.Millisecond)
	}
}

// Bootstrap is the address of the broker.
func Bootstrap() string { return os.Getenv("BOOTSTRAP") }

var (
	run  = fmt.Sprintf("%x", time.Now().UnixMilli())
	next atomic.Int64
)

// fresh is a name for a topic or a group that no other run uses.
func fresh(what string) string {
	return fmt.Sprintf("go-%s-%s-%d", what, run, next.Add(1))
}

// control asks the program that controls the broker.
func control(verb string) {
	Ok(exec.Command(os.Getenv("BROKER"), verb).Run())
}

// Number is what a variable of the environment says.
func Number(variable string, otherwise int) int {
	if text := os.Getenv(variable); text != "" {
		return Must(strconv.Atoi(text))
	}
	return otherwise
}

// A Roamer is a client that can also let a group live through members that come and go.
type Roamer interface {
	// Chaos is the case group_chaos.
	Chaos()
	// ChaosPatience is how long it may take.
	ChaosPatience() time.Duration
}

type namedCase struct {
	name string
	body func(Client)
}

// Main runs all cases, or is the process of a member that will be killed.
func Main(client Client) {
	if len(os.Args) == 4 && os.Args[1] == "member" {
		memberOfItsOwn(client, os.Args[2], os.Args[3])
	}
	lanes := make(chan struct{}, atOnce)
	var waiting sync.WaitGroup
	var failed atomic.Bool
	for _, one := range cases() {
		lanes <- struct{}{}
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			if !report(client, one, patience) {
				failed.Store(true)
			}
			<-lanes
		}()
	}
	waiting.Wait()
	if !alone(client) {
		failed.Store(true)
	}
	if failed.Load() {
		os.Exit(1)
	}
}

// alone runs the cases that nothing may run beside.
func alone(client Client) bool {
	passed := true
	if roamer, can := client.(Roamer); can && os.Getenv("RIVVEN_BINARY") == "" {
		fmt.Println("skipped group_chaos: there is no rivvend command that could tell the reasons")
	} else if can {
		chaos := namedCase{"group_chaos", func(Client) { roamer.Chaos() }}
		passed = report(client, chaos, roamer.ChaosPatience())
	}
	if os.Getenv("BROKER") == "" {
		fmt.Println("skipped restart: nothing here can kill this broker")
		return passed
	}
	patience := 150*time.Second + time.Duration(restarts)*10*time.Second
	return report(client, namedCase{"restart", restart}, patience) && passed
}

func report(client Client, one namedCase, patience time.Duration) bool {
	result := make(chan string, 1)
	go func() {
		defer func() {
			if what := recover(); what == nil {
				result <- ""
			} else if expected, ours := what.(failure); ours {
				result <- expected.why
			} else {
				panic(what)
			}
		}()
		one.body(client)
	}()
	why := fmt.Sprintf("not done after %v", patience)
	select {
	case why = <-result:
	case <-time.After(patience):
	}
	if why == "" {
		fmt.Println("ok", one.name)
		return true
	}
	fmt.Printf("FAILED %s: %s\n", one.name, strings.Join(strings.Fields(why), " "))
	return false
}
