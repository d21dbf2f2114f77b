//! Parts of what is stored.

mod support;

use support::edge::Edge;
use support::{Origin, Reply, Request, Response};

async fn part(range: &str) -> Response {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "0123456789"));
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    edge.fetch(&Request::get("/a").header("Range", range)).await
}

#[tokio::test]
async fn a_suffix_of_nothing_cannot_be_satisfied() {
    let answer = part("bytes=-0").await.expect(416);
    assert_eq!((answer.header("Content-Range"), answer.body.len()), (Some("bytes */10"), 0));
}

#[tokio::test]
async fn what_is_no_range_is_answered_with_the_whole() {
    for range in ["bytes=5-2", "lines=1-2", "bytes=x-y"] {
        assert_eq!(part(range).await.expect(200).text(), "0123456789", "{range}");
    }
}

#[tokio::test]
async fn many_ranges_are_answered_with_the_whole() {
    let range = format!("bytes={}", ["0-"; 9].join(","));
    assert_eq!(part(&range).await.expect(200).text(), "0123456789");
}

#[tokio::test]
async fn a_part_is_exact() {
    for (range, wanted, told) in
        [("bytes=2-4", "234", "bytes 2-4/10"), ("bytes=-3", "789", "bytes 7-9/10"), ("bytes=8-", "89", "bytes 8-9/10")]
    {
        let answer = part(range).await.expect(206);
        assert_eq!((answer.text().as_str(), answer.header("Content-Range")), (wanted, Some(told)), "{range}");
    }
}
