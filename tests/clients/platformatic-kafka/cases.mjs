// @platformatic/kafka, a client in JavaScript for the newest versions of every request. It reads as
// a member of a group only, so `read` joins one.

import { setTimeout as later } from 'node:timers/promises'

import {
  BOOTSTRAP, HOUR_AGO_MS, Journal, Member, Spread, equal, eventually, load, main, numbers,
  range, refused, sleep, unique
} from '../lib/common.mjs'

const { Admin, Consumer, Producer, ConfigResourceTypes, IncrementalAlterConfigOperationTypes } =
  await load('@platformatic/kafka')

const SESSION = { sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 10000 }
const BASE = { clientId: 'suite', bootstrapBrokers: [BOOTSTRAP], retries: 500, retryDelay: 100 }

let shared
const admin = () => (shared ??= new Admin(BASE))

async function topic(partitions = 1, config = {}) {
  const name = unique('platformatic')
  const configs = Object.entries(config).map(([key, value]) => ({ name: key, value }))
  await admin().createTopics({ topics: [name], partitions, replicas: 1, configs })
  await eventually(`${name} is known`, async () => await partitionsOf(name) === partitions)
  return name
}

// How many partitions a topic has, 0 while the broker does not know it.
async function partitionsOf(name) {
  try {
    const metadata = await admin().metadata({ topics: [name], forceUpdate: true, retries: 0 })
    return metadata.topics.get(name)?.partitionsCount ?? 0
  } catch (error) {
    const told = error.findBy?.('apiId', 'UNKNOWN_TOPIC_OR_PARTITION')
    if (!told && !error.message.startsWith('Unknown topic')) throw error
    return 0
  }
}

const buffers = message => ({
  ...message,
  key: typeof message.key === 'string' ? Buffer.from(message.key) : message.key,
  value: typeof message.value === 'string' ? Buffer.from(message.value) : message.value
})

async function send(name, messages, options = {}) {
  const sender = new Producer({ ...BASE, ...options })
  const told = await sender.send({ messages: messages.map(m => buffers({ topic: name, ...m })) })
  await sender.close()
  return told
}

// A member of a group: what it has been given, how often, and what it has read.
class Reader {
  messages = []
  rebalances = 0

  static async start(name, group = unique('none'), options = {}, onJoin = () => {}) {
    const self = new Reader()
    const { offsets, ...more } = options
    self.consumer = new Consumer({ ...BASE, groupId: group, maxWaitTime: 500, ...SESSION, ...more })
    self.consumer.on('consumer:group:join', ({ assignments }) => {
      self.rebalances += 1
      onJoin(assignments.flatMap(a => (a.topic === name ? a.partitions : [])))
    })
    const where = offsets
      ? { mode: 'manual', offsets }
      : { mode: 'committed', fallbackMode: 'earliest' }
    self.stream = await self.consumer.consume({ topics: [name], autocommit: false, ...where })
    self.stream.on('data', message => self.messages.push(message))
    self.stream.on('error', error => console.error('stream:', error))
    return self
  }

  async take(count, seconds = 20) {
    await eventually(`${count} records`, () => this.messages.length >= count, seconds)
    equal(this.messages.length, count, 'records that arrived')
    return this.messages
  }

  stop() {
    return this.consumer.close(true)
  }
}

async function read(name, count, offsets) {
  const reader = await Reader.start(name, unique('none'), { offsets })
  const messages = await reader.take(count)
  await reader.stop()
  return messages
}

const at = (name, offsets) => offsets.map((offset, partition) => ({
  topic: name, partition, offset: BigInt(offset)
}))
const texts = messages => messages.map(m => m.value?.toString() ?? null)

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
  const headers = [['b', '1'], ['a', binary], ['b', '2'], ['', '']]
    .map(pair => pair.map(part => Buffer.from(part)))
  await send(name, [
    { value: 'no key' },
    { key: '', value: 'empty key' },
    { key: 'k', value: '' },
    { key: 'tombstone' },
    // Buffers are different keys of a map even when they are equal, so names can occur twice.
    { key: binary, value: binary, headers: new Map(headers) }
  ])
  const found = await read(name, 5)
  const keys = found.slice(0, 4).map(m => m.key?.toString() ?? null)
  equal(keys, [null, '', 'k', 'tombstone'], 'keys')
  equal(texts(found.slice(0, 4)), ['no key', 'empty key', '', null], 'values')
  equal([found[4].key, found[4].value], [binary, binary], 'binary key and value')
  equal(found[4].headerEntries, headers, 'headers')
  equal(found[0].headerEntries, [], 'headers of a record without')
}

const codec = compression => async () => {
  const name = await topic()
  const expected = range(0, 200).map(n => `${n} `.repeat(200))
  await send(name, expected.map(value => ({ value })), { compression })
  equal(texts(await read(name, 200)), expected, 'values')
  // From the middle of a batch: the broker sends all of it, the client drops the start.
  equal(texts(await read(name, 73, at(name, [127]))), expected.slice(127), 'values from 127')
}

// The offsets from a time on, by partition.
async function offsetsFor(name, time, partitions = 1) {
  const asked = range(0, partitions).map(n => ({ partitionIndex: n, timestamp: BigInt(time) }))
  const [answer] = await admin().listOffsets({ topics: [{ name, partitions: asked }] })
  return answer.partitions
    .sort((a, b) => a.partitionIndex - b.partitionIndex)
    .map(p => Number(p.offset))
}

async function timestamps() {
  const name = await topic()
  const times = range(0, 10).map(n => HOUR_AGO_MS + 1000 * n)
  await send(name, times.map(time => ({ value: 'x', timestamp: BigInt(time) })))
  equal((await read(name, 10)).map(m => Number(m.timestamp)), times, 'timestamps')
  const cases = [[0, 0], [times[4] - 1, 4], [times[4], 4], [times[4] + 1, 5], [times[9] + 1, -1]]
  // Then the earliest, the latest, and the record with the largest time.
  for (const [time, offset] of [...cases, [-2, 0], [-1, 10], [-3, 9]]) {
    equal(await offsetsFor(name, time), [offset], `offset for time ${time}`)
  }
}

async function acks() {
  for (const level of [0, 1, -1]) {
    const name = await topic()
    const told = await send(name, range(0, 20).map(n => ({ value: `${n}` })), { acks: level })
    if (level !== 0) equal(told.offsets[0].offset, 0n, `offset with acks ${level}`)
    equal(texts(await read(name, 20)), range(0, 20).map(String), `values with acks ${level}`)
  }
}

async function idempotent() {
  const name = await topic(2)
  const sender = new Producer({ ...BASE, idempotent: true })
  for (const start of range(0, 2000, 100)) {
    const messages = range(start, start + 100)
    await sender.send({ messages: messages.map(n => numbered(name, n, 2)) })
  }
  await sender.close()
  const found = await read(name, 2000)
  for (const partition of range(0, 2)) {
    const mine = texts(found.filter(m => m.partition === partition)).map(Number)
    equal(mine, range(partition, 2000, 2), `values of partition ${partition}`)
  }
}

const numbered = (name, n, partitions) =>
  ({ topic: name, value: Buffer.from(`${n}`), partition: n % partitions })
const dealt = (count, partitions) =>
  range(0, count).map(n => ({ value: `${n}`, partition: n % partitions }))

async function groupThree() {
  const [name, group, spread] = [await topic(6), unique('group'), new Spread()]
  const start = n => Reader.start(name, group, {}, given => spread.set(n, given))
  const members = await Promise.all(range(0, 3).map(start))
  await eventually('three members share six partitions', () => spread.whole([0, 1, 2], 6), 40)
  await send(name, dealt(60, 6))
  const seen = () => members.flatMap(member => member.messages)
  await eventually('sixty records', () => seen().length >= 60)
  equal(numbers(texts(seen())), range(0, 60), 'values')
  for (const [n, member] of members.entries()) {
    const from = numbers([...new Set(member.messages.map(m => m.partition))])
    equal(from, spread.owned.get(n), 'records come to the owner')
  }
  await members[2].stop()
  await eventually('two members share six partitions', () => spread.whole([0, 1], 6), 40)
}

async function member(name, group, groupInstanceId) {
  const options = groupInstanceId ? { groupInstanceId } : {}
  await Reader.start(name, group, options, given => console.log(`assigned ${given.sort()}`))
}

async function groupCrash() {
  const [name, group, spread] = [await topic(4), unique('group'), new Spread()]
  const victim = new Member(name, group)
  await victim.line('assigned 0,1,2,3')
  const reader = await Reader.start(name, group, {}, given => spread.set(0, given))
  await eventually('the second member has a share', () => spread.owned.get(0)?.length)
  await victim.vanish()
  await eventually('the survivor has everything', () => spread.whole([0], 4), 40)
  await send(name, dealt(40, 4))
  equal(numbers(texts(await reader.take(40))), range(0, 40), 'values')
}

// This client leaves the group even when it is static, so the member that returns was killed.
async function groupStatic() {
  const [name, group, spread] = [await topic(4), unique('group'), new Spread()]
  const first = new Member(name, group, 'i0')
  await first.line('assigned 0,1,2,3')
  const onJoin = given => spread.set(1, given)
  const second = await Reader.start(name, group, { groupInstanceId: 'i1' }, onJoin)
  await eventually('the second member has a share', () => spread.owned.get(1)?.length === 2)
  const rest = range(0, 4).filter(n => !spread.owned.get(1).includes(n)).join()
  await first.line(`assigned ${rest}`)
  const before = second.rebalances
  await first.vanish()
  await sleep(1000)
  await new Member(name, group, 'i0').line(`assigned ${rest}`)
  await sleep(2000)
  equal(second.rebalances, before, 'rebalances of the other member')
}

// This client commits without a metadata string.
async function commitMetadata() {
  const [name, group] = [await topic(2), unique('group')]
  await send(name, range(0, 10).map(n => ({ value: `${n}`, partition: 0 })))
  const first = await Reader.start(name, group)
  await first.take(10)
  const offsets = at(name, [4, 0]).map(place => ({ ...place, leaderEpoch: 0 }))
  await first.consumer.commit({ offsets })
  await first.stop()
  const [found] = await admin().listConsumerGroupOffsets({ groups: [group] })
  const places = found.topics.flatMap(t => t.partitions)
    .sort((a, b) => a.partitionIndex - b.partitionIndex)
  equal(places.map(p => p.committedOffset), [4n, 0n], 'committed offsets')
  equal(places.map(p => p.metadata ?? ''), ['', ''], 'metadata')
  const second = await Reader.start(name, group)
  equal(texts(await second.take(6)), range(4, 10).map(String), 'values from the commit')
  await second.stop()
  const [other] = await admin().listConsumerGroupOffsets({ groups: [unique('group')] })
  equal(other.topics, [], 'offsets of a group without commits')
}

async function seekByTime() {
  const [name, base] = [await topic(2), HOUR_AGO_MS]
  await send(name, dealt(100, 2).map(m => ({ ...m, timestamp: BigInt(base + 100 * m.value) })))
  const found = await read(name, 40, at(name, await offsetsFor(name, base + 6000, 2)))
  equal(numbers(texts(found)), range(60, 100), 'values from the time on')
}

async function largeMessage() {
  const name = await topic()
  const value = Buffer.from(range(0, 900_000).map(n => n * 7 % 251))
  const four = Buffer.concat([value, value, value, value])
  await send(name, [{ value }])
  equal((await read(name, 1))[0].value.equals(value), true, '900 kB come back')
  const tooLarge = async (where, size) => {
    const messages = [{ value: Buffer.alloc(size) }]
    const error = await refused(`${size} bytes`, () => send(where, messages, { retries: 0 }))
    equal(!!error.findBy?.('apiId', 'MESSAGE_TOO_LARGE'), true, `${error} names the size`)
  }
  await tooLarge(name, 2_000_000)
  const wide = await topic(1, { 'max.message.bytes': '5000000' })
  await send(wide, [{ value: four }])
  equal((await read(wide, 1))[0].value.equals(four), true, '3.6 MB come back')
  await tooLarge(wide, 6_000_000)
}

async function manyPartitions() {
  const name = await topic(100)
  await send(name, dealt(1000, 100), { idempotent: true })
  const found = await read(name, 1000)
  equal(numbers(texts(found)), range(0, 1000), 'values')
  equal(found.every(m => Number(m.value) % 100 === m.partition), true, 'partitions kept')
}

async function autoCreate() {
  const name = unique('platformatic-auto')
  await send(name, [{ value: 'x' }], { autocreateTopics: true })
  equal(texts(await read(name, 1)), ['x'], 'values')
  const absent = unique('platformatic-absent')
  await refused('a topic that is missing', () =>
    admin().metadata({ topics: [absent], autocreateTopics: false, retries: 0 }))
  equal((await admin().listTopics()).includes(absent), false, 'topic was created by a look')
}

async function configsOf(name) {
  const resources = [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: name }]
  const [{ configs }] = await admin().describeConfigs({ resources })
  return Object.fromEntries(configs.map(c => [c.name, c.value]))
}

async function adminConfigs(name) {
  const before = await configsOf(name)
  equal(before['retention.ms'], '3600000', 'retention.ms as created')
  equal(before['cleanup.policy'], 'delete', 'cleanup.policy by default')
  const { APPEND, DELETE } = IncrementalAlterConfigOperationTypes
  const configs = [
    { name: 'retention.ms', configOperation: DELETE },
    { name: 'cleanup.policy', configOperation: APPEND, value: 'compact' }
  ]
  const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: name, configs }
  await admin().incrementalAlterConfigs({ resources: [resource] })
  await eventually('the changed configuration', async () => {
    const after = await configsOf(name)
    const policies = after['cleanup.policy'].split(',').sort().join()
    return after['retention.ms'] !== '3600000' && policies === 'compact,delete'
  })
}

async function adminGroups(name) {
  const group = unique('group')
  const reader = await Reader.start(name, group)
  await reader.take(4)
  const place = { topic: name, partition: 4, offset: 10n, leaderEpoch: 0 }
  await reader.consumer.commit({ offsets: [place] })
  const described = async () => (await admin().describeGroups({ groups: [group] })).get(group)
  equal((await admin().listGroups()).has(group), true, 'the group is listed')
  equal([(await described()).state, (await described()).members.size], ['Stable', 1], 'the group')
  const error = await refused('deleting a group with a member', () =>
    admin().deleteGroups({ groups: [group] }))
  equal(!!error.findBy?.('apiId', 'NON_EMPTY_GROUP'), true, `${error} names the reason`)
  await reader.stop()
  await eventually('the group is empty', async () => (await described()).state === 'Empty')
  await admin().deleteGroups({ groups: [group] })
  equal((await admin().listGroups()).has(group), false, 'the deleted group is listed')
}

async function administration() {
  const name = unique('platformatic-admin')
  const configs = [{ name: 'retention.ms', value: '3600000' }]
  const create = () => admin().createTopics({ topics: [name], partitions: 2, replicas: 1, configs })
  const [first] = await create()
  equal([first.name, first.partitions], [name, 2], 'what was created')
  const error = await refused('creating it twice', create)
  equal(!!error.findBy?.('apiId', 'TOPIC_ALREADY_EXISTS'), true, `${error} names the reason`)
  await eventually('two partitions', async () => await partitionsOf(name) === 2)
  equal((await admin().listTopics()).includes(name), true, 'the topic is listed')
  await adminConfigs(name)
  await admin().createPartitions({ topics: [{ name, count: 5 }] })
  await eventually('five partitions', async () => await partitionsOf(name) === 5)
  await send(name, range(0, 10).map(n => ({ key: 'k', value: `${n}`, partition: 4 })))
  const partitions = [{ partition: 4, offset: 6n }]
  const [deleted] = await admin().deleteRecords({ topics: [{ name, partitions }] })
  equal(deleted.partitions, [{ partition: 4, lowWatermark: 6n }], 'start after deletion')
  equal((await offsetsFor(name, -2, 5))[4], 6, 'earliest offset')
  equal((await offsetsFor(name, -1, 5))[4], 10, 'latest offset')
  await adminGroups(name)
  await admin().deleteTopics({ topics: [name] })
  await eventually('the topic is gone', async () => !(await admin().listTopics()).includes(name))
  const [again] = await admin().createTopics({ topics: [name], partitions: 1, replicas: 1 })
  equal(again.id !== first.id, true, 'the new topic has a new id')
  await eventually('one partition', async () => await partitionsOf(name) === 1)
  await send(name, [{ value: 'new' }])
  equal((await read(name, 1)).map(m => [m.offset, `${m.value}`]), [[0n, 'new']], 'records')
}

async function fetchLongPoll() {
  const name = await topic()
  await send(name, [{ value: 'first' }])
  const session = { sessionTimeout: 30000, rebalanceTimeout: 30000 }
  const options = { maxWaitTime: 15000, timeout: 30000, ...session }
  const reader = await Reader.start(name, unique('none'), options)
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
  const sender = new Producer({ ...BASE, idempotent: true })
  const reader = await Reader.start(name)
  let stop = false
  const produce = async () => {
    for (let next = 0; !stop; next += 15) {
      const batch = range(next, next + 15)
      await sender.send({ messages: batch.map(n => numbered(name, n, 3)) })
      journal.acknowledged.push(...batch)
      await later(5)
    }
  }
  const producing = produce()
  await Promise.race([journal.crashOften(), producing])
  stop = true
  await producing
  const pairs = messages => messages.map(m => [m.partition, Number(m.value)])
  await eventually('all is read', () => reader.messages.length >= journal.acknowledged.length)
  journal.check(pairs(reader.messages), 'while it happened')
  journal.check(pairs(await read(name, journal.acknowledged.length)), 'afterwards')
}

await main({
  produce_consume: produceConsume,
  keys_headers: keysHeaders,
  codec_none: codec('none'),
  codec_gzip: codec('gzip'),
  codec_snappy: codec('snappy'),
  codec_lz4: codec('lz4'),
  codec_zstd: codec('zstd'),
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
