// kafkajs, a client in JavaScript. It reads as a member of a group only, so `read` joins one.

import { setTimeout as later } from 'node:timers/promises'
import zlib from 'node:zlib'

import {
  BOOTSTRAP, HOUR_AGO_MS, Journal, Member, Skip, Spread, equal, eventually, load, main, numbers,
  range, refused, sleep, unique
} from '../lib/common.mjs'

const { default: kafkajs } = await load('kafkajs')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, Partitioners } = kafkajs
const { default: snappy } = await load('kafkajs-snappy')
const lz4 = await load('lz4-napi')

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer)
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zlib.zstdCompressSync(encoder.buffer),
  decompress: async buffer => zlib.zstdDecompressSync(buffer)
})

const SESSION = { sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 10000 }
const kafka = new Kafka({
  brokers: [BOOTSTRAP],
  logLevel: kafkajs.logLevel.ERROR,
  retry: { initialRetryTime: 100, maxRetryTime: 1000, retries: 50 }
})

let shared
async function admin() {
  if (!shared) {
    shared = kafka.admin()
    await shared.connect()
  }
  return shared
}

async function topic(partitions = 1, config = {}) {
  const name = unique('kafkajs')
  const configEntries = Object.entries(config).map(([key, value]) => ({ name: key, value }))
  const topics = [{ topic: name, numPartitions: partitions, configEntries }]
  await (await admin()).createTopics({ topics, waitForLeaders: false })
  await known(name)
  return name
}

// A broker may know of a new topic a moment after its creation.
function known(name) {
  return eventually(`${name} is known`, async () => {
    try {
      const control = await admin()
      return (await control.fetchTopicMetadata({ topics: [name] })).topics[0].partitions.length
    } catch (error) {
      if (error.type !== 'UNKNOWN_TOPIC_OR_PARTITION') throw error
    }
  })
}

async function producer(options = {}) {
  const createPartitioner = Partitioners.DefaultPartitioner
  const sender = kafka.producer({ createPartitioner, ...options })
  await sender.connect()
  return sender
}

async function send(name, messages, options = {}, ofProducer = {}) {
  const sender = await producer(ofProducer)
  const told = await sender.send({ topic: name, messages, ...options })
  await sender.disconnect()
  return told
}

const started = []

// A member of a group: what it has been given, how often, and what it has read.
class Reader {
  messages = []
  rebalances = 0
  partitions = []

  static async start(name, group = unique('none'), options = {}, spread, member) {
    const self = new Reader()
    self.consumer = kafka.consumer({
      groupId: group, maxWaitTimeInMs: 500, allowAutoTopicCreation: false, ...SESSION, ...options
    })
    self.consumer.on('consumer.group_join', event => {
      self.rebalances += 1
      self.partitions = event.payload.memberAssignment[name] ?? []
      spread?.set(member, self.partitions)
    })
    await self.consumer.connect()
    await self.consumer.subscribe({ topics: [name], fromBeginning: true })
    started.push(self)
    return self
  }

  async run() {
    await this.consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        this.messages.push({ partition, ...message })
      }
    })
    return this
  }

  async take(count, seconds = 20) {
    await eventually(`${count} records`, () => this.messages.length >= count, seconds)
    equal(this.messages.length, count, 'records that arrived')
    return this.messages
  }

  stop() {
    return this.consumer.disconnect()
  }
}

async function read(name, count, seek = []) {
  const reader = await Reader.start(name)
  await reader.run()
  for (const [partition, offset] of seek) {
    reader.consumer.seek({ topic: name, partition, offset: String(offset) })
  }
  const messages = await reader.take(count)
  await reader.stop()
  return messages
}

const values = messages => messages.map(message => message.value?.toString() ?? null)

async function produceConsume() {
  const name = await topic(3)
  await send(name, range(0, 300).map(n => ({ key: `k${n}`, value: `v${n}` })))
  const found = await read(name, 300)
  const pairs = found.map(m => `${m.key} ${m.value}`).sort()
  equal(pairs, range(0, 300).map(n => `k${n} v${n}`).sort(), 'records')
  for (const partition of range(0, 3)) {
    const offsets = found.filter(m => m.partition === partition).map(m => Number(m.offset))
    equal(offsets, range(0, offsets.length), `offsets of partition ${partition}`)
  }
}

async function keysHeaders() {
  const name = await topic()
  const binary = Buffer.from(range(0, 256))
  // An array of values is one name that occurs as often.
  const headers = { b: [Buffer.from('1'), Buffer.from('2')], a: binary, empty: Buffer.alloc(0) }
  await send(name, [
    { key: null, value: 'no key' },
    { key: '', value: 'empty key' },
    { key: 'k', value: '' },
    { key: 'tombstone', value: null },
    { key: binary, value: binary, headers }
  ])
  const found = await read(name, 5)
  equal(found.slice(0, 4).map(m => m.key?.toString() ?? null), [null, '', 'k', 'tombstone'], 'keys')
  equal(values(found.slice(0, 4)), ['no key', 'empty key', '', null], 'values')
  equal(found[4].key, binary, 'binary key')
  equal(found[4].value, binary, 'binary value')
  equal({ ...found[4].headers }, headers, 'headers')
  equal(Object.keys(found[4].headers), ['b', 'a', 'empty'], 'order of headers')
}

const codec = type => async () => {
  const name = await topic()
  const expected = range(0, 200).map(n => `${n} `.repeat(200))
  const options = { compression: type }
  await send(name, expected.map(value => ({ value })), options)
  equal(values(await read(name, 200)), expected, 'values')
  // From the middle of a batch: the broker sends all of it, the client drops the start.
  equal(values(await read(name, 73, [[0, 127]])), expected.slice(127), 'values from 127')
}

async function timestamps() {
  const name = await topic()
  const times = range(0, 10).map(n => HOUR_AGO_MS + 1000 * n)
  await send(name, times.map(time => ({ value: 'x', timestamp: String(time) })))
  const found = await read(name, 10)
  equal(found.map(m => Number(m.timestamp)), times, 'timestamps')
  const control = await admin()
  const cases = [[0, 0], [times[4] - 1, 4], [times[4], 4], [times[4] + 1, 5], [times[9] + 1, 10]]
  for (const [time, offset] of cases) {
    const answer = await control.fetchTopicOffsetsByTimestamp(name, time)
    equal(answer, [{ partition: 0, offset: String(offset) }], `offset for time ${time}`)
  }
}

async function acks() {
  for (const level of [0, 1, -1]) {
    const name = await topic()
    const told = await send(name, range(0, 20).map(n => ({ value: String(n) })), { acks: level })
    if (level !== 0) equal(told[0].baseOffset, '0', `offset with acks ${level}`)
    equal(values(await read(name, 20)), range(0, 20).map(String), `values with acks ${level}`)
  }
}

async function idempotent() {
  const name = await topic(2)
  const sender = await producer({ idempotent: true, maxInFlightRequests: 1 })
  for (const start of range(0, 2000, 100)) {
    const messages = range(start, start + 100)
      .map(n => ({ value: String(n), partition: n % 2 }))
    await sender.send({ topic: name, messages })
  }
  await sender.disconnect()
  const found = await read(name, 2000)
  for (const partition of range(0, 2)) {
    const mine = values(found.filter(m => m.partition === partition)).map(Number)
    equal(mine, range(partition, 2000, 2), `values of partition ${partition}`)
  }
}

const dealt = (count, partitions) =>
  range(0, count).map(n => ({ value: String(n), partition: n % partitions }))

async function groupThree() {
  const [name, group, spread] = [await topic(6), unique('group'), new Spread()]
  const members = await Promise.all(range(0, 3)
    .map(async n => (await Reader.start(name, group, {}, spread, n)).run()))
  await eventually('three members share six partitions', () => spread.whole([0, 1, 2], 6), 40)
  await send(name, dealt(60, 6))
  const seen = () => members.flatMap(member => member.messages)
  await eventually('sixty records', () => seen().length >= 60)
  equal(numbers(values(seen())), range(0, 60), 'values')
  for (const [n, member] of members.entries()) {
    const from = numbers([...new Set(member.messages.map(m => m.partition))])
    equal(from, spread.owned.get(n), 'records come to the owner')
  }
  await members[2].stop()
  await eventually('two members share six partitions', () => spread.whole([0, 1], 6), 40)
}

async function member(name, group) {
  const reader = await Reader.start(name, group)
  reader.consumer.on('consumer.group_join', event => {
    console.log(`assigned ${(event.payload.memberAssignment[name] ?? []).length}`)
  })
  await reader.run()
}

async function groupCrash() {
  const [name, group, spread] = [await topic(4), unique('group'), new Spread()]
  const victim = new Member(name, group)
  await victim.line('assigned 4')
  const reader = await Reader.start(name, group, {}, spread, 0)
  await reader.run()
  await eventually('the second member has a share', () => spread.owned.get(0)?.length)
  await victim.vanish()
  await eventually('the survivor has everything', () => spread.whole([0], 4), 40)
  await send(name, dealt(40, 4))
  equal(numbers(values(await reader.take(40))), range(0, 40), 'values')
}

async function groupStatic() {
  throw new Skip('has no static membership')
}

async function commitMetadata() {
  const [name, group] = [await topic(2), unique('group')]
  await send(name, range(0, 10).map(n => ({ value: String(n), partition: 0 })))
  const text = 'métadonnées '.repeat(20)
  const first = await Reader.start(name, group)
  await first.run()
  await first.take(10)
  await first.consumer.commitOffsets([
    { topic: name, partition: 0, offset: '4', metadata: text },
    { topic: name, partition: 1, offset: '0' }
  ])
  await first.stop()
  const control = await admin()
  const [found] = await control.fetchOffsets({ groupId: group, topics: [name] })
  const told = found.partitions.sort((a, b) => a.partition - b.partition)
  equal(told.map(p => [p.offset, p.metadata ?? '']), [['4', text], ['0', '']], 'committed')
  const second = await (await Reader.start(name, group)).run()
  equal(values(await second.take(6)), range(4, 10).map(String), 'values from the commit')
  await second.stop()
  const [other] = await control.fetchOffsets({ groupId: unique('group'), topics: [name] })
  equal(other.partitions.map(p => p.offset), ['-1', '-1'], 'offsets of a group without commits')
}

async function seekByTime() {
  const [name, base] = [await topic(2), HOUR_AGO_MS]
  await send(name, dealt(100, 2).map(m => ({ ...m, timestamp: String(base + 100 * m.value) })))
  const places = await (await admin()).fetchTopicOffsetsByTimestamp(name, base + 6000)
  const found = await read(name, 40, places.map(p => [p.partition, p.offset]))
  equal(numbers(values(found)), range(60, 100), 'values from the time on')
}

async function largeMessage() {
  const name = await topic()
  const value = Buffer.from(range(0, 900_000).map(n => n * 7 % 251))
  const four = Buffer.concat([value, value, value, value])
  await send(name, [{ value }])
  equal((await read(name, 1))[0].value.equals(value), true, '900 kB come back')
  const tooLarge = async (where, size) => {
    const messages = [{ value: Buffer.alloc(size) }]
    const error = await refused(`${size} bytes`, () => send(where, messages))
    equal((error.cause ?? error).type, 'MESSAGE_TOO_LARGE', `error of ${size} bytes`)
  }
  await tooLarge(name, 2_000_000)
  const wide = await topic(1, { 'max.message.bytes': '5000000' })
  await send(wide, [{ value: four }])
  equal((await read(wide, 1))[0].value.equals(four), true, '3.6 MB come back')
  await tooLarge(wide, 6_000_000)
}

async function manyPartitions() {
  const name = await topic(100)
  const { topics } = await (await admin()).fetchTopicMetadata({ topics: [name] })
  const ids = numbers(topics[0].partitions.map(p => p.partitionId))
  equal(ids, range(0, 100), 'partitions')
  // Idempotent, since a retry for one partition sends to all of them again.
  await send(name, dealt(1000, 100), {}, { idempotent: true, maxInFlightRequests: 1 })
  const found = await read(name, 1000)
  equal(numbers(values(found)), range(0, 1000), 'values')
  equal(found.every(m => Number(m.value) % 100 === m.partition), true, 'partitions kept')
}

async function autoCreate() {
  const name = unique('kafkajs-auto')
  await send(name, [{ value: 'x' }])
  equal(values(await read(name, 1)), ['x'], 'values')
}

async function configsOf(control, name) {
  const asked = [{ type: ConfigResourceTypes.TOPIC, name }]
  const { resources } = await control.describeConfigs({ resources: asked })
  return Object.fromEntries(resources[0].configEntries.map(e => [e.configName, e.configValue]))
}

async function adminConfigs(control, name) {
  const before = await configsOf(control, name)
  equal(before['retention.ms'], '3600000', 'retention.ms as created')
  equal(before['cleanup.policy'], 'delete', 'cleanup.policy by default')
  // This client replaces the whole configuration: what is not named is a default again.
  const configEntries = [{ name: 'cleanup.policy', value: 'compact,delete' }]
  const resources = [{ type: ConfigResourceTypes.TOPIC, name, configEntries }]
  await control.alterConfigs({ resources })
  await eventually('the changed configuration', async () => {
    const after = await configsOf(control, name)
    const policies = after['cleanup.policy'].split(',').sort().join()
    return after['retention.ms'] !== '3600000' && policies === 'compact,delete'
  })
}

async function adminGroups(control, name) {
  const group = unique('group')
  const reader = await (await Reader.start(name, group)).run()
  await reader.take(4)
  await reader.consumer.commitOffsets([{ topic: name, partition: 4, offset: '10' }])
  const groups = async () => (await control.listGroups()).groups.map(g => g.groupId)
  const described = async () => (await control.describeGroups([group])).groups[0]
  equal((await groups()).includes(group), true, 'the group is listed')
  equal([(await described()).state, (await described()).members.length], ['Stable', 1], 'the group')
  const error = await refused('deleting a group with a member', () => control.deleteGroups([group]))
  equal(error.groups.map(g => g.error.type), ['NON_EMPTY_GROUP'], 'errors')
  await reader.stop()
  await eventually('the group is empty', async () => (await described()).state === 'Empty')
  const offsets = await control.fetchOffsets({ groupId: group })
  equal(offsets.map(o => o.topic), [name], 'topics with an offset')
  await control.deleteGroups([group])
  equal((await groups()).includes(group), false, 'the deleted group is listed')
}

async function administration() {
  const [name, control] = [unique('kafkajs-admin'), await admin()]
  const configEntries = [{ name: 'retention.ms', value: '3600000' }]
  const topics = [{ topic: name, numPartitions: 2, configEntries }]
  const create = more => control.createTopics({ topics, waitForLeaders: false, ...more })
  equal(await create({ validateOnly: true }), true, 'a trial')
  equal(await create(), true, 'creating')
  await known(name)
  equal(await create(), false, 'creating it twice')
  const partitions = async () =>
    (await control.fetchTopicMetadata({ topics: [name] })).topics[0].partitions.length
  equal((await control.listTopics()).includes(name), true, 'the topic is listed')
  equal(await partitions(), 2, 'partitions described')
  equal((await control.describeCluster()).brokers.length >= 1, true, 'the cluster has nodes')
  await adminConfigs(control, name)
  await control.createPartitions({ topicPartitions: [{ topic: name, count: 5 }] })
  await eventually('five partitions', async () => await partitions() === 5)
  await send(name, range(0, 10).map(n => ({ key: 'k', value: String(n), partition: 4 })))
  await control.deleteTopicRecords({ topic: name, partitions: [{ partition: 4, offset: '6' }] })
  const watermarks = (await control.fetchTopicOffsets(name)).find(p => p.partition === 4)
  equal([watermarks.low, watermarks.high], ['6', '10'], 'watermarks')
  await adminGroups(control, name)
  await control.deleteTopics({ topics: [name] })
  const gone = async () => !(await control.listTopics()).includes(name)
  await eventually('the topic is gone', gone)
  const again = [{ topic: name, numPartitions: 1 }]
  await control.createTopics({ topics: again, waitForLeaders: false })
  await known(name)
  await send(name, [{ value: 'new' }])
  const found = await read(name, 1)
  equal(found.map(m => [m.offset, m.value.toString()]), [['0', 'new']], 'records')
}

async function fetchLongPoll() {
  const name = await topic()
  await send(name, [{ value: 'first' }])
  const options = { maxWaitTimeInMs: 15000, sessionTimeout: 30000 }
  const reader = await (await Reader.start(name, unique('none'), options)).run()
  await reader.take(1)
  // By then the next fetch waits at the broker.
  await sleep(1500)
  const start = Date.now()
  await send(name, [{ value: 'second' }])
  await reader.take(2, 12)
  const waited = Date.now() - start
  equal(waited < 3000, true, `the record came in good time (${waited} ms of a wait of 15 s)`)
}

async function restart() {
  const name = await topic(3)
  const journal = new Journal(3)
  const sender = await producer({ idempotent: true, maxInFlightRequests: 1 })
  const reader = await (await Reader.start(name)).run()
  let stop = false
  const produce = async () => {
    for (let next = 0; !stop; next += 15) {
      const batch = range(next, next + 15)
      const messages = batch.map(n => ({ value: String(n), partition: n % 3 }))
      await sender.send({ topic: name, messages })
      journal.acknowledged.push(...batch)
      await later(5)
    }
  }
  const producing = produce()
  await Promise.race([journal.crashOften(), producing])
  stop = true
  await producing
  const pairs = messages => messages.map(m => [m.partition, Number(m.value)])
  // A member that lost its group reads from its last commit again, and this one commits nothing.
  await eventually('all is read', () => reader.messages.length >= journal.acknowledged.length)
  journal.check(pairs(firsts(reader.messages)), 'while it happened')
  journal.check(pairs(await read(name, journal.acknowledged.length)), 'afterwards')
}

// Each offset of a partition the first time that it was read.
function firsts(messages) {
  const seen = new Set()
  return messages.filter(m => {
    const place = `${m.partition} ${m.offset}`
    return !seen.has(place) && seen.add(place)
  })
}

await main({
  produce_consume: produceConsume,
  keys_headers: keysHeaders,
  codec_none: codec(CompressionTypes.None),
  codec_gzip: codec(CompressionTypes.GZIP),
  codec_snappy: codec(CompressionTypes.Snappy),
  codec_lz4: codec(CompressionTypes.LZ4),
  codec_zstd: codec(CompressionTypes.ZSTD),
  timestamps,
  acks,
  idempotent,
  group_three: groupThree,
  group_crash: groupCrash,
  group_static: groupStatic,
  commit_metadata: commitMetadata,
  seek_by_time: seekByTime,
  large_message: largeMessage,
  many_partitions: manyPartitions,
  auto_create: autoCreate,
  admin: administration,
  fetch_long_poll: fetchLongPoll,
  restart
}, member)
