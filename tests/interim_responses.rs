//! Responses before the response: passed on in their order, and only to whom they can be told.

mod support;

use support::edge::Edge;
use support::http2::Http2Client;
use support::{Origin, Reply, Request};

const HTTP_2: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h2\"]\n";

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

#[tokio::test]
async fn a_final_answer_is_stored_without_anything_of_the_interim_ones() {
    let origin = Origin::start().await;
    let hint = "Link: </s.css>; rel=preload\r\nX-Early: 1\r\nCache-Control: no-store\r\n";
    origin.on("/hint", Reply::fresh(60, "alpha").interim(103, hint).interim(103, hint));
    origin.on("/wait", Reply::fresh(60, "alpha").interim(102, "").interim(102, ""));
    let edge = Edge::over(&[&origin], "").await;
    for (path, status) in [("/hint", 103), ("/wait", 102)] {
        let mut client = edge.client().await;
        let fetched = client.get(path).await.expect(200);
        let interim: Vec<_> = fetched.interim.iter().map(|response| response.status).collect();
        assert_eq!((interim, fetched.verdict()), (vec![status; 2], "MISS"), "{fetched}");
        let stored = client.get(path).await.expect(200);
        assert_eq!((stored.interim.len(), stored.verdict(), stored.text().as_str()), (0, "HIT", "alpha"), "{stored}");
        for answer in [fetched, stored] {
            assert_eq!((answer.header("X-Early"), answer.header("Link")), (None, None), "{answer}");
            assert_eq!(answer.header("Cache-Control"), Some("max-age=60"), "{answer}");
        }
    }
}

#[tokio::test]
async fn an_interim_response_comes_through_while_the_body_of_a_request_is_sent() {
    let origin = Origin::start().await;
    origin.on("/up", Reply::ok("done").interim(102, ""));
    let edge = Edge::over(&[&origin], "").await;
    let answer = edge.fetch(&Request::post("/up", vec![b'x'; 4 << 20])).await.expect(200);
    let interim: Vec<_> = answer.interim.iter().map(|response| response.status).collect();
    assert_eq!((interim, answer.text().as_str()), (vec![102], "done"), "{answer}");
}

#[tokio::test]
async fn an_interim_response_to_a_validation_comes_before_the_stored_answer() {
    let origin = Origin::start().await;
    let stored = Reply::ok("alpha").header("Cache-Control", "max-age=1").etag("\"v1\"");
    origin.on("/a", stored.interim(103, "Link: </s.css>; rel=preload\r\n"));
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let validated = edge.first_after_hits("/a").await.expect(200);
    assert_eq!((validated.verdict(), validated.text().as_str()), ("REVALIDATED", "alpha"));
    assert_eq!(validated.interim.len(), 1, "{validated}");
}

#[tokio::test]
async fn over_http_2_they_come_before_the_final_answer_as_well() {
    let origin = Origin::start().await;
    let hint = "Link: </s.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n";
    origin.on("/a", Reply::fresh(60, "alpha").interim(102, "").interim(103, hint));
    let edge = Edge::over(&[&origin], HTTP_2).await;
    let client = Http2Client::connect(edge.addr()).await;
    // A miss, a hit, and one that the cache has no part in.
    for (method, verdict, statuses) in
        [("GET", "MISS", &[102, 103][..]), ("GET", "HIT", &[]), ("POST", "", &[102, 103])]
    {
        let request = http::Request::builder().method(method).uri("http://edge.test/a");
        let answer = client.ask(request.body(()).unwrap(), b"", None).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "alpha"), "{answer:?}");
        assert!(verdict.is_empty() || answer.header("x-cache-status") == verdict, "{answer:?}");
        assert_eq!(
            answer.interim.iter().map(|head| head.status().as_u16()).collect::<Vec<_>>(),
            statuses,
            "{answer:?}"
        );
        for hint in answer.interim.iter().filter(|head| head.status() == 103) {
            let link = hint.headers().get("link").map(|link| link.to_str().unwrap());
            assert_eq!((link, hint.headers().get("x-hop")), (Some("</s.css>; rel=preload"), None), "{hint:?}");
        }
    }
}

#[tokio::test]
async fn over_http_2_a_client_is_told_to_go_on() {
    let origin = Origin::start().await;
    origin.on_call("/up", |seen| Reply::ok(&seen.body));
    let edge = Edge::over(&[&origin], HTTP_2).await;
    let client = Http2Client::connect(edge.addr()).await;
    let request = http::Request::post("http://edge.test/up").header("expect", "100-continue").body(()).unwrap();
    let (mut response, mut body) = client.begin(request, false).await;
    let go_on = std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!(go_on.status(), 100);
    body.send_data("body".into(), true).unwrap();
    assert_eq!(support::http2::answer(response).await.text(), "body");
}
