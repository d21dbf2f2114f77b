// Runs the public suite and our own tests against Hedgerow, nginx and Varnish, side by side.
//
//   node run.mjs [--binary FILE]              fails when a test that passed in docs/conformance/hedgerow.json does not
//   node run.mjs --update                     writes docs/conformance/*.json and what follows from them
//   node run.mjs --only hedgerow,nginx        these caches alone
//   node run.mjs --dump ID [--only nginx]     one test with all the headers that client and origin saw

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import * as document from './document.mjs'
import { caches, killAll, origin, stopAll } from './parties.mjs'
import { compare, count, each, judge, notPassed } from './score.mjs'
import { sections, suites, withDependencies } from './suites.mjs'

/** Tests at once, as many as the suite's maintainers run. */
const AT_ONCE = 25
/** More lost tests than this are no accident, and are repeated together. */
const ALONE_UP_TO = 10
const REPEATS = 2
/** A run takes about two minutes; one that takes longer than this hangs, in milliseconds. */
const ALL_WITHIN = 20 * 60_000

const here = path.dirname(fileURLToPath(import.meta.url))
const root = path.resolve(here, '../..')
const committed = path.join(root, 'docs/conformance')
const page = path.join(root, 'docs/conformance.md')
const target = process.env.CARGO_TARGET_DIR || path.join(root, 'target')
const clients = new Set()

const { values: options } = parseArgs({
  options: {
    binary: { type: 'string', default: path.join(target, 'release/hedgerow') },
    dump: { type: 'string' },
    only: { type: 'string' },
    update: { type: 'boolean', default: false }
  }
})

// The edge starts in a directory of its own.
options.binary = path.resolve(options.binary)

process.on('exit', () => {
  for (const client of clients) client.kill('SIGKILL')
  killAll()
})
for (const [name, number] of [['SIGINT', 2], ['SIGTERM', 15], ['SIGHUP', 1]]) {
  process.on(name, () => process.exit(128 + number))
}
setTimeout(() => {
  console.error(`conformance: not done within ${ALL_WITHIN / 60_000} minutes`)
  process.exit(1)
}, ALL_WITHIN).unref()

try {
  process.exitCode = options.dump === undefined ? await measure() : await dump(options.dump)
} catch (error) {
  console.error(`conformance: ${error.message}`)
  process.exitCode = 1
} finally {
  await stopAll()
}

async function measure () {
  const server = await origin()
  const names = chosen(Object.keys(caches))
  const measured = await Promise.all(names.map(name => one(name, server)))
  const fresh = Object.fromEntries(names.map((name, index) => [name, measured[index]]))
  report(fresh)
  if (!('hedgerow' in fresh)) return 0
  return options.update ? accept(fresh) : judgeAgainstCommitted(fresh)
}

/** One cache's record, or null where it is not installed. */
async function one (name, server) {
  const cache = caches[name]
  const version = cache.version(options.binary)
  if (version === undefined) {
    if (name === 'hedgerow') throw new Error(`there is no ${options.binary}; \`make build\` makes it`)
    console.log(`${cache.title} is not installed: not measured`)
    return null
  }
  const edge = await cache.start(server.port, options.binary)
  const start = Date.now()
  const results = await client(edge.base, AT_ONCE, [])
  if (name === 'hedgerow') await repeatLost(edge, results)
  console.log(`${cache.title} ${version}: ${Object.keys(results).length} tests in ${Math.round((Date.now() - start) / 1000)} s`)
  return { cache: cache.title, version, tests: judge(results), results }
}

/** A test is given up only when it fails alone, too: the suite waits real seconds, and the machine may be busy. */
async function repeatLost (edge, results) {
  const before = load('hedgerow')
  for (let round = 0; before !== null && round < REPEATS; round++) {
    const lost = held(compare(before.tests, judge(results)).lost)
    if (lost.length === 0) return
    console.log(`again, to be sure: ${lost.map(entry => entry.id).join(' ')}`)
    const again = await client(edge.base, lost.length > ALONE_UP_TO ? AT_ONCE : 1, withDependencies(lost.map(entry => entry.id)))
    for (const [id, result] of Object.entries(again)) if (result === true) results[id] = true
  }
}

function report (fresh) {
  const records = Object.fromEntries(Object.entries(fresh).filter(([, record]) => record !== null))
  console.log(`\n${document.tables(records)}\n`)
  const directory = path.join(target, 'conformance')
  for (const [name, record] of Object.entries(records)) save(directory, name, record)
  console.log(`written to ${path.relative(process.cwd(), directory) || '.'}`)
  if (!('hedgerow' in records)) return
  console.log('\nHedgerow does not pass:')
  for (const { id, kind, verdict } of notPassed(records.hedgerow.tests)) {
    console.log(`  ${kind} ${id}: ${verdict}${reason(records.hedgerow.results[id])}`)
  }
}

function accept (fresh) {
  for (const [name, record] of Object.entries(fresh)) if (record !== null) save(committed, name, record)
  document.update(page, loadAll())
  const faults = document.faults(page, loadAll())
  for (const fault of faults) console.log(`docs/conformance.md: ${fault}`)
  return faults.length === 0 ? 0 : 1
}

function judgeAgainstCommitted (fresh) {
  const before = load('hedgerow')
  if (before === null) throw new Error('there is no docs/conformance/hedgerow.json; `make conformance-update` makes it')
  const { lost, won } = compare(before.tests, fresh.hedgerow.tests)
  const asked = [...lost, ...won].filter(entry => entry.kind === 'check')
  if (asked.length > 0) console.log(`checks that answer otherwise than before: ${asked.map(entry => entry.id).join(' ')}`)
  if (held(won).length > 0) {
    console.log(`passed now, and not before: ${held(won).map(entry => entry.id).join(' ')}`)
    console.log('`make conformance-update` records it')
  }
  const faults = document.faults(page, loadAll()).map(fault => `docs/conformance.md: ${fault}`)
  for (const { id, verdict } of held(lost)) faults.push(`${id} passed before: ${verdict}${reason(fresh.hedgerow.results[id])}`)
  for (const fault of faults) console.error(`conformance: ${fault}`)
  if (faults.length === 0) console.log('conformance: nothing that passed before is lost')
  return faults.length === 0 ? 0 : 1
}

async function dump (id) {
  const [name, ...others] = chosen(['hedgerow'])
  if (others.length > 0) throw new Error('--dump takes one cache')
  if (!suites.some(suite => suite.tests.some(test => test.id === id))) throw new Error(`there is no test ${id}`)
  const server = await origin()
  const edge = await caches[name].start(server.port, options.binary)
  process.stdout.write(await child(['--dump', edge.base, id]))
  console.log(server.log())
  return 0
}

/** A check only asks how a cache behaves; required and optimal tests are held. */
function held (entries) {
  return entries.filter(entry => entry.kind !== 'check')
}

function chosen (defaults) {
  const names = options.only?.split(',') ?? defaults
  const unknown = names.find(name => !(name in caches))
  if (unknown !== undefined) throw new Error(`there is no cache ${unknown}: ${Object.keys(caches).join(', ')}`)
  return names
}

function reason (result) {
  return Array.isArray(result) ? `: ${result[1]}` : ''
}

function save (directory, name, { cache, version, tests }) {
  mkdirSync(directory, { recursive: true })
  const counts = Object.fromEntries(sections.map(section => [section.id, count(tests, entry => entry.section === section.id)]))
  const record = { cache, version, counts, tests }
  writeFileSync(path.join(directory, `${name}.json`), JSON.stringify(record, null, 2) + '\n')
}

function load (name) {
  const file = path.join(committed, `${name}.json`)
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null
}

function loadAll () {
  const records = Object.keys(caches).map(name => [name, load(name)])
  return Object.fromEntries(records.filter(([, record]) => record !== null))
}

async function client (base, atOnce, ids) {
  const results = JSON.parse(await child([base, String(atOnce), ...ids]))
  const missing = ids.find(id => !(id in results))
  if (missing !== undefined) throw new Error(`the client has no result for ${missing}`)
  return results
}

function child (args) {
  return new Promise((resolve, reject) => {
    const run = spawn(process.execPath, ['--no-warnings', path.join(here, 'client.mjs'), ...args], {
      stdio: ['ignore', 'pipe', 'inherit']
    })
    clients.add(run)
    let text = ''
    run.stdout.setEncoding('utf8')
    run.stdout.on('data', chunk => { text += chunk })
    run.on('error', reject)
    run.on('close', code => {
      clients.delete(run)
      if (code === 0) resolve(text)
      else reject(new Error(`the client exited with ${code}`))
    })
  })
}
