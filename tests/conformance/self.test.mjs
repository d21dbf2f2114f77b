// Whether the runner itself notices what it is there to notice; `node --test tests/conformance/self.test.mjs`.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import * as document from './document.mjs'
import { compare, count, each, judge, notPassed } from './score.mjs'
import { kindOf, sections, suites, withDependencies } from './suites.mjs'

const tests = suites.flatMap(suite => suite.tests)
const allPassed = () => Object.fromEntries(tests.map(each => [each.id, true]))
const record = results => ({ cache: 'Hedgerow', version: '1.2.3', tests: judge(results) })

/** A document with these lines in its list, and what is wrong with it. */
function faultsOf (lines, results) {
  const directory = mkdtempSync(path.join(tmpdir(), 'hedgerow-conformance-self-'))
  const file = path.join(directory, 'page.md')
  const records = { hedgerow: record(results) }
  const scores = document.tables(records)
  const list = ['<!-- not passed -->', ...lines, '<!-- end of not passed -->']
  writeFileSync(file, ['<!-- scores -->', scores, '<!-- end of scores -->', ...list].join('\n'))
  const before = document.faults(file, records)
  document.update(file, records)
  const updated = readFileSync(file, 'utf8')
  rmSync(directory, { recursive: true })
  return { before, updated }
}

test('every id is given once, and what a test depends on exists', () => {
  const ids = tests.map(each => each.id)
  assert.equal(new Set(ids).size, ids.length)
  assert.deepEqual(new Set(withDependencies(ids)), new Set(ids))
})

test('of the package exactly the tests for a shared cache are run', () => {
  const ofKind = kind => sections[0].suites.flatMap(suite => suite.tests).filter(each => kindOf(each) === kind).length
  assert.deepEqual(['required', 'optimal', 'check'].map(ofKind), [157, 86, 86])
})

test('a test is not passed while one that it depends on is not', () => {
  const verdicts = judge({ ...allPassed(), 'freshness-none': ['Assertion', 'Response 2 comes from cache'] })
  const of = id => [...each(verdicts)].find(entry => entry.id === id).verdict
  assert.equal(of('freshness-none'), 'fail')
  assert.equal(of('targeted-max-age'), 'dependency')
  assert.equal(of('age-2-31'), 'dependency')
})

test('setup, a repeated request and a missing result are not passed either', () => {
  const results = { ...allPassed(), 'swr-within': ['Setup', 'Response 1 status is 502, not 200'], 'sie-503': ['Setup', 'retry'] }
  delete results['update-date']
  const words = Object.fromEntries(notPassed(judge(results)).map(entry => [entry.id, entry.verdict]))
  assert.deepEqual([words['swr-within'], words['sie-503'], words['update-date']], ['setup', 'retry', 'untested'])
  assert.equal(words['swr-beyond'], 'dependency')
})

test('what is lost and what is won is told apart', () => {
  const worse = judge({ ...allPassed(), 'update-date': ['Assertion', 'old'] })
  const ids = entries => entries.map(entry => entry.id)
  const { lost, won } = compare(judge(allPassed()), worse)
  assert.deepEqual([ids(lost), ids(won)], [['update-date'], []])
  assert.deepEqual(ids(compare(worse, judge(allPassed())).won), ['update-date'])
  assert.equal(count(worse, entry => entry.suite === 'updates').required.passed, 3)
})

test('the document must have a line with a reason for what is not passed, and no other', () => {
  const results = { ...allPassed(), 'update-date': ['Assertion', 'old'] }
  assert.match(faultsOf([], results).before.join(), /`update-date` \(required\) is not passed and has no line/)
  assert.match(faultsOf(['* `update-date` (required):'], results).before.join(), /without a reason/)
  assert.deepEqual(faultsOf(['* `update-date` (required): because.'], results).before, [])
  const stale = faultsOf(['* `update-date` (required): because.', '* `swr-within` (optimal): it was.'], results)
  assert.match(stale.before.join(), /`swr-within` has a line/)
  assert.match(stale.updated, /\n\* `update-date` \(required\): because\.\n<!-- end/)
  assert.doesNotMatch(stale.updated, /swr-within/)
})

test('tables that are not of these results are noticed', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'hedgerow-conformance-self-'))
  const file = path.join(directory, 'page.md')
  writeFileSync(file, '<!-- scores -->\nold\n<!-- end of scores -->\n<!-- not passed -->\n\n<!-- end of not passed -->')
  assert.match(document.faults(file, { hedgerow: record(allPassed()) }).join(), /tables/)
  rmSync(directory, { recursive: true })
})
