// What is run: the package's suites, and beside them our own in the same form.
//
// The package's Surrogate-Control suite stays out. It tests a W3C Note that no RFC took up; what took its place is
// RFC 9213, which own/targeted.mjs tests.

import published from 'http-cache-tests/tests/index.mjs'
import age from './own/age.mjs'
import errors from './own/errors.mjs'
import storing from './own/storing.mjs'
import targeted from './own/targeted.mjs'
import updates from './own/updates.mjs'
import whileRevalidate from './own/while-revalidate.mjs'

const own = [targeted, storing, age, whileRevalidate, errors, updates]

/** The two sections of every result, in the order of the report. */
export const sections = [
  { id: 'package', title: 'http-cache-tests', suites: published.map(withoutBrowsers) },
  { id: 'own', title: 'our own tests', suites: own }
]

/** All of them, as the package's functions want them. */
export const suites = sections.flatMap(section => section.suites)

export const KINDS = ['required', 'optimal', 'check']

/** A test without a kind is a required one. */
export function kindOf (test) {
  return test.kind ?? 'required'
}

/** `ids` and all that they depend on. */
export function withDependencies (ids) {
  const tests = new Map(suites.flatMap(suite => suite.tests).map(test => [test.id, test]))
  const closure = new Set()
  const add = id => {
    if (closure.has(id)) return
    closure.add(id)
    for (const dependency of tests.get(id).depends_on ?? []) add(dependency)
  }
  for (const id of ids) add(id)
  return [...closure]
}

function withoutBrowsers (suite) {
  return { ...suite, tests: suite.tests.filter(test => test.browser_only !== true) }
}
