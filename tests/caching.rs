//! What is kept, for whom, for how long, and what happens while it is being fetched.

mod support;

use std::collections::HashSet;

use support::edge::Edge;
use support::{Client, Gate, Headers, Origin, Reply, Request, Response, date_after};

/// Waiters wait for the leader, however busy the machine is.
const PATIENT: &str = "[route.cache]\ncollapse = { wait = \"20s\" }\n";

/// Fetches from `target`, in order: two answers.
async fn twice(edge: &Edge, request: &Request) -> (Response, Response) {
    (edge.fetch(request).await, edge.fetch(request).await)
}

/// `n` clients that have asked for `target`, all known to the edge.
async fn asking(edge: &Edge, n: usize, target: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..n {
        let mut client = edge.client().await;
        client.ask(&Request::get(target)).await;
        clients.push(client);
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    edge.metric_becomes("hedgerow_requests_in_flight", &[], n as f64).await;
    clients
}

#[tokio::test]
async fn a_miss_is_stored_and_the_next_request_is_a_hit() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha").header("X-Own", "kept"));
    let edge = Edge::over(&[&origin], "").await;

    let miss = edge.get("/a").await.expect(200);
    let said = miss.cache_status();
    assert_eq!((said.name.as_str(), said.fwd(), said.is("stored")), ("hedgerow", Some("uri-miss"), true));
    assert!((59..=60).contains(&said.ttl().expect("ttl is told")), "{said:?}");
    assert_eq!((miss.verdict(), said.is("hit")), ("MISS", false));

    let hit = edge.get("/a").await.expect(200);
    let said = hit.cache_status();
    assert_eq!((said.is("hit"), said.fwd(), hit.verdict()), (true, None, "HIT"));
    assert!((50..=60).contains(&said.ttl().expect("ttl is told")), "{said:?}");
    assert!(hit.age().is_some_and(|age| age < 10), "{hit}");
    assert_eq!((hit.text().as_str(), hit.header("X-Own")), ("alpha", Some("kept")));
    assert_eq!(hit.header("Date"), miss.header("Date"), "Date is the origin's");
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn what_must_not_be_shared_or_kept_is_not() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("/silent", &[]),
        ("/no-store", &[("Cache-Control", "no-store, max-age=60")]),
        ("/private", &[("Cache-Control", "private, max-age=60")]),
        ("/zero", &[("Cache-Control", "max-age=0")]),
        ("/s-maxage-zero", &[("Cache-Control", "max-age=60, s-maxage=0")]),
        ("/expired", &[("Expires", "Thu, 01 Dec 1994 16:00:00 GMT")]),
        ("/expires-0", &[("Expires", "0")]),
        ("/cookie", &[("Cache-Control", "max-age=60"), ("Set-Cookie", "session=1")]),
        ("/vary-star", &[("Cache-Control", "max-age=60"), ("Vary", "*")]),
        ("/vary-star-too", &[("Cache-Control", "max-age=60"), ("Vary", "Accept, *")]),
    ];
    for (path, fields) in cases {
        let fields: Vec<(String, String)> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        origin.on_nth(path, move |n, _| {
            fields.iter().fold(Reply::ok(format!("answer {n}")), |reply, (name, value)| reply.header(name, value))
        });
        let (one, two) = twice(&edge, &Request::get(path)).await;
        assert_eq!((one.text().as_str(), two.text().as_str()), ("answer 1", "answer 2"), "{path}");
        assert!(!two.cache_status().is("hit") && two.verdict() != "HIT", "{path}: {two}");
        assert!(!two.cache_status().is("stored"), "{path}: {two}");
    }
}

#[tokio::test]
async fn freshness_may_be_told_in_several_ways() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    let later = date_after(60);
    for (path, field, value, ttl) in [
        ("/s-maxage", "Cache-Control", "max-age=0, s-maxage=60", 60),
        ("/quoted", "Cache-Control", "Max-Age=\"60\"", 60),
        ("/expires", "Expires", later.as_str(), 60),
        ("/immutable", "Cache-Control", "max-age=60, immutable", 60),
    ] {
        origin.on(path, Reply::ok("alpha").header(field, value));
        let (miss, hit) = twice(&edge, &Request::get(path)).await;
        assert_eq!((miss.verdict(), hit.verdict()), ("MISS", "HIT"), "{path}");
        let told = hit.cache_status().ttl().expect("ttl is told");
        assert!((ttl - 10..=ttl).contains(&told), "{path}: {told}");
    }
}

#[tokio::test]
async fn age_earned_before_us_counts() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(100, "alpha").header("Age", "40"));
    origin.on("/b", Reply::fresh(100, "beta").header("Date", &date_after(-30)));
    let edge = Edge::over(&[&origin], "").await;
    for (path, age) in [("/a", 40), ("/b", 30)] {
        let (_, hit) = twice(&edge, &Request::get(path)).await;
        let (ttl, told) = (hit.cache_status().ttl().expect("ttl"), hit.age().expect("Age"));
        assert!((age..age + 10).contains(&told) && hit.verdict() == "HIT", "{hit}");
        assert!((90 - told as i64..=100 - told as i64 + 1).contains(&ttl), "{hit}");
        assert_eq!(hit.headers.all("Age").len(), 1);
    }
}

#[tokio::test]
async fn a_routes_ttl_holds_where_the_origin_is_silent_and_only_there() {
    let origin = Origin::start().await;
    origin
        .on("/ok", Reply::ok("ok"))
        .on("/missing", Reply::new(404).body("missing"))
        .on("/gone", Reply::new(410).body("gone"))
        .on("/broken", Reply::new(500).body("broken"))
        .on("/said", Reply::ok("said").header("Cache-Control", "max-age=0"))
        .on("/private", Reply::ok("private").header("Cache-Control", "private"));
    let ttl = "[route.cache]\nttl = { default = \"0s\", 200 = \"60s\", 404 = \"30s\", 5xx = \"0s\" }\n";
    let edge = Edge::over(&[&origin], ttl).await;
    for (path, second) in [
        ("/ok", "HIT"),
        ("/missing", "HIT"),
        ("/gone", "MISS"),
        ("/broken", "MISS"),
        ("/said", ""),
        ("/private", "MISS"),
    ] {
        let (one, two) = twice(&edge, &Request::get(path)).await;
        assert_eq!(one.verdict(), "MISS", "{path}");
        assert!(two.verdict() == second || (second.is_empty() && two.verdict() != "HIT"), "{path}: {two}");
    }
    let ttl = edge.get("/missing").await.cache_status().ttl().expect("ttl");
    assert!((20..=30).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn nobody_gets_anothers_cookie() {
    let origin = Origin::start().await;
    origin.on_nth("/login", |n, _| Reply::fresh(60, "hello").header("Set-Cookie", &format!("session={n}")));
    let edge = Edge::over(&[&origin], "").await;
    let (one, two) = twice(&edge, &Request::get("/login")).await;
    assert_eq!((one.header("Set-Cookie"), two.header("Set-Cookie")), (Some("session=1"), Some("session=2")));
}

#[tokio::test]
async fn an_answer_to_credentials_is_shared_only_if_it_says_so() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    for (path, control, shared) in [
        ("/plain", "max-age=60", false),
        ("/public", "public, max-age=60", true),
        ("/s-maxage", "s-maxage=60", true),
        ("/must", "max-age=60, must-revalidate", true),
    ] {
        origin.on_nth(path, move |n, seen| {
            let who = seen.header("Authorization").unwrap_or("nobody");
            Reply::ok(format!("{who} {n}")).header("Cache-Control", control)
        });
        edge.fetch(&Request::get(path).header("Authorization", "Basic me")).await.expect(200);
        let next = edge.get(path).await.expect(200);
        let (verdict, body) = if shared { ("HIT", "Basic me 1") } else { ("MISS", "nobody 2") };
        assert_eq!((next.verdict(), next.text().as_str()), (verdict, body), "{path}");
    }
}

#[tokio::test]
async fn variants_are_kept_apart_by_vary() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| {
        Reply::fresh(60, seen.header("Accept-Language").unwrap_or("none")).header("Vary", "Accept-Language")
    });
    let edge = Edge::over(&[&origin], "").await;
    let asks = |language: &str| Request::get("/a").header("Accept-Language", language);
    assert_eq!(edge.fetch(&asks("en")).await.expect(200).cache_status().fwd(), Some("uri-miss"));
    let other = edge.fetch(&asks("de")).await.expect(200);
    assert_eq!((other.text().as_str(), other.cache_status().fwd()), ("de", Some("vary-miss")));
    for language in ["en", "de", "en"] {
        let hit = edge.fetch(&asks(language)).await.expect(200);
        assert_eq!((hit.verdict(), hit.text().as_str()), ("HIT", language));
    }
    let none = edge.get("/a").await.expect(200);
    assert_eq!((none.verdict(), none.text().as_str()), ("MISS", "none"));
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test]
async fn spellings_of_accept_encoding_share_a_variant_when_normalised() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha").header("Vary", "Accept-Encoding"));
    let edge = Edge::over(&[&origin], "[route.cache]\nvary = { accept_encoding = \"normalise\" }").await;
    let asks = |encodings: &str| Request::get("/a").header("Accept-Encoding", encodings);
    assert_eq!(edge.fetch(&asks("gzip, br")).await.verdict(), "MISS");
    assert_eq!(edge.fetch(&asks("br,gzip")).await.verdict(), "HIT");
    assert_eq!(edge.fetch(&asks("gzip, deflate, br")).await.verdict(), "HIT");
    assert_eq!(edge.fetch(&asks("identity")).await.verdict(), "MISS");
}

#[tokio::test]
async fn dropped_and_sorted_query_parameters_are_so_for_key_and_backend_alike() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::fresh(60, &seen.target));
    let key = "[route.cache]\nkey = { query = { drop = [\"utm_*\", \"gclid\"], sort = true } }\n";
    let edge = Edge::over(&[&origin], key).await;

    let miss = edge.get("/a?b=2&utm_source=x&a=1&b=1").await.expect(200);
    assert_eq!((miss.verdict(), miss.text().as_str()), ("MISS", "/a?a=1&b=2&b=1"));
    for same in ["/a?a=1&b=2&b=1", "/a?b=2&gclid=1&b=1&a=1", "/a?utm_a&b=2&b=1&utm_b=&a=1"] {
        assert_eq!(edge.get(same).await.verdict(), "HIT", "{same}");
    }
    assert_eq!(edge.get("/a?a=1&b=1&b=2").await.verdict(), "MISS", "the order of equal names may matter");
    assert_eq!(edge.get("/bare?utm_source=x").await.text(), "/bare");
    assert_eq!(edge.get("/bare").await.verdict(), "HIT");
}

#[tokio::test]
async fn without_such_rules_every_query_is_a_thing_of_its_own() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::fresh(60, &seen.target));
    let edge = Edge::over(&[&origin], "").await;
    for target in ["/a", "/a?", "/a?x=1&y=2", "/a?y=2&x=1", "/a?X=1&y=2", "/A"] {
        let answer = edge.get(target).await.expect(200);
        assert_eq!((answer.verdict(), answer.text().as_str()), ("MISS", target));
    }
}

#[tokio::test]
async fn hosts_and_targets_that_run_together_do_not_share_a_key() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::fresh(60, format!("{} {}", seen.header("Host").unwrap_or(""), seen.target)));
    let edge = Edge::over(&[&origin], "").await;
    for (host, target) in
        [("a.test", "/x"), ("b.test", "/x"), ("a.test", "/x%3Fy"), ("a.test", "/x?y"), ("a.tes", "/t/x")]
    {
        let answer = edge.fetch(&Request::get(target).host(host)).await.expect(200);
        assert_eq!((answer.verdict(), answer.text()), ("MISS", format!("{host} {target}")));
    }
    assert_eq!(edge.fetch(&Request::get("/x").host("A.test")).await.verdict(), "HIT");
}

#[tokio::test]
async fn paths_that_mean_the_same_share_a_key() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::fresh(60, &seen.target));
    let edge = Edge::over(&[&origin], "").await;
    assert_eq!(edge.get("/a/~b").await.verdict(), "MISS");
    for same in ["/a/%7eb", "/a/./~b", "/x/../a/%7Eb"] {
        assert_eq!(edge.get(same).await.verdict(), "HIT", "{same}");
    }
}

#[tokio::test]
async fn many_clients_make_one_fetch_and_all_read_while_it_comes() {
    let (origin, head, middle) = (Origin::start().await, Gate::new(), Gate::new());
    let reply = Reply::new(200).header("Cache-Control", "max-age=60").held_by(&head).chunk("first,").gate(&middle);
    origin.on("/a", reply.chunk("second"));
    let edge = Edge::over(&[&origin], PATIENT).await;

    let mut clients = asking(&edge, 12, "/a").await;
    head.arrived(1).await;
    head.open();
    let mut heads = Vec::new();
    for client in &mut clients {
        heads.push(client.head().await);
        client.exactly("first,").await;
    }
    let mut late = edge.client().await;
    late.ask(&Request::get("/a")).await;
    assert_eq!(late.head().await.status, 200);
    late.exactly("first,").await;

    middle.open();
    for client in clients.iter_mut().chain([&mut late]) {
        assert_eq!(client.rest().await, (b"second".to_vec(), true));
    }
    assert_eq!(origin.count("/a"), 1);
    let leaders = heads.iter().filter(|head| head.verdict() == "MISS").count();
    let followers = heads.iter().filter(|head| head.cache_status().is("collapsed") && head.verdict() == "HIT").count();
    assert_eq!((leaders, followers), (1, 11), "{heads:#?}");
    let hit = edge.get("/a").await.expect(200);
    assert_eq!((hit.verdict(), hit.text().as_str()), ("HIT", "first,second"));
}

#[tokio::test]
async fn readers_of_a_fill_do_not_depend_on_who_asked_first() {
    let (origin, head, middle) = (Origin::start().await, Gate::new(), Gate::new());
    let reply = Reply::new(200).header("Cache-Control", "max-age=60").held_by(&head).chunk("first,").gate(&middle);
    origin.on("/a", reply.chunk("second"));
    let edge = Edge::over(&[&origin], PATIENT).await;
    let mut leader = edge.client().await;
    leader.ask(&Request::get("/a")).await;
    head.arrived(1).await;
    let mut follower = edge.client().await;
    follower.ask(&Request::get("/a")).await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 2.0).await;
    head.open();
    leader.head().await;
    leader.exactly("first,").await;
    follower.head().await;
    follower.exactly("first,").await;
    leader.abort();
    middle.open();
    assert_eq!(follower.rest().await, (b"second".to_vec(), true));
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_truncated_fill_is_whole_for_nobody_and_is_not_stored() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], PATIENT).await;
    for (path, broken) in [("/chunked", Reply::new(200).chunk("hal")), ("/length", Reply::ok("hal").declares(4))] {
        let (head, middle) = (Gate::new(), Gate::new());
        let broken = broken.header("Cache-Control", "max-age=60").held_by(&head).gate(&middle).cut();
        origin.on_each(path, [broken, Reply::fresh(60, "whole")]);
        let mut clients = asking(&edge, 3, path).await;
        head.arrived(1).await;
        head.open();
        for client in &mut clients {
            client.head().await;
            client.exactly("hal").await;
        }
        middle.open();
        for client in &mut clients {
            assert_eq!(client.rest().await, (Vec::new(), false), "{path}");
        }
        let next = edge.get(path).await.expect(200);
        assert_eq!((next.verdict(), next.text().as_str()), ("MISS", "whole"), "{path}");
        assert_eq!(edge.get(path).await.verdict(), "HIT");
    }
}

#[tokio::test]
async fn an_answer_for_one_releases_those_who_waited_for_it_all_at_once() {
    let (origin, first, others) = (Origin::start().await, Gate::new(), Gate::new());
    let gates = (first.clone(), others.clone());
    origin.on_nth("/a", move |n, _| {
        let reply = Reply::fresh(60, format!("answer {n}")).header("Set-Cookie", &format!("session={n}"));
        reply.held_by(if n == 1 { &gates.0 } else { &gates.1 })
    });
    let edge = Edge::over(&[&origin], PATIENT).await;
    let mut clients = asking(&edge, 6, "/a").await;
    first.arrived(1).await;
    first.open();
    // One after another they would never be five at the gate.
    others.arrived(5).await;
    others.open();
    let (mut bodies, mut cookies) = (HashSet::new(), HashSet::new());
    for client in &mut clients {
        let answer = client.answer().await.expect(200);
        bodies.insert(answer.text());
        cookies.insert(answer.header("Set-Cookie").expect("each has its own").to_owned());
    }
    assert_eq!((bodies.len(), cookies.len(), origin.count("/a")), (6, 6, 6));
}

#[tokio::test]
async fn a_failed_fetch_does_not_fail_everyone_who_waited() {
    let (origin, first) = (Origin::start().await, Gate::new());
    origin.on_each("/a", [Reply::new(500).held_by(&first), Reply::fresh(60, "well")]);
    let edge = Edge::over(&[&origin], &format!("{PATIENT}[pool.tail]\nretry = {{ attempts = 0 }}\n")).await;
    let mut clients = asking(&edge, 4, "/a").await;
    first.arrived(1).await;
    first.open();
    let mut statuses = Vec::new();
    for client in &mut clients {
        statuses.push(client.answer().await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 500]);
}

#[tokio::test]
async fn who_has_waited_long_enough_fetches_alone() {
    let (origin, first) = (Origin::start().await, Gate::new());
    origin.on_each("/a", [Reply::fresh(60, "slow").held_by(&first), Reply::fresh(60, "quick")]);
    let edge = Edge::over(&[&origin], "[route.cache]\ncollapse = { wait = \"150ms\" }\n").await;
    let mut leader = edge.client().await;
    leader.ask(&Request::get("/a")).await;
    first.arrived(1).await;
    let impatient = edge.get("/a").await.expect(200);
    assert_eq!(impatient.text(), "quick");
    first.open();
    assert_eq!(leader.answer().await.expect(200).text(), "slow");
}

#[tokio::test]
async fn what_is_too_large_streams_unharmed_and_is_not_stored() {
    let origin = Origin::start().await;
    let large: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
    let chunked = large.chunks(4_000).fold(Reply::new(200), |reply, chunk| reply.chunk(chunk));
    origin
        .on("/known", Reply::fresh(60, &large))
        .on("/unknown", chunked.header("Cache-Control", "max-age=60"))
        .on("/small", Reply::fresh(60, "small"));
    let edge = Edge::over(&[&origin], "[cache]\nmax_object = \"16KiB\"\n").await;
    for path in ["/known", "/unknown"] {
        for _ in 0..2 {
            let answer = edge.get(path).await.expect(200);
            assert!(answer.body == large, "{path}: {} of {} bytes", answer.body.len(), large.len());
            assert_ne!(answer.verdict(), "HIT", "{path}");
        }
        assert_eq!(origin.count(path), 2, "{path}");
    }
    let (_, hit) = twice(&edge, &Request::get("/small")).await;
    assert_eq!(hit.verdict(), "HIT");
}

#[tokio::test]
async fn readers_of_a_fill_that_turns_out_too_large_get_all_of_it() {
    let (origin, head, middle) = (Origin::start().await, Gate::new(), Gate::new());
    let (first, second) = ("a".repeat(8 << 10), "b".repeat(32 << 10));
    let reply = Reply::new(200).header("Cache-Control", "max-age=60").held_by(&head).chunk(&first).gate(&middle);
    origin.on("/a", reply.chunk(&second));
    let edge = Edge::over(&[&origin], &format!("{PATIENT}[cache]\nmax_object = \"16KiB\"\n")).await;
    let mut clients = asking(&edge, 3, "/a").await;
    head.arrived(1).await;
    head.open();
    for client in &mut clients {
        client.head().await;
        client.exactly(&first).await;
    }
    middle.open();
    for client in &mut clients {
        let (rest, whole) = client.rest().await;
        assert!(whole && rest == second.as_bytes(), "{} of {} bytes, whole: {whole}", rest.len(), second.len());
    }
}

#[tokio::test]
async fn memory_is_bounded() {
    let origin = Origin::start().await;
    let body = "x".repeat(50_000);
    origin.otherwise(move |_| Reply::fresh(600, &body));
    let edge = Edge::over(&[&origin], "[cache]\nmemory = \"2MiB\"\n").await;
    let mut client = edge.client().await;
    for n in 0..120 {
        client.get(&format!("/{n}")).await.expect(200);
    }
    edge.metric_becomes("hedgerow_cache_capacity_bytes", &[], f64::from(2 << 20)).await;
    support::eventually("the store is within its bound", || async {
        let (bytes, objects) =
            (edge.metric("hedgerow_cache_bytes", &[]).await, edge.metric("hedgerow_cache_objects", &[]).await);
        (bytes > 0.0 && bytes <= f64::from(2 << 20) && objects > 0.0).then_some(())
    })
    .await;
    let kept = {
        let mut kept = 0;
        for n in 0..120 {
            kept += usize::from(client.get(&format!("/{n}")).await.expect(200).verdict() == "HIT");
        }
        kept
    };
    assert!(kept < 60, "{kept} objects of 50 kB in 2 MiB");
}

#[tokio::test]
async fn a_stale_copy_is_confirmed_with_its_validators() {
    let origin = Origin::start().await;
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    origin.on_nth("/a", move |n, seen| match seen.header("If-None-Match") {
        Some("\"v1\"") => Reply::new(304)
            .header("ETag", "\"v1\"")
            .header("Cache-Control", "max-age=60")
            .header("X-Nth", &n.to_string()),
        _ => Reply::fresh(1, "alpha")
            .header("ETag", "\"v1\"")
            .header("Last-Modified", modified)
            .header("X-Nth", &n.to_string()),
    });
    let edge = Edge::over(&[&origin], "").await;
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "MISS");

    let confirmed = edge.first_after_hits("/a").await.expect(200);
    assert_eq!((confirmed.verdict(), confirmed.text().as_str()), ("REVALIDATED", "alpha"));
    let said = confirmed.cache_status();
    assert_eq!((said.fwd(), said.param("fwd-status"), said.is("hit")), (Some("stale"), Some("304"), false));
    assert_eq!(confirmed.headers.all("X-Nth"), ["2"], "a 304 updates what is stored");

    let asked = &origin.seen("/a")[1];
    assert_eq!((asked.header("If-None-Match"), asked.header("If-Modified-Since")), (Some("\"v1\""), Some(modified)));
    let hit = edge.get("/a").await.expect(200);
    assert_eq!((hit.verdict(), hit.text().as_str(), hit.header("X-Nth")), ("HIT", "alpha", Some("2")));
    assert!(hit.cache_status().ttl().is_some_and(|ttl| ttl > 50), "{hit}");
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_stale_copy_is_replaced_when_the_origin_has_a_new_one() {
    let origin = Origin::start().await;
    origin.on_each(
        "/a",
        [Reply::fresh(1, "old").header("ETag", "\"v1\""), Reply::fresh(60, "new").header("ETag", "\"v2\"")],
    );
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let replaced = edge.first_after_hits("/a").await.expect(200);
    assert_eq!((replaced.verdict(), replaced.text().as_str()), ("EXPIRED", "new"));
    let said = replaced.cache_status();
    assert_eq!((said.fwd(), said.is("stored")), (Some("stale"), true));
    assert_eq!(edge.get("/a").await.expect(200).text(), "new");
}

#[tokio::test]
async fn a_client_with_the_same_copy_is_told_304_from_memory() {
    let origin = Origin::start().await;
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    let earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
    origin.on("/a", Reply::fresh(60, "alpha").header("ETag", "\"v1\"").header("Last-Modified", modified));
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    for (name, value, status) in [
        ("If-None-Match", "\"v1\"", 304),
        ("If-None-Match", "W/\"v1\"", 304),
        ("If-None-Match", "\"v0\", \"v1\"", 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"v2\"", 200),
        ("If-Modified-Since", modified, 304),
        ("If-Modified-Since", earlier, 200),
        ("If-Modified-Since", "yesterday", 200),
    ] {
        let mut client = edge.client().await;
        let answer = client.request(&Request::get("/a").header(name, value)).await.expect(status);
        assert_eq!(answer.verdict(), "HIT", "{name}: {value}");
        if status == 304 {
            assert_eq!((answer.header("ETag"), answer.header("Cache-Control")), (Some("\"v1\""), Some("max-age=60")));
            assert_eq!(answer.header("Content-Length").unwrap_or("5"), "5");
        }
        assert_eq!(client.get("/a").await.expect(200).text(), "alpha", "the connection goes on");
    }
    let both = Request::get("/a").header("If-None-Match", "\"v2\"").header("If-Modified-Since", modified);
    edge.fetch(&both).await.expect(200);
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_clients_condition_on_a_miss_does_not_cost_the_cache_its_copy() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha").etag("\"v1\""));
    let edge = Edge::over(&[&origin], "").await;
    let answer = edge.fetch(&Request::get("/a").header("If-None-Match", "\"v1\"")).await;
    assert!(matches!(answer.status, 304 | 200), "{answer}");
    let next = edge.get("/a").await.expect(200);
    assert_eq!(next.text(), "alpha");
}

#[tokio::test]
async fn ranges_of_a_stored_answer_are_served_from_memory() {
    let origin = Origin::start().await;
    let control = "max-age=60";
    origin.on("/length", Reply::ok("0123456789").header("Cache-Control", control).header("ETag", "\"v1\"")).on(
        "/chunked",
        Reply::new(200).header("Cache-Control", control).header("ETag", "\"v1\"").chunk("01234").chunk("56789"),
    );
    let edge = Edge::over(&[&origin], "").await;
    for path in ["/length", "/chunked"] {
        edge.get(path).await.expect(200);
        for (range, content_range, body) in [
            ("bytes=2-4", "bytes 2-4/10", "234"),
            ("bytes=0-0", "bytes 0-0/10", "0"),
            ("bytes=7-", "bytes 7-9/10", "789"),
            ("bytes=-2", "bytes 8-9/10", "89"),
            ("bytes=8-99", "bytes 8-9/10", "89"),
        ] {
            let part = edge.fetch(&Request::get(path).header("Range", range)).await.expect(206);
            assert_eq!(
                (part.header("Content-Range"), part.text().as_str()),
                (Some(content_range), body),
                "{path} {range}"
            );
            assert_eq!((part.verdict(), part.header("ETag")), ("HIT", Some("\"v1\"")));
        }
        let beyond = edge.fetch(&Request::get(path).header("Range", "bytes=10-")).await.expect(416);
        assert_eq!(beyond.header("Content-Range"), Some("bytes */10"));
        for (if_range, status) in [("\"v1\"", 206), ("\"v0\"", 200), ("W/\"v1\"", 200)] {
            let request = Request::get(path).header("Range", "bytes=2-4").header("If-Range", if_range);
            edge.fetch(&request).await.expect(status);
        }
        edge.fetch(&Request::get(path).header("Range", "lines=1-2")).await.expect(200);
        let hit = edge.get(path).await.expect(200);
        assert_eq!((hit.verdict(), hit.text().as_str()), ("HIT", "0123456789"));
        assert_eq!(origin.count(path), 1, "{path}");
    }
}

#[tokio::test]
async fn a_range_asked_for_first_never_stands_in_for_the_whole() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| match seen.header("Range") {
        Some(_) => {
            Reply::new(206).header("Content-Range", "bytes 2-4/10").header("Cache-Control", "max-age=60").body("234")
        }
        None => Reply::fresh(60, "0123456789"),
    });
    let edge = Edge::over(&[&origin], "").await;
    let part = edge.fetch(&Request::get("/a").header("Range", "bytes=2-4")).await.expect(206);
    assert_eq!((part.header("Content-Range"), part.text().as_str()), (Some("bytes 2-4/10"), "234"));
    assert_eq!(edge.get("/a").await.expect(200).text(), "0123456789");
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha")).on("/b", Reply::fresh(60, "beta"));
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let head = edge.fetch(&Request::head("/a")).await.expect(200);
    assert_eq!((head.verdict(), head.header("Content-Length"), head.body.len()), ("HIT", Some("5"), 0));
    assert_eq!(origin.count("/a"), 1);

    let head = edge.fetch(&Request::head("/b")).await.expect(200);
    assert_eq!((head.header("Content-Length"), head.body.len()), (Some("4"), 0));
    assert_eq!(edge.get("/b").await.expect(200).text(), "beta");
}

#[tokio::test]
async fn other_methods_neither_read_nor_write_the_cache() {
    let origin = Origin::start().await;
    origin.on_nth("/a", |n, seen| Reply::fresh(60, format!("{} {n}", seen.method)));
    let edge = Edge::over(&[&origin], "").await;
    let post = edge.fetch(&Request::post("/a", "x")).await.expect(200);
    assert_eq!((post.cache_status().fwd(), post.verdict(), post.text().as_str()), (Some("method"), "BYPASS", "POST 1"));
    assert_eq!(edge.get("/a").await.expect(200).text(), "GET 2");
    assert_eq!(edge.fetch(&Request::post("/a", "x")).await.expect(200).text(), "POST 3");
}

#[tokio::test]
async fn a_get_with_a_body_cannot_choose_what_others_get() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| Reply::fresh(60, format!("said {:?}", seen.text())));
    let edge = Edge::over(&[&origin], "").await;
    edge.fetch(&Request::get("/a").body("evil")).await.expect(200);
    assert_eq!(edge.get("/a").await.expect(200).text(), "said \"\"");
}

#[tokio::test]
async fn a_route_without_cache_says_so() {
    let origin = Origin::start().await;
    origin.on_nth("/a", |n, _| Reply::fresh(60, n.to_string()));
    let edge = Edge::over(&[&origin], "[route.cache]\nenabled = false\n").await;
    let (one, two) = twice(&edge, &Request::get("/a")).await;
    assert_eq!((one.text().as_str(), two.text().as_str()), ("1", "2"));
    assert_eq!((two.cache_status().fwd(), two.verdict()), (Some("bypass"), "BYPASS"));
}

#[tokio::test]
async fn a_stale_copy_is_served_at_once_while_it_is_refreshed_once() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let control = "max-age=1, stale-while-revalidate=60";
    let held = Reply::fresh(60, "new").held_by(&gate);
    origin.on_each("/a", [Reply::ok("old").header("Cache-Control", control), held]);
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);

    let stale = edge.first_after_hits("/a").await.expect(200);
    assert_eq!((stale.verdict(), stale.text().as_str()), ("UPDATING", "old"));
    assert!(stale.cache_status().ttl().is_some_and(|ttl| ttl <= 0), "{stale}");
    gate.arrived(1).await;
    for _ in 0..5 {
        let stale = edge.get("/a").await.expect(200);
        assert_eq!((stale.verdict(), stale.text().as_str()), ("UPDATING", "old"));
    }
    assert_eq!(origin.count("/a"), 2, "one refresh at a time");
    gate.open();
    support::eventually("the refresh is stored", || async {
        let answer = edge.get("/a").await.expect(200);
        (answer.verdict() == "HIT" && answer.text() == "new").then_some(())
    })
    .await;
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_refresh_does_not_hold_the_connection_that_caused_it() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let control = "max-age=1, stale-while-revalidate=60";
    origin.on_each("/a", [Reply::ok("old").header("Cache-Control", control), Reply::fresh(60, "new").held_by(&gate)]);
    origin.on("/b", Reply::ok("beta"));
    let edge = Edge::over(&[&origin], "[server.limits]\nrequests_per_connection = 1000000\n").await;
    edge.get("/a").await.expect(200);
    let mut client = edge.client().await;
    while client.get("/a").await.expect(200).verdict() != "UPDATING" {}
    gate.arrived(1).await;
    assert_eq!(client.get("/b").await.expect(200).text(), "beta");
    gate.open();
}

#[tokio::test]
async fn a_route_can_allow_stale_copies_where_the_origin_is_silent() {
    let origin = Origin::start().await;
    origin.on_each("/a", [Reply::fresh(1, "old"), Reply::fresh(60, "new")]);
    let edge = Edge::over(&[&origin], "[route.cache]\nstale = { while_revalidate = \"60s\" }\n").await;
    edge.get("/a").await.expect(200);
    let stale = edge.first_after_hits("/a").await.expect(200);
    assert_eq!((stale.verdict(), stale.text().as_str()), ("UPDATING", "old"));
}

#[tokio::test]
async fn a_stale_copy_stands_in_for_an_error_when_that_is_allowed() {
    let origin = Origin::start().await;
    let control = "max-age=1, stale-if-error=60";
    for path in ["/a", "/b"] {
        origin.on_each(path, [Reply::ok("old").header("Cache-Control", control), Reply::new(503).body("down")]);
    }
    let edge = Edge::over(&[&origin], "").await;
    for path in ["/a", "/b"] {
        edge.get(path).await.expect(200);
    }
    let stale = edge.first_after_hits("/a").await.expect(200);
    assert_eq!((stale.verdict(), stale.text().as_str()), ("STALE", "old"));
    assert!(stale.cache_status().ttl().is_some_and(|ttl| ttl <= 0), "{stale}");
    origin.kill().await;
    let stale = edge.first_after_hits("/b").await.expect(200);
    assert_eq!((stale.verdict(), stale.text().as_str()), ("STALE", "old"));
}

#[tokio::test]
async fn a_stale_copy_for_a_broken_exchange_does_not_promise_a_kept_connection() {
    let origin = Origin::start().await;
    let control = "max-age=1, stale-if-error=60";
    let failures = [("/cut", Reply::hang_up(), true), ("/503", Reply::new(503), false)];
    for (path, failure, _) in &failures {
        origin.on_each(path, [Reply::ok("old").header("Cache-Control", control), failure.clone()]);
    }
    origin.on("/after", Reply::ok("after"));
    let edge =
        Edge::over(&[&origin], "[pool.tail]\nretry = { attempts = 0 }\n[pool.ejection]\nconsecutive = 0\n").await;
    for (path, _, closes) in failures {
        edge.get(path).await.expect(200);
        edge.first_after_hits(path).await.expect(200);
        let mut client = edge.client().await;
        let answer = client.get(path).await.expect(200);
        assert_eq!((answer.verdict(), answer.text().as_str()), ("STALE", "old"));
        assert_eq!(answer.header("Connection") == Some("close"), closes, "{answer}");
        if closes {
            assert_eq!(client.closed().await, b"");
        } else {
            assert_eq!(client.get("/after").await.expect(200).text(), "after");
        }
    }
}

#[tokio::test]
async fn a_stale_copy_does_not_stand_in_when_that_is_not_allowed() {
    let origin = Origin::start().await;
    for (path, control) in [
        ("/plain", "max-age=1"),
        ("/must", "max-age=1, must-revalidate, stale-if-error=60, stale-while-revalidate=60"),
        ("/proxy", "max-age=1, proxy-revalidate, stale-if-error=60"),
    ] {
        origin.on_each(path, [Reply::ok("old").header("Cache-Control", control), Reply::new(503).body("down")]);
    }
    let edge = Edge::over(&[&origin], "[pool.ejection]\nconsecutive = 0\n").await;
    for path in ["/plain", "/must", "/proxy"] {
        edge.get(path).await.expect(200);
        let answer = edge.first_after_hits(path).await;
        assert!(matches!(answer.status, 503 | 504) && answer.text() != "old", "{path}: {answer}");
    }
}

#[tokio::test]
async fn every_proxied_answer_says_what_the_cache_did() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha")).on("/none", Reply::new(204)).on("/bad", Reply::new(500));
    let edge = Edge::over(&[&origin], "").await;
    for request in [
        Request::get("/a"),
        Request::get("/a"),
        Request::head("/a"),
        Request::post("/a", ""),
        Request::get("/none"),
        Request::get("/bad"),
        Request::get("/unknown"),
    ] {
        let answer = edge.fetch(&request).await;
        let said = answer.cache_status();
        assert_eq!(said.name, "hedgerow");
        assert!(said.is("hit") != said.fwd().is_some(), "hit and fwd exclude each other: {answer}");
        let words = ["HIT", "MISS", "EXPIRED", "STALE", "UPDATING", "REVALIDATED", "BYPASS"];
        assert!(words.contains(&answer.verdict()), "{answer}");
    }
}

#[tokio::test]
async fn fields_of_one_connection_are_not_stored() {
    let origin = Origin::start().await;
    let reply = Reply::fresh(60, "alpha")
        .header("Connection", "X-Drop")
        .header("X-Drop", "1")
        .header("Keep-Alive", "timeout=5");
    origin.on("/a", reply.header("Proxy-Authenticate", "Basic"));
    let edge = Edge::over(&[&origin], "").await;
    let (miss, hit) = twice(&edge, &Request::get("/a")).await;
    assert_eq!(hit.verdict(), "HIT");
    let dropped =
        |headers: &Headers| ["X-Drop", "Keep-Alive", "Proxy-Authenticate"].iter().all(|n| headers.get(n).is_none());
    assert!(dropped(&miss.headers) && dropped(&hit.headers), "{miss}{hit}");
}

#[tokio::test]
async fn the_caches_name_is_the_operators_to_choose() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha"));
    let edge = Edge::over(&[&origin], "[cache]\nname = \"edge-1\"\n").await;
    assert_eq!(edge.get("/a").await.expect(200).cache_status().name, "edge-1");
}
