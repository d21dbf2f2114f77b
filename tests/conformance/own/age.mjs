// RFC 9111 sections 1.2.2, 4.2.3 and 5.1: numbers of seconds of any size, and an Age that is none.
//
// The package was written for RFC 7234 and wants a response with an invalid Age to be stale; since RFC 9111 the field is
// ignored and of a list the first member counts, as is asked here.

const arrivesOld = (id, name, age) => ({
  id: `age-${id}`,
  name: `${name} is older than an hour`,
  kind: 'required',
  depends_on: ['freshness-max-age'],
  requests: [
    {
      response_headers: [['Date', 0], ['Cache-Control', 'max-age=3600'], ['Age', age, false]],
      setup: true
    },
    { expected_type: 'not_cached' }
  ]
})

const arrives = (id, name, kind, ages, then) => ({
  id: `age-${id}`,
  name,
  kind,
  depends_on: ['freshness-max-age-age'],
  requests: [
    {
      response_headers: [['Date', 0], ['Cache-Control', 'max-age=3600'], ...ages.map(age => ['Age', age, false])],
      setup: true
    },
    { expected_type: then }
  ]
})

const ignored = (id, name, ages) => arrives(id, name, 'optimal', ages, 'cached')

const livesLong = (id, name, seconds) => ({
  id: `age-${id}`,
  name: `${name} is a long time`,
  kind: 'optimal',
  depends_on: ['freshness-max-age'],
  requests: [
    {
      response_headers: [['Cache-Control', `max-age=${seconds}`]],
      setup: true
    },
    { expected_type: 'cached' }
  ]
})

export default {
  id: 'age',
  name: 'Age and large numbers',
  description: 'What overflows an integer is still large, and what is no number of seconds is no age.',
  tests: [
    arrivesOld('2-31', '`Age` of 2^31', '2147483648'),
    arrivesOld('2-32', '`Age` of 2^32, which is 0 in 32 bits', '4294967296'),
    arrivesOld('2-63', '`Age` of 2^63', '9223372036854775808'),
    arrivesOld('beyond-64-bits', '`Age` of 2^64, which is 0 in 64 bits', '18446744073709551616'),
    ignored('word', 'An `Age` that is a word is ignored', ['elderly']),
    ignored('negative', 'A negative `Age` is ignored', ['-9000']),
    ignored('decimal', 'An `Age` with a decimal point is ignored', ['9000.5']),
    ignored('list-young-first', 'Of a list the first member counts: young', ['5, 9000']),
    ignored('lines-young-first', 'Of several lines the first counts: young', ['5', '9000']),
    arrives('list-old-first', 'Of a list the first member counts: old', 'required', ['9000, 5'], 'not_cached'),
    arrives('lines-old-first', 'Of several lines the first counts: old', 'required', ['9000', '5'], 'not_cached'),
    livesLong('lifetime-2-32', '`max-age` of 2^32, which is 0 in 32 bits', '4294967296'),
    livesLong('lifetime-beyond-64-bits', '`max-age` of 2^64, which is 0 in 64 bits', '18446744073709551616'),
    {
      id: 'age-large-passed-on',
      name: 'A very large `Age` is still very large on what is served from the cache',
      kind: 'required',
      depends_on: ['freshness-max-age-max-plus'],
      requests: [
        {
          response_headers: [['Date', 0], ['Cache-Control', 'max-age=99999999999'], ['Age', '2000000000', false]],
          setup: true,
          pause_after: true
        },
        {
          expected_type: 'cached',
          expected_response_headers: [['Age', '>', 1999999999]],
          setup_tests: ['expected_type']
        }
      ]
    }
  ]
}
