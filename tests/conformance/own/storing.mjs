// RFC 9111 sections 3, 4.3.3 and 5.2.2.3: what may be stored, and what a later answer that may not be leaves behind.

export default {
  id: 'storing',
  name: 'Storing',
  description: 'Responses that may be stored against appearances, and ones that may not.',
  tests: [
    {
      id: 'storing-must-understand-200',
      name: '`must-understand` lifts `no-store` where the status is understood',
      kind: 'optimal',
      requests: [
        {
          response_headers: [['Cache-Control', 'no-store, max-age=3600, must-understand']],
          setup: true
        },
        { expected_type: 'cached' }
      ]
    },
    {
      id: 'storing-must-understand-unknown-status',
      name: '`must-understand` forbids storing a status that is not understood',
      kind: 'required',
      depends_on: ['status-599-fresh'],
      requests: [
        {
          response_status: [599, 'Whatever'],
          response_headers: [['Cache-Control', 'max-age=3600, must-understand']],
          setup: true
        },
        { expected_type: 'not_cached' }
      ]
    },
    {
      id: 'storing-must-understand-unknown-status-no-store',
      name: '`must-understand` does not lift `no-store` where the status is not understood',
      kind: 'required',
      depends_on: ['status-599-fresh', 'storing-must-understand-200'],
      requests: [
        {
          response_status: [599, 'Whatever'],
          response_headers: [['Cache-Control', 'no-store, max-age=3600, must-understand']],
          setup: true
        },
        { expected_type: 'not_cached' }
      ]
    },
    {
      id: 'storing-no-store-replaces',
      name: 'Neither a stale response nor the `no-store` one that answered instead is reused',
      kind: 'required',
      depends_on: ['freshness-max-age'],
      requests: [
        {
          response_headers: [['Cache-Control', 'max-age=1']],
          setup: true,
          pause_after: true
        },
        {
          response_headers: [['Cache-Control', 'no-store, max-age=3600']],
          expected_type: 'not_cached',
          setup_tests: ['expected_type']
        },
        { expected_type: 'not_cached' }
      ]
    },
    {
      id: 'storing-no-store-replaces-validated',
      name: 'The same where the stale response had a validator that no longer holds',
      kind: 'required',
      depends_on: ['freshness-max-age'],
      requests: [
        {
          response_headers: [['Cache-Control', 'max-age=1'], ['ETag', '"first"']],
          setup: true,
          pause_after: true
        },
        {
          response_headers: [['Cache-Control', 'no-store, max-age=3600'], ['ETag', '"second"']],
          expected_type: 'not_cached',
          setup_tests: ['expected_type']
        },
        { expected_type: 'not_cached' }
      ]
    },
    {
      id: 'storing-no-store-by-304',
      name: 'A `304` with `no-store` ends the reuse of what it validated',
      kind: 'required',
      depends_on: ['304-etag-update-response-Cache-Control'],
      requests: [
        {
          response_headers: [['Cache-Control', 'max-age=2'], ['ETag', '"only"']],
          setup: true,
          pause_after: true
        },
        {
          response_headers: [['Cache-Control', 'no-store, max-age=3600'], ['ETag', '"only"']],
          expected_type: 'etag_validated',
          setup_tests: ['expected_type']
        },
        { expected_type: 'not_cached' }
      ]
    }
  ]
}
