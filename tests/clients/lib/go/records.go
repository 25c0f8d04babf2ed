package suite

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// longAgo is in 2023, so that "now" can not pass for it.
const longAgo = int64(1_700_000_000_000)

const codeTooLarge = 10

// Slow ones first, so that they do not run last and alone.
func cases() []namedCase {
	list := []namedCase{
		{"group_crash", groupCrash},
		{"group_static", groupStatic},
		{"group_three", groupThree},
		{"group_cooperative", groupCooperative},
		{"commit_metadata", commitMetadata},
		{"produce_consume", produceConsume},
		{"keys_headers", keysHeaders},
	}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		list = append(list, namedCase{"codec_" + codec, func(c Client) { codecs(c, codec) }})
	}
	return append(list, []namedCase{
		{"timestamps", timestamps},
		{"seek_by_time", seekByTime},
		{"acks", acks},
		{"idempotent", idempotent},
		{"large_message", largeMessage},
		{"many_partitions", manyPartitions},
		{"auto_create", autoCreate},
		{"admin", administer},
		{"fetch_long_poll", longPoll},
	}...)
}

// topic is a new one with a name of its own.
func topic(client Client, what string, partitions int, configs map[string]string) string {
	admin := client.Admin()
	defer admin.Close()
	name := fresh(what)
	Ok(admin.CreateTopic(name, partitions, configs))
	return name
}

// send returns when all are acknowledged, with the offsets in the order of the records.
func send(client Client, settings ProducerSettings, topic string, records []Record) []int64 {
	producer := client.Producer(settings)
	defer producer.Close()
	return sendWith(producer, topic, records)
}

func sendWith(producer Producer, topic string, records []Record) []int64 {
	offsets := make([]int64, len(records))
	var failed atomic.Value
	var open sync.WaitGroup
	open.Add(len(records))
	for i, record := range records {
		producer.Send(topic, record, func(offset int64, err error) {
			offsets[i] = offset
			if err != nil {
				failed.Store(err.Error())
			}
			open.Done()
		})
	}
	producer.Flush()
	open.Wait()
	Check(failed.Load() == nil, "sending: %v", failed.Load())
	return offsets
}

// numbered are records with the values "0" to count - 1, over the partitions in turn.
func numbered(partitions, count int) []Record {
	records := make([]Record, count)
	for i := range records {
		records[i] = Record{Partition: int32(i % partitions), Value: []byte(strconv.Itoa(i))}
	}
	return records
}

func fill(client Client, topic string, partitions, count int) {
	send(client, ProducerSettings{}, topic, numbered(partitions, count))
}

// drain reads `count` records of whole partitions.
func drain(client Client, topic string, partitions int32, count int) []Record {
	reader := client.Reader(topic, partitions, ReaderSettings{})
	defer reader.Close()
	return read(reader, count)
}

// read returns the next `count` records. More than that is an error: somebody doubled one.
func read(reader Reader, count int) []Record {
	var records []Record
	deadline := time.Now().Add(patienceWait)
	for len(records) < count {
		Check(time.Now().Before(deadline), "%d records of %d", len(records), count)
		records = append(records, reader.Read(200*time.Millisecond)...)
	}
	Same(count, len(records), "records read")
	return records
}

func produceConsume(client Client) {
	name := topic(client, "produce", 3, nil)
	fill(client, name, 3, 3000)
	inOrder(drain(client, name, 3, 3000), 3)
}

// inOrder checks that the numbered records are where they belong.
func inOrder(records []Record, partitions int64) {
	next := map[int32]int64{}
	for _, record := range records {
		Same(next[record.Partition], record.Offset, "offset")
		expected := record.Offset*partitions + int64(record.Partition)
		Same(strconv.FormatInt(expected, 10), string(record.Value), "value at its place")
		next[record.Partition]++
	}
}

func keysHeaders(client Client) {
	name := topic(client, "headers", 1, nil)
	binary := []byte{0, 255, 10, 13, 128}
	headers := []Header{{"b", []byte("first")}, {"a", binary}, {"b", []byte("second")},
		{"none", nil}, {"empty", []byte{}}}
	send(client, ProducerSettings{}, name, []Record{
		{Value: []byte("v"), Headers: headers},
		{Key: []byte{}, Value: []byte{}},
		{Key: binary, Value: nil},
	})
	records := drain(client, name, 1, 3)
	Check(records[0].Key == nil, "a null key came back as something")
	Same(len(headers), len(records[0].Headers), "headers")
	for i, header := range records[0].Headers {
		Same(headers[i].Name, header.Name, "order of the headers")
		Check(bytes.Equal(headers[i].Value, header.Value), "header %s changed", header.Name)
	}
	Check(records[0].Headers[3].Value == nil, "a null header came back as something")
	Check(records[0].Headers[4].Value != nil, "an empty header came back as null")
	Check(records[1].Key != nil && len(records[1].Key) == 0, "an empty key changed")
	Check(records[1].Value != nil && len(records[1].Value) == 0, "an empty value changed")
	Check(bytes.Equal(binary, records[2].Key), "a binary key changed")
	Check(records[2].Value == nil, "a null value came back as something")
}

// codecs also checks that the client has compressed: some do not, silently, when they dislike the
// versions that a broker offers.
func codecs(client Client, codec string) {
	name := topic(client, "codec-"+codec, 1, nil)
	var records []Record
	raw := 0
	for i := range 1000 {
		value := bytes.Repeat([]byte(fmt.Sprint(i, " can be compressed very well. ")), 20)
		records = append(records, Record{Value: value})
		raw += len(value)
	}
	producer := client.Producer(ProducerSettings{Codec: codec})
	sendWith(producer, name, records)
	sent := producer.SentBytes()
	producer.Close()
	Check((codec == "none") == (sent > int64(raw)/2), "%d bytes sent for %d", sent, raw)
	for i, record := range drain(client, name, 1, len(records)) {
		Check(bytes.Equal(records[i].Value, record.Value), "record %d changed", i)
	}
}

// dated are records of long ago, a second apart.
func dated(count int) []Record {
	records := numbered(1, count)
	for i := range records {
		records[i].TimestampMs = longAgo + 1000*int64(i)
	}
	return records
}

func timestamps(client Client) {
	name := topic(client, "times", 1, nil)
	send(client, ProducerSettings{}, name, dated(3))
	for _, record := range drain(client, name, 1, 3) {
		Same(longAgo+1000*record.Offset, record.TimestampMs, "timestamp")
	}
	admin := client.Admin()
	defer admin.Close()
	Same(1, admin.Offset(name, 0, longAgo+1000), "offset of a record's own time")
	Same(2, admin.Offset(name, 0, longAgo+1001), "offset of a time between two records")
	appended := topic(client, "log-append", 1,
		map[string]string{"message.timestamp.type": "LogAppendTime"})
	send(client, ProducerSettings{}, appended, dated(1))
	read := drain(client, appended, 1, 1)[0]
	Check(read.TimestampMs > longAgo+1000, "the broker left the producer's time")
}

func seekByTime(client Client) {
	name := topic(client, "seek", 1, nil)
	send(client, ProducerSettings{}, name, dated(4))
	admin := client.Admin()
	defer admin.Close()
	reader := client.Reader(name, 1, ReaderSettings{})
	defer reader.Close()
	read(reader, 4)
	reader.Seek(0, admin.Offset(name, 0, longAgo+1500))
	Same(2, read(reader, 2)[0].Offset, "first offset read")
}

func acks(client Client) {
	for _, acks := range []string{"0", "1", "all"} {
		name := topic(client, "acks", 1, nil)
		offsets := send(client, ProducerSettings{Acks: acks}, name, numbered(1, 100))
		Check(acks == "0" || offsets[99] == 99, "offset %d with acks=%s", offsets[99], acks)
		inOrder(drain(client, name, 1, 100), 1)
	}
}

// idempotent sends small batches, so that five of them are in flight.
func idempotent(client Client) {
	name := topic(client, "idempotent", 2, nil)
	settings := ProducerSettings{SmallBatches: true}
	for i, offset := range send(client, settings, name, numbered(2, 5000)) {
		Same(int64(i/2), offset, "offset acknowledged")
	}
	inOrder(drain(client, name, 2, 5000), 2)
}

// noise does not get smaller by the compression that some clients do by default.
func noise(size int) []byte {
	bytes := make([]byte, size)
	generator := rand.New(rand.NewPCG(1, 2))
	for i := range bytes {
		bytes[i] = byte(generator.Uint32())
	}
	return bytes
}

func largeMessage(client Client) {
	name := topic(client, "large", 1, nil)
	larger := topic(client, "larger", 1, map[string]string{"max.message.bytes": "3000000"})
	fits, large := Record{Value: noise(900_000)}, Record{Value: noise(2_000_000)}
	// The client has a limit of its own; the broker's is the one to be seen here.
	producer := client.Producer(ProducerSettings{MaxBytes: 10_000_000})
	defer producer.Close()
	sendWith(producer, name, []Record{fits})
	refused := make(chan error, 1)
	producer.Send(name, large, func(_ int64, err error) { refused <- err })
	producer.Flush()
	Same(codeTooLarge, client.Code(<-refused), "error code of a record that is too large")
	sendWith(producer, name, []Record{{Value: []byte("after")}})
	sendWith(producer, larger, []Record{large})
	records := drain(client, name, 1, 2)
	Check(bytes.Equal(fits.Value, records[0].Value), "the large record changed")
	Same("after", string(records[1].Value), "the record after a refused one")
	Check(bytes.Equal(large.Value, drain(client, larger, 1, 1)[0].Value), "2 MB changed")
}

func manyPartitions(client Client) {
	name := topic(client, "many", 100, nil)
	fill(client, name, 100, 1000)
	inOrder(drain(client, name, 100, 1000), 100)
}

func autoCreate(client Client) {
	name := fresh("auto")
	fill(client, name, 1, 10)
	inOrder(drain(client, name, 1, 10), 1)
	admin := client.Admin()
	defer admin.Close()
	Check(slices.Contains(admin.Topics(), name), "the topic is not listed")
}

// longPoll: a reader that may wait 20 s gets each record at once, thirty of them in 10 s.
func longPoll(client Client) {
	name := topic(client, "long-poll", 1, nil)
	reader := client.Reader(name, 1, ReaderSettings{MaxWait: 20 * time.Second})
	defer reader.Close()
	producer := client.Producer(ProducerSettings{})
	defer producer.Close()
	// The next fetch is on its way, and waits, before its record is sent.
	reader.Read(500 * time.Millisecond)
	start := time.Now()
	for range 30 {
		sendWith(producer, name, []Record{{Value: []byte("x")}})
		read(reader, 1)
		reader.Read(20 * time.Millisecond)
	}
	elapsed := time.Since(start)
	Check(elapsed < 10*time.Second, "thirty records took %v", elapsed)
}
