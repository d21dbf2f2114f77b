//! `POST /explain`: what the cache would do with a request, without doing it.

use serde_json::json;

use super::Answer;
use crate::edge::Edge;
use crate::proxy::explain::{self, Question};

/// Reads `body`, and tells.
pub(super) fn answer(edge: &Edge, body: &[u8]) -> Answer {
    let refuse = |sentence: String| Answer::json(400, &json!({ "errors": [sentence] }));
    let question: Question = match serde_json::from_slice(body) {
        Ok(question) => question,
        Err(e) => return refuse(format!("the body is not such as {{\"url\": \"http://shop.example/a\"}}: {e}")),
    };
    match explain::explain(edge, &question) {
        // Plain numbers and text: there is nothing in it that JSON cannot hold.
        Ok(told) => Answer::json(200, &serde_json::to_value(told).unwrap_or_default()),
        Err(sentence) => refuse(sentence),
    }
}
