// What the Node suites share: names, waiting, the broker's control, and the call of one case.

import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { inspect, isDeepStrictEqual, promisify } from 'node:util'

export const BOOTSTRAP = process.env.BOOTSTRAP
const SKIPPED = 77
// Within the retention of a topic, or the records could be gone before they are read.
export const HOUR_AGO_MS = Date.now() - 3_600_000

// A package of the client's folder below target.
export function load(name) {
  const path = createRequire(`${process.env.TARGET}/package.json`).resolve(name)
  return import(pathToFileURL(path))
}

export class Skip extends Error {}
class Unequal extends Error {}

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
export const range = (start, end, step = 1) =>
  Array.from({ length: Math.ceil((end - start) / step) }, (_, n) => start + n * step)
export const numbers = values => values.map(Number).sort((a, b) => a - b)

// A name that no other case and no earlier run has used.
export const unique = what => `${what}-${randomBytes(6).toString('hex')}`

function shown(value) {
  const text = inspect(value, { depth: 6, breakLength: Infinity, maxArrayLength: 20 })
  return text.length < 400 ? text : `${text.slice(0, 400)}…`
}

export function equal(found, expected, what) {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Unequal(`${what}: ${shown(found)}, expected ${shown(expected)}`)
  }
}

// The first true answer of `probe`, which is asked until the time is over.
export async function eventually(what, probe, seconds = 20) {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const answer = await probe()
    if (answer) return answer
    if (Date.now() > end) throw new Unequal(`after ${seconds} s still not: ${what}`)
    await sleep(50)
  }
}

// `call` must fail; returns the error.
export async function refused(what, call) {
  try {
    await call()
  } catch (error) {
    return error
  }
  throw new Unequal(`${what} was not refused`)
}

async function broker(verb) {
  if (!process.env.BROKER) throw new Skip('this run has no control over its broker')
  await promisify(execFile)(process.env.BROKER, [verb])
}

// A member of a group in a process of its own, so that it can vanish without a word.
export class Member {
  constructor(...words) {
    const stdio = ['ignore', 'pipe', 'inherit']
    this.process = spawn(process.execPath, [process.argv[1], 'member', ...words], { stdio })
    this.said = ''
    this.process.stdout.on('data', data => { this.said += data })
  }

  line(text) {
    return eventually(`the member says ${text}`, () => this.said.includes(`${text}\n`))
  }

  async vanish() {
    this.process.kill('SIGKILL')
    await eventually('the member is gone', () => this.process.signalCode)
  }
}

// What a group has been given: the partitions of each member, as its events tell.
export class Spread {
  owned = new Map()

  set(member, partitions) {
    this.owned.set(member, [...partitions].sort((a, b) => a - b))
  }

  // True when these members own everything between them, nobody nothing, nothing twice.
  whole(members, partitions) {
    const shares = members.map(member => this.owned.get(member) ?? [])
    const all = numbers(shares.flat())
    return shares.every(share => share.length) && isDeepStrictEqual(all, range(0, partitions))
  }
}

// Judges a run with restarts: what was acknowledged against what was read, by partition. Values are
// the numbers 0, 1, 2… in the order of sending, number n in partition n % partitions.
export class Journal {
  acknowledged = []
  failures = []

  constructor(partitions) {
    this.partitions = partitions
  }

  // `read` are [partition, number] in the order in which they were read.
  check(read, who) {
    for (const partition of range(0, this.partitions)) {
      const where = `${who}, partition ${partition}`
      const found = read.filter(([from]) => from === partition).map(([, number]) => number)
      const distinct = new Set(found)
      const mine = this.acknowledged.filter(number => number % this.partitions === partition)
      const lost = mine.filter(number => !distinct.has(number))
      equal(lost, [], `${where}: acknowledged and lost`)
      equal(found.length, distinct.size, `${where}: records and different records`)
      equal(found, [...found].sort((a, b) => a - b), `${where}: order`)
    }
  }

  // Kills the broker while records flow: before, between and after there is progress.
  async crashOften(times = Number(process.env.RESTARTS ?? 3), records = 300) {
    for (const crash of range(0, times + 1)) {
      const enough = this.acknowledged.length + records
      await eventually('records are acknowledged', () => this.acknowledged.length > enough, 40)
      if (crash < times) {
        await broker('kill')
        await broker('start')
      }
    }
  }
}

// Runs the case that the command line names; see lib/cases for what the exit codes mean.
export async function main(cases, member) {
  const [name, ...words] = process.argv.slice(2)
  if (name === 'member') return member(...words)
  let code = 0
  try {
    await cases[name]()
  } catch (error) {
    if (error instanceof Skip) {
      console.log(error.message)
      code = SKIPPED
    } else {
      console.error(error)
      const text = String(error.message).replace(/\s+/g, ' ')
      console.log(error instanceof Unequal ? text : `${error.name}: ${text}`)
      code = 1
    }
  }
  // A client may still be busy with the broker; the case is over all the same.
  process.stdout.write('', () => process.exit(code))
}
