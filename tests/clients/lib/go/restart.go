package suite

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	restartPartitions = 2
	betweenKills      = 500
)

// restart kills the broker again and again under an idempotent producer and a reader: nothing that
// was acknowledged is lost, nothing is doubled, and each partition keeps its order.
func restart(client Client) {
	name := topic(client, "restart", restartPartitions, nil)
	producer := client.Producer(ProducerSettings{})
	defer producer.Close()
	var acknowledged, there atomic.Int64
	// The first fault stops the case; sender and reader may find more.
	faults := make(chan string, 1)
	stop, sent := make(chan struct{}), make(chan int64, 1)
	go func() { sent <- keepSending(producer, name, &acknowledged, faults, stop) }()
	ended := make(chan struct{})
	defer close(ended)
	go keepReading(client, name, &there, faults, ended)

	for range restarts {
		awaitGrowth("acknowledgements", &acknowledged, betweenKills, faults)
		control("kill")
		control("start")
	}
	awaitGrowth("acknowledgements after the last start", &acknowledged, 1, faults)
	close(stop)
	count := <-sent
	producer.Flush()
	Await("all acknowledgements", func() bool {
		noFault(faults)
		return acknowledged.Load() >= count
	})
	Await("the reader", func() bool {
		noFault(faults)
		return there.Load() >= count
	})
	Same(count, there.Load(), "records read")
	inOrder(drain(client, name, restartPartitions, int(count)), restartPartitions)
	fmt.Fprintln(os.Stderr, count, "records were acknowledged through", restarts, "kills")
}

// restarts says how often the broker is killed.
var restarts = Number("RESTARTS", 3)

func awaitGrowth(what string, counter *atomic.Int64, by int64, faults chan string) {
	before := counter.Load()
	Await(what, func() bool {
		noFault(faults)
		return counter.Load() >= before+by
	})
}

func noFault(faults chan string) {
	select {
	case why := <-faults:
		Check(false, "%s", why)
	default:
	}
}

func fault(faults chan string, why string) {
	select {
	case faults <- why:
	default:
	}
}

// keepSending returns how many records it has sent.
func keepSending(producer Producer, topic string, acknowledged *atomic.Int64,
	faults chan string, stop chan struct{}) int64 {
	for number := int64(0); ; number++ {
		select {
		case <-stop:
			return number
		case <-time.After(500 * time.Microsecond):
		}
		record := Record{Partition: int32(number % restartPartitions),
			Value: []byte(strconv.FormatInt(number, 10))}
		producer.Send(topic, record, func(_ int64, err error) {
			if err != nil {
				fault(faults, "refused: "+err.Error())
			}
			acknowledged.Add(1)
		})
	}
}

func keepReading(client Client, topic string, there *atomic.Int64,
	faults chan string, ended chan struct{}) {
	reader := client.Reader(topic, restartPartitions, ReaderSettings{})
	defer reader.Close()
	var next [restartPartitions]int64
	for {
		select {
		case <-ended:
			return
		default:
		}
		for _, record := range reader.Read(100 * time.Millisecond) {
			partition := record.Partition
			expected := next[partition]*restartPartitions + int64(partition)
			if string(record.Value) != strconv.FormatInt(expected, 10) {
				fault(faults, "read "+string(record.Value)+" instead of "+
					strconv.FormatInt(expected, 10))
			}
			next[partition]++
			there.Add(1)
		}
	}
}
