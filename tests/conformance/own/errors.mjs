// RFC 5861 section 4: a stale response may be used instead of an error, as long as the origin says and no longer.

const NAME = 'stale-if-error'

/** A response that is three seconds old and was fresh for one of them; now the origin answers with `status`. */
const whenTheOriginSays = (status, id, name, kind, cacheControl, staleIsUsed, needs = []) => ({
  id: `sie-${id}`,
  name,
  kind,
  depends_on: ['freshness-max-age', ...needs],
  requests: [
    {
      response_headers: [['Cache-Control', cacheControl]],
      setup: true,
      pause_after: true
    },
    {
      response_status: [status, 'Of The Origin'],
      expected_status: staleIsUsed ? 200 : status,
      expected_type: staleIsUsed ? 'cached' : 'not_cached'
    }
  ]
})

const allowed = `max-age=1, ${NAME}=3600`

/** The same, but the origin takes the request and closes the connection. */
const whenTheOriginCloses = (id, name, kind, cacheControl, second, needs = []) => ({
  id: `sie-close${id}`,
  name,
  kind,
  depends_on: ['freshness-max-age', ...needs],
  requests: [
    {
      response_headers: [['Cache-Control', cacheControl]],
      setup: true,
      pause_after: true
    },
    { disconnect: true, ...second }
  ]
})

/** A gateway whose origin breaks off says 502 (RFC 9110 section 15.6.3), and that answer is not the origin's. */
const closedButForbidden = directive => whenTheOriginCloses(
  `-not-with-${directive.split('=')[0]}`,
  `Where the origin closes, \`${directive}\` leaves only an error`,
  'optimal',
  `${allowed}, ${directive}`,
  { expected_status: 502, check_body: false, expected_response_headers_missing: ['Server-Request-Count'] },
  ['sie-close']
)

const insteadOf = status => whenTheOriginSays(
  status, `${status}`, `A stale response is used instead of a ${status}`, 'optimal', allowed, true)

const notInsteadOf = status => whenTheOriginSays(
  status, `not-${status}`, `A ${status} is the origin's answer, not an error`, 'required', allowed, false, ['sie-503'])

const forbidden = directive => whenTheOriginSays(
  503,
  `not-with-${directive.split('=')[0]}`,
  `\`${directive}\` forbids it`,
  'required',
  `${allowed}, ${directive}`,
  false,
  ['sie-503']
)

export default {
  id: 'sie',
  name: 'Stale instead of an error',
  description: 'The window of `stale-if-error`, its statuses, and what closes it.',
  tests: [
    insteadOf(500),
    insteadOf(502),
    insteadOf(503),
    insteadOf(504),
    notInsteadOf(404),
    notInsteadOf(501),
    whenTheOriginSays(503, 'beyond', 'It is not used beyond the window', 'check', `max-age=1, ${NAME}=1`, false, ['sie-503']),
    forbidden('must-revalidate'),
    forbidden('proxy-revalidate'),
    forbidden('s-maxage=1'),
    whenTheOriginCloses('', 'A stale response is used instead of a closed connection', 'optimal', allowed, {
      expected_type: 'cached'
    }),
    closedButForbidden('must-revalidate'),
    closedButForbidden('proxy-revalidate'),
    closedButForbidden('s-maxage=1')
  ]
}
