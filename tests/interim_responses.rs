//! Responses before the response: passed on in their order, and only to whom they can be told.

mod support;

use support::edge::Edge;
use support::{Origin, Reply, Request};

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    let origin = Origin::start().await;
    origin.on_call("/up", |seen| Reply::ok(&seen.body));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await;
    let go_on = client.interim().await;
    assert_eq!(go_on.status, 100);
    client.send("body").await;
    assert_eq!(client.answer().await.expect(200).text(), "body");
}

#[tokio::test]
async fn an_early_hint_comes_before_the_final_answer() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha").interim(103, "Link: </s.css>; rel=preload\r\n"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    for _ in 0..2 {
        let answer = client.get("/a").await.expect(200);
        let hints: Vec<_> = answer.interim.iter().map(|hint| (hint.status, hint.header("Link"))).collect();
        assert_eq!(hints, [(103, Some("</s.css>; rel=preload"))], "{answer}");
        assert_eq!(answer.text(), "alpha");
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_interim_response() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha").interim(103, "Link: </s.css>; rel=preload\r\n"));
    let edge = Edge::over(&[&origin], "").await;
    let answer = edge.fetch(&Request::get("/a").http10()).await.expect(200);
    assert_eq!((answer.interim.len(), answer.text().as_str()), (0, "alpha"), "RFC 9110 §15.2: {answer}");
}
