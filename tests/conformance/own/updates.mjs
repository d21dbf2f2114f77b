// RFC 9111 section 4.3.4: a 304 brings new times, and what was stored lives by them.

const HOUR = 60 * 60

/** Stored, stale after the pause, found still valid by a 304 with times of its own, then asked for twice more. */
const validated = (id, name, kind, { first, validation, afterwards, needs = [] }) => ({
  id: `update-${id}`,
  name,
  kind,
  depends_on: ['304-lm-use-stored-Test-Header', ...needs],
  requests: [
    {
      response_headers: [...first, ['ETag', '"v1"']],
      setup: true,
      pause_after: true
    },
    {
      response_headers: [...validation, ['ETag', '"v1"']],
      expected_type: 'etag_validated',
      setup_tests: ['expected_type'],
      pause_after: true
    },
    { expected_type: 'cached', ...afterwards }
  ]
})

export default {
  id: 'updates',
  name: 'Times of a 304',
  description: 'Freshness and age after a validation.',
  tests: [
    validated('expires', 'A later `Expires` makes the response fresh again and is what clients see', 'required', {
      first: [['Date', 0], ['Expires', 1]],
      validation: [['Date', 0], ['Expires', HOUR]],
      afterwards: { expected_response_headers: [['Expires', HOUR]] }
    }),
    validated('date', '`Date` becomes that of the validation', 'required', {
      first: [['Date', 0], ['Cache-Control', 'max-age=2']],
      validation: [['Date', 0], ['Cache-Control', `max-age=${HOUR}`]],
      afterwards: { expected_response_headers: [['Date', 0]], setup_tests: ['expected_type'] }
    }),
    validated('old-expires-loses', 'A `max-age` that only the 304 brings wins over the stored `Expires`', 'required', {
      first: [['Date', 0], ['Expires', 1]],
      validation: [['Date', 0], ['Cache-Control', `max-age=${HOUR}`]],
      afterwards: {}
    }),
    validated('age-restarts', 'An old response is young again once it is validated', 'optimal', {
      // Fresh for two seconds on arrival; counted from its own Age it would stay stale for ever.
      first: [['Date', 0], ['Cache-Control', `max-age=${HOUR}`], ['Age', `${HOUR - 2}`, false]],
      validation: [['Date', 0]],
      afterwards: {}
    }),
    validated('age-of-validation', 'A 304 that is itself old makes no young response', 'required', {
      first: [['Date', 0], ['Cache-Control', 'max-age=2']],
      validation: [['Date', 0], ['Cache-Control', `max-age=${HOUR}`], ['Age', '100', false]],
      afterwards: { expected_response_headers: [['Age', '>', 101]], setup_tests: ['expected_type'] }
    })
  ]
}
