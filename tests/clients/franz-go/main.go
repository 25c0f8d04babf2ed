// The adapter of franz-go for the cases of tests/clients/lib/go.
package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"rivvend.tests/suite"
)

var forever = context.Background()

func main() {
	if len(os.Args) == 4 && os.Args[1] == "roam" {
		roam(os.Args[2], os.Args[3])
		return
	}
	suite.Main(franz{})
}

type franz struct{}

func connect(options ...kgo.Opt) *kgo.Client {
	seeds := kgo.SeedBrokers(suite.Bootstrap())
	return suite.Must(kgo.NewClient(append(options, seeds)...))
}

func (franz) Code(err error) int {
	var known *kerr.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &known):
		return int(known.Code)
	}
	return -1
}

// producer counts what the batches took, in the call-back of kgo.HookProduceBatchWritten.
type producer struct {
	client *kgo.Client
	bytes  atomic.Int64
}

func (franz) Producer(settings suite.ProducerSettings) suite.Producer {
	made := &producer{}
	options := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.AllowAutoTopicCreation(), kgo.WithHooks(made)}
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	if settings.Acks != "" {
		options = append(options, kgo.RequiredAcks(acks[settings.Acks]),
			kgo.DisableIdempotentWrite())
	}
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(),
		"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	if settings.Codec != "" {
		options = append(options, kgo.ProducerBatchCompression(codecs[settings.Codec]))
	}
	if settings.MaxBytes > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(int32(settings.MaxBytes)))
	}
	if settings.SmallBatches {
		options = append(options, kgo.ProducerBatchMaxBytes(1024), kgo.ProducerLinger(0))
	}
	made.client = connect(options...)
	return made
}

func (p *producer) OnProduceBatchWritten(
	_ kgo.BrokerMetadata, _ string, _ int32, metrics kgo.ProduceBatchMetrics) {
	p.bytes.Add(int64(metrics.CompressedBytes))
}

func (p *producer) Send(topic string, record suite.Record, done func(int64, error)) {
	sent := &kgo.Record{Topic: topic, Partition: record.Partition, Key: record.Key,
		Value: record.Value}
	if record.TimestampMs != 0 {
		sent.Timestamp = time.UnixMilli(record.TimestampMs)
	}
	for _, header := range record.Headers {
		sent.Headers = append(sent.Headers,
			kgo.RecordHeader{Key: header.Name, Value: header.Value})
	}
	p.client.Produce(forever, sent, func(r *kgo.Record, err error) { done(r.Offset, err) })
}

func (p *producer) SentBytes() int64 { return p.bytes.Load() }
func (p *producer) Flush()           { suite.Ok(p.client.Flush(forever)) }
func (p *producer) Close()           { p.client.Close() }

type reader struct {
	client *kgo.Client
	topic  string
}

func (franz) Reader(topic string, count int32, settings suite.ReaderSettings) suite.Reader {
	partitions := map[int32]kgo.Offset{}
	for partition := range count {
		partitions[partition] = kgo.NewOffset().AtStart()
	}
	options := []kgo.Opt{
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: partitions})}
	if settings.MaxWait > 0 {
		options = append(options, kgo.FetchMaxWait(settings.MaxWait))
	}
	return &reader{connect(options...), topic}
}

func (r *reader) Read(wait time.Duration) []suite.Record {
	limit, cancel := context.WithTimeout(forever, wait)
	defer cancel()
	var records []suite.Record
	r.client.PollFetches(limit).EachRecord(func(read *kgo.Record) {
		record := suite.Record{Partition: read.Partition, Offset: read.Offset, Key: read.Key,
			Value: read.Value, TimestampMs: read.Timestamp.UnixMilli()}
		for _, header := range read.Headers {
			record.Headers = append(record.Headers, suite.Header{Name: header.Key,
				Value: header.Value})
		}
		records = append(records, record)
	})
	return records
}

func (r *reader) Seek(partition int32, offset int64) {
	to := kgo.EpochOffset{Epoch: -1, Offset: offset}
	r.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{r.topic: {partition: to}})
}

func (r *reader) Close() { r.client.Close() }

type member struct {
	suite.Ownership
	client *kgo.Client
	ended  chan struct{}
}

func (franz) Member(group, topic string, read *suite.Read,
	settings suite.MemberSettings) suite.Member {
	made := &member{ended: make(chan struct{})}
	options := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(500 * time.Millisecond), kgo.SessionTimeout(6 * time.Second),
		kgo.OnPartitionsAssigned(changed(topic, made.Assign)),
		kgo.OnPartitionsRevoked(changed(topic, made.Revoke)),
		kgo.OnPartitionsLost(changed(topic, made.Revoke))}
	if !settings.Cooperative {
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	}
	if settings.Instance != "" {
		options = append(options, kgo.InstanceID(settings.Instance),
			kgo.SessionTimeout(30*time.Second))
	}
	made.client = connect(options...)
	go made.poll(read)
	return made
}

func changed(topic string, tell func([]int32)) func(
	context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
		tell(partitions[topic])
	}
}

func (m *member) poll(read *suite.Read) {
	defer close(m.ended)
	for {
		fetches := m.client.PollFetches(forever)
		if fetches.IsClientClosed() {
			return
		}
		fetches.EachRecord(func(record *kgo.Record) { read.Add(record.Value) })
	}
}

func (m *member) Close() {
	if m.End() {
		suite.Ok(m.client.CommitUncommittedOffsets(forever))
		m.client.Close()
		<-m.ended
	}
}

type admin struct{ client *kadm.Client }

func (franz) Admin() suite.Admin { return admin{kadm.NewClient(connect())} }

func (a admin) CreateTopic(name string, partitions int, configs map[string]string) error {
	pointers := map[string]*string{}
	for key, value := range configs {
		pointers[key] = &value
	}
	_, err := a.client.CreateTopic(forever, int32(partitions), -1, pointers, name)
	return err
}

func (a admin) DeleteTopic(name string) {
	suite.Must(a.client.DeleteTopic(forever, name))
}

func (a admin) Topics() []string {
	return suite.Must(a.client.ListTopics(forever)).Names()
}

func (a admin) Partitions(topic string) int {
	return len(suite.Must(a.client.ListTopics(forever, topic))[topic].Partitions)
}

func (a admin) Configs(topic string) map[string]string {
	all := suite.Must(a.client.DescribeTopicConfigs(forever, topic))
	values := map[string]string{}
	for _, config := range suite.Must(all.On(topic, nil)).Configs {
		values[config.Key] = config.MaybeValue()
	}
	return values
}

func (a admin) SetConfig(topic, key, value string) error {
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}
	all := suite.Must(a.client.AlterTopicConfigs(forever, change, topic))
	return suite.Must(all.On(topic, nil)).Err
}

func (a admin) AddPartitions(topic string, total int) error {
	all := suite.Must(a.client.UpdatePartitions(forever, total, topic))
	return suite.Must(all.On(topic, nil)).Err
}

func (a admin) DeleteRecords(topic string, partition int32, before int64) int64 {
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, partition, before, -1)
	deleted := suite.Must(a.client.DeleteRecords(forever, offsets))
	suite.Ok(deleted.Error())
	return deleted[topic][partition].LowWatermark
}

func (a admin) Offset(topic string, partition int32, when int64) int64 {
	var listed kadm.ListedOffsets
	switch when {
	case suite.Latest:
		listed = suite.Must(a.client.ListEndOffsets(forever, topic))
	case suite.Earliest:
		listed = suite.Must(a.client.ListStartOffsets(forever, topic))
	default:
		listed = suite.Must(a.client.ListOffsetsAfterMilli(forever, when, topic))
	}
	suite.Ok(listed.Error())
	return listed[topic][partition].Offset
}

func (a admin) Groups() []string {
	return suite.Must(a.client.ListGroups(forever)).Groups()
}

func (a admin) Group(group string) (string, int) {
	described := suite.Must(a.client.DescribeGroups(forever, group))
	suite.Ok(described.Error())
	return strings.ToLower(described[group].State), len(described[group].Members)
}

func (a admin) DeleteGroup(group string) {
	suite.Must(a.client.DeleteGroup(forever, group))
}

func (a admin) Commit(group, topic string, partition int32, offset int64, metadata string) {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: partition, At: offset, LeaderEpoch: -1,
		Metadata: metadata})
	suite.Ok(suite.Must(a.client.CommitOffsets(forever, group, offsets)).Error())
}

func (a admin) Committed(group, topic string, partition int32) (int64, string) {
	all := suite.Must(a.client.FetchOffsets(forever, group))
	if found, there := all.Lookup(topic, partition); there {
		suite.Ok(found.Err)
		return found.At, found.Metadata
	}
	return -1, ""
}

func (a admin) Close() { a.client.Close() }
