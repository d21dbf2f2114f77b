// docs/conformance.md: its tables are made from the committed results, its list of tests not passed is held against them.
// The reasons in that list are written by hand.

import { readFileSync, writeFileSync } from 'node:fs'
import { count, notPassed } from './score.mjs'
import { KINDS, sections } from './suites.mjs'

const ITEM = /^\* `([^`]+)` \((?:required|optimal)\):(.*)$/

/** The document with tables and list brought in line with `records`; a reason that was there stays. */
export function update (file, records) {
  const text = readFileSync(file, 'utf8')
  const reasons = items(text)
  const list = notPassed(records.hedgerow.tests)
    .map(({ id, kind }) => `* \`${id}\` (${kind}):${reasons.get(id) ?? ''}`)
  writeFileSync(file, replace(replace(text, 'scores', tables(records)), 'not passed', list.join('\n')))
}

/** What is wrong with the document, one sentence each. */
export function faults (file, records) {
  const text = readFileSync(file, 'utf8')
  const found = []
  if (between(text, 'scores') !== tables(records)) found.push('the tables are not those of the committed results')
  const reasons = items(text)
  const open = new Map(notPassed(records.hedgerow.tests).map(({ id, kind }) => [id, kind]))
  for (const [id, kind] of open) {
    if (!reasons.has(id)) found.push(`\`${id}\` (${kind}) is not passed and has no line`)
    else if (reasons.get(id).trim() === '') found.push(`\`${id}\` has a line without a reason`)
  }
  for (const id of reasons.keys()) if (!open.has(id)) found.push(`\`${id}\` has a line, but is passed or is no test`)
  return found
}

/** The scores of all caches as Markdown: in all by kind, then by suite. `records` is `{ cache: record or null }`. */
export function tables (records) {
  return sections.flatMap(section => [inAll(section, records), bySuite(section, records)]).join('\n\n')
}

function inAll (section, records) {
  const counts = columns(records, tests => count(tests, entry => entry.section === section.id))
  const rows = KINDS.map(kind => [
    kind,
    String(counts.find(Boolean)?.[kind].total ?? 0),
    ...counts.map(each => each ? String(each[kind].passed) : '')
  ])
  return table([section.title, 'of', ...titles(records)], rows)
}

function bySuite (section, records) {
  const rows = section.suites.map(suite => {
    const counts = columns(records, tests => count(tests, entry => entry.section === section.id && entry.suite === suite.id))
    const sum = (each, field) => KINDS.map(kind => each[kind][field]).join(' + ')
    return [suite.id, sum(counts.find(Boolean), 'total'), ...counts.map(each => each ? sum(each, 'passed') : '')]
  })
  return table(['suite: required + optimal + check', 'of', ...titles(records)], rows)
}

function columns (records, counted) {
  return Object.values(records).map(record => record && counted(record.tests))
}

function titles (records) {
  return Object.values(records).filter(Boolean).map(record => `${record.cache} ${record.version}`)
}

function table (head, rows) {
  const line = cells => `| ${cells.join(' | ')} |`
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

function items (text) {
  return new Map(between(text, 'not passed').split('\n').map(line => ITEM.exec(line)).filter(Boolean).map(m => [m[1], m[2]]))
}

function marks (text, name) {
  const [start, end] = [`<!-- ${name} -->\n`, `\n<!-- end of ${name} -->`]
  const from = text.indexOf(start)
  const to = text.indexOf(end)
  if (from < 0 || to < from) throw new Error(`there is no ${start.trim()} … ${end.trim()} in the document`)
  return [from + start.length, to]
}

function between (text, name) {
  return text.slice(...marks(text, name))
}

function replace (text, name, content) {
  const [from, to] = marks(text, name)
  return text.slice(0, from) + content + text.slice(to)
}
