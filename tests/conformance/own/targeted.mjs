// RFC 9213: CDN-Cache-Control instead of Cache-Control and Expires, read as a structured field.

const YEAR = 365 * 24 * 60 * 60
const FIELD = 'CDN-Cache-Control'

/** A response is fetched, and asked for again after the pause. Field values that the test is not about pass unchecked. */
function twice (id, { kind, name, needs = [], targeted, others = [], then }) {
  return {
    id: `targeted-${id}`,
    name,
    kind,
    depends_on: ['freshness-none', ...needs.map(need => `targeted-${need}`)],
    requests: [
      {
        response_headers: [...[targeted].flat().map(value => [FIELD, value, false]), ...others],
        setup: true,
        pause_after: true
      },
      { expected_type: then }
    ]
  }
}

const reused = (id, name, rest) => twice(id, { kind: 'optimal', name, then: 'cached', ...rest })
const refused = (id, name, rest) => twice(id, { kind: 'required', name, then: 'not_cached', ...rest })

/** Where Cache-Control forbids storing, a targeted field that must be ignored leaves that prohibition in force. */
const ignored = (id, name, targeted) => refused(id, name, {
  needs: ['beats-no-store'],
  targeted,
  others: [['Cache-Control', 'no-store']]
})

/** Where Cache-Control allows reuse, a targeted field forbids it. */
const forbids = directive => refused(directive, `\`${FIELD}: ${directive}\` wins over a fresh \`Cache-Control\``, {
  needs: ['max-age'],
  targeted: directive,
  others: [['Cache-Control', 'max-age=3600']]
})

export default {
  id: 'targeted',
  name: 'Targeted fields',
  description: 'Whether `CDN-Cache-Control` is obeyed, as RFC 9213 says.',
  tests: [
    reused('max-age', 'A response is reused on the word of `CDN-Cache-Control: max-age` alone', {
      targeted: 'max-age=3600'
    }),
    reused('max-age-2-31', '`max-age` of 2^31', { needs: ['max-age'], targeted: 'max-age=2147483648' }),
    reused('max-age-beyond-32-bits', '`max-age` beyond 32 bits', { needs: ['max-age'], targeted: 'max-age=99999999999' }),
    refused('age-above-max-age', 'What arrives older than its targeted `max-age` is stale', {
      needs: ['max-age'],
      targeted: 'max-age=3600',
      others: [['Date', 0], ['Age', '7200']]
    }),
    refused('max-age-0', '`max-age=0` alone', { needs: ['max-age'], targeted: 'max-age=0' }),
    refused('max-age-0-beats-expires', '`max-age=0` wins over a future `Expires`', {
      needs: ['max-age'],
      targeted: 'max-age=0',
      others: [['Date', 0], ['Expires', YEAR]]
    }),
    reused('beats-past-expires', 'A targeted `max-age` wins over an `Expires` in the past', {
      needs: ['max-age'],
      targeted: 'max-age=3600',
      others: [['Date', 0], ['Expires', -YEAR]]
    }),
    reused('beats-invalid-expires', 'A targeted `max-age` wins over an `Expires` that is no date', {
      needs: ['max-age'],
      targeted: 'max-age=3600',
      others: [['Expires', '0']]
    }),
    reused('long-beats-short', 'A long targeted `max-age` wins over a short one in `Cache-Control`', {
      needs: ['max-age'],
      targeted: 'max-age=3600',
      others: [['Cache-Control', 'max-age=1']]
    }),
    refused('short-beats-long', 'A short targeted `max-age` wins over a long one in `Cache-Control`', {
      needs: ['max-age'],
      targeted: 'max-age=1',
      others: [['Cache-Control', 'max-age=3600']]
    }),
    refused('beats-s-maxage', 'A short targeted `max-age` wins over `Cache-Control: s-maxage`', {
      needs: ['max-age'],
      targeted: 'max-age=1',
      others: [['Cache-Control', 's-maxage=3600']]
    }),
    forbids('private'),
    forbids('no-cache'),
    forbids('no-store'),
    reused('beats-no-store', 'A targeted `max-age` wins over `Cache-Control: no-store`', {
      needs: ['max-age'],
      targeted: 'max-age=3600',
      others: [['Cache-Control', 'no-store']]
    }),
    reused('beats-private', 'A targeted `max-age` wins over `Cache-Control: private`', {
      needs: ['max-age'],
      targeted: 'max-age=3600',
      others: [['Cache-Control', 'private']]
    }),
    reused('extension', 'A directive that nobody knows does no harm', {
      needs: ['max-age'],
      targeted: 'hedge, max-age=3600, colour="green"'
    }),
    reused('parameters', 'Parameters of a member are ignored', { needs: ['max-age'], targeted: 'max-age=3600;by=origin' }),
    refused('last-wins', 'Of a key given twice the last value holds, as in any dictionary', {
      needs: ['max-age'],
      targeted: 'max-age=3600, max-age=1'
    }),
    refused('lines-combine', 'Several lines are one dictionary', {
      needs: ['max-age'],
      targeted: ['max-age=3600', 'private'],
      others: [['Cache-Control', 'max-age=3600']]
    }),
    ignored('invalid-member', 'A field with a member that does not parse is ignored whole', 'max-age=10000, &&&&&'),
    ignored('invalid-key', 'A key in upper case does not parse', 'Max-Age=10000'),
    ignored('invalid-space', 'A space before the equals sign does not parse', 'max-age =10000'),
    ignored('invalid-trailing-comma', 'A trailing comma does not parse', 'max-age=10000,'),
    ignored('invalid-first-line', 'An invalid first line spoils a valid second one', ['&&&&&', 'max-age=10000']),
    ignored('wrong-type-string', 'A `max-age` that is a string counts for nothing', 'max-age="10000"'),
    ignored('wrong-type-decimal', 'A `max-age` that is a decimal counts for nothing', 'max-age=10000.5'),
    ignored('wrong-type-boolean', 'A `max-age` without a value counts for nothing', 'max-age'),
    ignored('negative', 'A negative `max-age` counts for nothing', 'max-age=-10000'),
    reused('empty', 'An empty field leaves the decision to `Cache-Control`', {
      needs: ['max-age'],
      targeted: '',
      others: [['Cache-Control', 'max-age=3600']]
    }),
    {
      id: 'targeted-other-target',
      name: 'A field targeted at somebody else changes nothing and is passed on',
      kind: 'required',
      depends_on: ['freshness-max-age'],
      requests: [
        {
          response_headers: [['Elsewhere-Cache-Control', 'no-store'], ['Cache-Control', 'max-age=3600']],
          expected_response_headers: [['Elsewhere-Cache-Control', 'no-store']],
          setup_tests: ['expected_type'],
          pause_after: true
        },
        { expected_type: 'cached', expected_response_headers: [['Elsewhere-Cache-Control', 'no-store']] }
      ]
    },
    {
      id: 'targeted-passed-on',
      name: 'Is `CDN-Cache-Control` passed on, so that a cache further down can use it?',
      kind: 'check',
      requests: [
        {
          response_headers: [[FIELD, 'max-age=3600', false]],
          expected_response_headers: [[FIELD, 'max-age=3600']]
        }
      ]
    }
  ]
}
