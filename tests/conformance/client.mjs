// One run of tests against one base URL, in a process of its own: the package's runner keeps its results in module state
// and refuses to run a test twice.
//
//   node client.mjs BASE CHUNK [ID...]        results as JSON on standard output
//   node client.mjs --dump BASE ID            one test with all its headers, for reading

import fetch from 'node-fetch'
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs'
import { suites } from './suites.mjs'

/** An edge that never answers fails its test instead of holding the run up, in milliseconds. */
const ANSWER_WITHIN = 15_000

const args = process.argv.slice(2)
const dump = args[0] === '--dump'
if (dump) args.splice(0, 1, args.splice(1, 1)[0], '1')
const [base, chunk, ...ids] = args

const wanted = suites
  .map(suite => ({ ...suite, tests: suite.tests.filter(test => ids.length === 0 || ids.includes(test.id)) }))
  .filter(suite => suite.tests.length > 0)
for (const suite of wanted) for (const test of suite.tests) test.dump = dump

const bounded = (url, init) => fetch(url, { timeout: ANSWER_WITHIN, ...init })
await runTests(wanted, bounded, false, base, Number(chunk))
console.log(JSON.stringify(getResults()))
