// From the client's results to verdicts, by the package's own rules: a test whose dependency was not passed says nothing
// about the cache, and neither does one that failed while it was being set up.

import { determineTestResult } from 'http-cache-tests/lib/display.mjs'
import { KINDS, kindOf, sections, suites } from './suites.mjs'

const VERDICTS = new Map([
  ['✅', 'pass'],
  ['Y', 'pass'],
  ['⛔️', 'fail'],
  ['⚠️', 'fail'],
  ['N', 'fail'],
  ['🔹', 'setup'],
  ['⁉️', 'harness'],
  ['⚪️', 'dependency'],
  ['↻', 'retry'],
  ['-', 'untested']
])

/** `{ section: { suite: { test: verdict } } }`, in the order in which the suites list them. */
export function judge (results) {
  return nest(test => {
    const symbol = determineTestResult(suites, test.id, results)[2]
    const verdict = VERDICTS.get(symbol)
    if (verdict === undefined) throw new Error(`${test.id}: the package says ${symbol}, which this script does not know`)
    return verdict
  })
}

function nest (verdict) {
  const nested = {}
  for (const section of sections) {
    nested[section.id] = {}
    for (const suite of section.suites) {
      nested[section.id][suite.id] = Object.fromEntries(suite.tests.map(test => [test.id, verdict(test)]))
    }
  }
  return nested
}

/** Every test as `{ section, suite, test, kind, verdict }`; one that the verdicts do not know is untested. */
export function * each (verdicts) {
  for (const section of sections) {
    for (const suite of section.suites) {
      for (const test of suite.tests) {
        const verdict = verdicts?.[section.id]?.[suite.id]?.[test.id] ?? 'untested'
        yield { section: section.id, suite: suite.id, test, id: test.id, kind: kindOf(test), verdict }
      }
    }
  }
}

/** `{ required: { passed, total }, optimal: …, check: … }` of the tests that `filter` lets through. */
export function count (verdicts, filter) {
  const counts = Object.fromEntries(KINDS.map(kind => [kind, { passed: 0, total: 0 }]))
  for (const entry of each(verdicts)) {
    if (!filter(entry)) continue
    counts[entry.kind].total += 1
    if (entry.verdict === 'pass') counts[entry.kind].passed += 1
  }
  return counts
}

/** The required and optimal tests that are not passed. A check only asks; neither answer is a fault. */
export function notPassed (verdicts) {
  return [...each(verdicts)].filter(entry => entry.kind !== 'check' && entry.verdict !== 'pass')
}

/** Tests whose verdict went from passed to something else (`lost`) or the other way round (`won`). */
export function compare (before, after) {
  const old = new Map([...each(before)].map(entry => [entry.id, entry.verdict]))
  const lost = []
  const won = []
  for (const entry of each(after)) {
    const was = old.get(entry.id)
    if (was === 'pass' && entry.verdict !== 'pass') lost.push(entry)
    if (was !== 'pass' && entry.verdict === 'pass') won.push(entry)
  }
  return { lost, won }
}
