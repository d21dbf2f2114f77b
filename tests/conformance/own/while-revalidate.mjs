// RFC 5861 section 3: a stale response may be used while it is fetched anew, as long as the origin says and no longer.

const NAME = 'stale-while-revalidate'

/** A response that is three seconds old and was fresh for one of them, asked for again. */
const staleAfterPause = (id, name, kind, cacheControl, then, needs = []) => ({
  id: `swr-${id}`,
  name,
  kind,
  depends_on: ['freshness-max-age', ...needs],
  requests: [
    {
      response_headers: [['Cache-Control', cacheControl]],
      setup: true,
      pause_after: true
    },
    { expected_type: then }
  ]
})

const forbidden = directive => staleAfterPause(
  `not-with-${directive.split('=')[0]}`,
  `\`${directive}\` forbids it`,
  'required',
  `max-age=1, ${NAME}=3600, ${directive}`,
  'not_cached',
  ['swr-within']
)

export default {
  id: 'swr',
  name: 'Stale while it is fetched anew',
  description: 'The window of `stale-while-revalidate`, and what closes it.',
  tests: [
    staleAfterPause('within', 'A stale response is used within the window', 'optimal', `max-age=1, ${NAME}=3600`, 'cached'),
    staleAfterPause('beyond', 'It is not used beyond the window', 'required', `max-age=1, ${NAME}=1`, 'not_cached', ['swr-within']),
    forbidden('must-revalidate'),
    forbidden('proxy-revalidate'),
    forbidden('s-maxage=1'),
    forbidden('no-cache'),
    {
      id: 'swr-refreshes',
      name: 'The stale response is served once; meanwhile a new one is fetched and stored',
      kind: 'optimal',
      depends_on: ['swr-within'],
      requests: [
        {
          response_headers: [['Cache-Control', `max-age=1, ${NAME}=3600`]],
          setup: true,
          pause_after: true
        },
        {
          response_headers: [['Cache-Control', 'max-age=3600'], ['Generation', '2']],
          expected_response_headers_missing: ['Generation'],
          expected_type: 'cached',
          setup_tests: ['expected_type'],
          pause_after: true
        },
        {
          expected_type: 'cached',
          expected_response_headers: [['Generation', '2']]
        }
      ]
    }
  ]
}
