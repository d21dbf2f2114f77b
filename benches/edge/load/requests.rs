//! What is sent: one request, or one of many that differ in a key.

use std::io::Write;

/// Digits of a key in a path.
const DIGITS: usize = 7;
/// How many keys are drawn before the drawing begins again: a power of two.
const DRAWN: usize = 1 << 20;

/// The requests of a load.
pub(crate) struct Requests {
    text: Vec<u8>,
    /// Where the key's digits stand, and which come.
    keys: Option<(usize, Keys)>,
}

struct Keys {
    sequence: Vec<u32>,
    next: usize,
}

impl Requests {
    /// One that never changes: GET `path`, with `fields`, lines each with its end.
    pub(crate) fn one(path: &str, fields: &str) -> Requests {
        let text = format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\n{fields}\r\n").into_bytes();
        Requests { text, keys: None }
    }

    /// Of `keys` keys each once, below `path`.
    pub(crate) fn each(path: &str, keys: u32) -> Requests {
        Requests::keyed(path, shuffled(keys))
    }

    /// Of `keys` keys by Zipf's law with exponent 1: the second is asked for half as often as the first, and so on.
    pub(crate) fn zipf(path: &str, keys: u32) -> Requests {
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=keys)
            .map(|rank| {
                sum += 1.0 / f64::from(rank);
                sum
            })
            .collect();
        let ranked = shuffled(keys);
        let mut rng = fastrand::Rng::with_seed(2);
        let rank = |drawn: f64| sums.partition_point(|sum| *sum < drawn).min(ranked.len() - 1);
        let sequence = (0..DRAWN).map(|_| ranked[rank(rng.f64() * sum)]).collect();
        Requests::keyed(path, sequence)
    }

    fn keyed(path: &str, sequence: Vec<u32>) -> Requests {
        let mut requests = Requests::one(&format!("{path}{:0DIGITS$}", 0), "");
        requests.keys = Some(("GET ".len() + path.len(), Keys { sequence, next: 0 }));
        requests
    }

    /// The next one's text.
    pub(crate) fn next(&mut self) -> &[u8] {
        if let Some((place, keys)) = &mut self.keys {
            let key = keys.sequence[keys.next];
            keys.next = (keys.next + 1) % keys.sequence.len();
            let mut digits = &mut self.text[*place..*place + DIGITS];
            // It fits: there are fewer than ten million keys.
            let _infallible = write!(digits, "{key:0DIGITS$}");
        }
        &self.text
    }
}

/// The keys, the most popular first. Which they are has nothing to do with the order in which they are stored.
fn shuffled(keys: u32) -> Vec<u32> {
    let mut all: Vec<u32> = (0..keys).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut all);
    all
}
