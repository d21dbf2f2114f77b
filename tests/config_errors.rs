//! Every mistake in one run, with its place and what to write instead.

use hedgerow::config::{self, KEYS, Severity};
use proptest::prelude::*;

/// Every problem of a text, one line (and hint) each.
fn report(text: &str) -> String {
    let problems = match config::parse_str("edge.toml", text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    problems.iter().map(|p| format!("{p}\n")).collect()
}

/// A text that is fine but for what a test adds.
fn with(text: &str) -> String {
    format!("[[pool]]\nname = \"web\"\nbackends = [\"127.0.0.1:8001\"]\n{text}")
}

#[test]
fn every_mistake_of_a_file_is_reported_in_one_run() {
    assert_eq!(report(include_str!("config/mistakes.toml")), include_str!("config/mistakes.txt"));
}

#[test]
fn text_that_is_no_toml_does_not_hide_the_mistakes_after_it() {
    assert_eq!(report(include_str!("config/syntax.toml")), include_str!("config/syntax.txt"));
}

#[test]
fn the_golden_report_has_more_than_twenty_errors_on_their_own_lines() {
    let problems = config::parse_str("edge.toml", include_str!("config/mistakes.toml")).unwrap_err();
    let mut lines: Vec<_> = problems.iter().filter(|p| p.severity == Severity::Error).map(|p| p.line).collect();
    lines.dedup();
    assert!(lines.len() > 20, "{}", lines.len());
}

#[test]
fn a_key_that_would_mix_resources_is_refused() {
    let key = |key: &str| report(&with(&format!("[[route]]\n[route.cache.key]\n{key}\n")));
    for (written, expected) in [
        ("template = \"{host}{path}\"", "lacks `{scheme}`"),
        ("template = \"{scheme}{path}\"", "set `key.host`"),
        ("template = \"{scheme}{host}{path}{path}\"", "has `{path}` twice"),
        ("template = \"{scheme}{host}{path}{querry}\"", "did you mean `query`?"),
        ("template = \"{scheme}{host}{path}{header:a b}\"", "is no part of a key"),
        ("template = \"{scheme}{host}{path\"", "without its `}`"),
        ("template = \"{scheme}{host}{path}{device}\"", "needs rules"),
        ("template = \"{scheme}{host}{path}\"\nquery = { sort = true }", "no `{query}`"),
        ("template = \"{scheme}{host}{path}\"\ndevice = [{ class = \"a\", user_agent = \"*\" }]", "no `{device}`"),
        ("device = [{ class = \"a b\", user_agent = \"\" }]", "expected the name of a class"),
        ("host = \"a.example:80\"", "without scheme, port and path"),
        ("query = { keep = [\"a\"], drop = [\"b\"] }", "expected one of the two"),
    ] {
        let report = key(written);
        assert!(report.contains(expected), "{written}\n{report}");
    }
}

#[test]
fn a_secret_is_never_shown() {
    for (written, expected) in [
        ("secret = \"swordfish\"", "expected `header`"),
        ("header = \"X-Debug\"", "expected `secret`"),
        ("header = \"X-Debug\"\nsecret = \"fish\"", "expected \"env:NAME\""),
        ("header = \"X-Debug\"\nsecret = \"env:HEDGEROW_NO_SUCH_VARIABLE\"", "is not set"),
        ("clients = [\"10.0.0.0/40\"]", "expected a network"),
    ] {
        let report = report(&with(&format!("[cache.reveal]\n{written}\n")));
        assert!(report.contains(expected) && !report.contains("fish"), "{written}\n{report}");
    }
}

#[test]
fn what_cannot_be_a_language_or_a_target_is_refused() {
    let languages = report(&with("[[route]]\ncache.vary.accept_language = [\"en_GB\", \"de\"]\n"));
    assert!(languages.contains("expected a language tag"), "{languages}");
    let targets = report(&with("[cache]\ntargets = [\"Cache-Control\", \"a b\"]\n"));
    assert!(targets.contains("go before") && targets.contains("expected the name of a header field"), "{targets}");
}

#[test]
fn an_empty_file_wants_a_pool() {
    let expected = "edge.toml:1:1: no pool, expected at least one `[[pool]]`\n  hint: write `[[pool]]`, `name = \"web\"`, \
                    `backends = [\"127.0.0.1:8000\"]`\n";
    assert_eq!(report(""), expected);
    assert_eq!(report("# nothing\n"), expected);
}

#[test]
fn one_bracket_too_few_is_told() {
    assert_eq!(
        report("[pool]\nname = \"web\"\nbackends = [\"h:1\"]\n"),
        "edge.toml:1:2: pool: expected a list of tables, found a table\n  hint: write `[[pool]]`, with two brackets\n"
    );
}

#[test]
fn two_pools_without_a_route_want_one() {
    assert_eq!(
        report(&with("[[pool]]\nname = \"api\"\nbackends = [\"h:1\"]\n")),
        "edge.toml:1:1: no route, expected at least one `[[route]]` where there is more than one pool\n  \
         hint: write `[[route]]` and `pool = \"api\"`\n"
    );
}

#[test]
fn unused_pools_and_profiles_are_doubtful_but_no_error() {
    let text = with("[[pool]]\nname = \"api\"\nbackends = [\"h:1\"]\n[[route]]\npool = \"web\"\n[profile.slow]\n");
    assert_eq!(
        report(&text),
        "edge.toml:5:8: warning: pool.name: no route uses pool `api`\n\
         edge.toml:9:10: warning: profile.slow: no route uses profile `slow`\n"
    );
    assert!(config::parse_str("edge.toml", &text).is_ok());
}

#[test]
fn a_route_that_other_routes_leave_nothing_of_is_an_error() {
    let routes =
        "[[route]]\nmatch.path = \"/a/**\"\n[[route]]\nmatch.path = \"/a/*\"\n[[route]]\nmatch.path = \"/a/*/**\"\n";
    assert_eq!(
        report(&with(routes)),
        "edge.toml:5:1: route.match: is never reached: other routes match every path, the deepest by the one at \
         edge.toml:8\n"
    );
}

#[test]
fn route_names_are_told_apart_even_when_made_from_the_match() {
    let routes = "[[route]]\nname = \"/a\"\n[[route]]\nmatch.path = \"/a\"\n";
    assert!(report(&with(routes)).starts_with("edge.toml:7:1: route.match: route name `/a` is already taken"));
}

#[test]
fn sockets_that_cannot_stand_side_by_side_are_refused() {
    for (listen, admin, expected) in [
        ("\"0.0.0.0:9090\"", "127.0.0.1:9090", "1:47: server.admin: `127.0.0.1:9090` is the admin address"),
        (
            "\"127.0.0.1:1\", \"127.0.0.1:1\"",
            "off",
            "1:37: server.listen: `127.0.0.1:1` and `127.0.0.1:1` are the same",
        ),
        ("\"127.0.0.1:0\", \"127.0.0.1:0\"", "127.0.0.1:0", ""),
        ("\"127.0.0.1:1\", \"127.0.0.2:1\"", "[::1]:1", ""),
    ] {
        let report = report(&format!("server = {{ listen = [{listen}], admin = \"{admin}\" }}\n{}", with("")));
        let found = report.strip_prefix("edge.toml:").unwrap_or("");
        assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{report}");
    }
}

#[test]
fn certificates_that_are_of_no_use_are_named_with_their_file() {
    let pair = |cert: &str, key: &str| {
        let tls = format!("[listener.tls]\ncertificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]\n");
        report(&with(&format!("[[listener]]\naddress = \"127.0.0.1:1\"\n{tls}")))
    };
    let (shop, key) = ("tests/config/shop.pem", "tests/config/shop.key");
    assert_eq!(pair(shop, key), "");
    assert!(pair("no.pem", key).contains("listener.tls.certificates.cert: no.pem cannot be read: No such file"));
    assert!(pair(key, shop).contains("certificates.cert: tests/config/shop.key holds no certificate (PEM)"));
    assert!(pair(shop, shop).contains("certificates.key: tests/config/shop.pem holds no private key (PEM)"));
}

#[test]
fn listeners_that_cannot_be_meant_so_are_refused() {
    let of = |text: &str| report(&with(&format!("[[listener]]\naddress = \"127.0.0.1:1\"\n{text}")));
    assert!(of("protocols = []").contains("listener.protocols: is empty, expected a list of \"h1\" and \"h2\""));
    assert!(of("protocols = [\"h3\"]").contains("expected \"h1\" or \"h2\", found \"h3\""));
    let both = "redirect_to_https = 443\ntls.certificates = [{ cert = \"tests/config/shop.pem\", key = \"tests/config/shop.key\" }]";
    assert!(of(both).contains("redirect_to_https: the listener has `tls`"));
    assert!(of("tls = {}").contains("listener.tls.certificates: is missing"));
    assert!(of("tls.certificates = []").contains("listener.tls.certificates: is empty"));
    assert!(of("[[listener]]\naddress = \"127.0.0.1:1\"").contains("are the same socket"));
    assert!(report(&with("[[listener]]\nprotocols = [\"h1\"]")).contains("listener.address: is missing"));
    // With a listener of its own the default address is not assumed.
    let text = with("[[listener]]\naddress = \"127.0.0.1:1\"");
    assert_eq!(config::parse_str("t.toml", &text).unwrap().config.server.listen, []);
}

#[test]
fn addresses_are_corrected_where_the_meaning_is_plain() {
    for (listen, instead) in [
        (":8080", "0.0.0.0:8080"),
        ("8080", "0.0.0.0:8080"),
        ("*:8080", "0.0.0.0:8080"),
        ("localhost:81", "127.0.0.1:81"),
        ("10.0.0.1", "10.0.0.1:8080"),
        ("::1", "[::1]:8080"),
    ] {
        let report = report(&with(&format!("[server]\nlisten = [\"{listen}\"]\n")));
        assert!(report.ends_with(&format!("hint: write \"{instead}\"\n")), "{report}");
    }
}

#[test]
fn who_may_purge_is_told_and_no_secret_is() {
    for (purge, part) in [
        ("{}", "lets anybody purge"),
        ("{ soft = true }", "hint: write `allow"),
        ("{ allow = [] }", "nobody may purge"),
        ("{ allow = [\"shop.example\"] }", "expected a network"),
        ("{ token = \"env:NO_SUCH_VARIABLE_HERE\" }", "the environment variable NO_SUCH_VARIABLE_HERE is not set"),
        ("{ token = \"hunter2\" }", "8 to 256 visible ASCII characters"),
        ("{ token = \"hunter2 and more\" }", "8 to 256 visible ASCII characters"),
        ("{ tokens = \"hunter2\", allow = [\"::1\"] }", "did you mean `token`?"),
    ] {
        let report = report(&with(&format!("[[route]]\n[route.cache]\npurge = {purge}\n")));
        assert!(report.contains(part) && !report.contains("hunter2"), "{purge}: {report}");
    }
}

#[test]
fn fields_that_clients_need_are_no_tags() {
    for (tags, part) in [
        ("[\"Vary\"]", "clients need `vary`"),
        ("[\"a b\"]", "expected the name of a response field"),
        ("[\"xkey\", \"XKEY\"]", "there twice"),
        ("\"xkey\"", "expected a list"),
    ] {
        let report = report(&with(&format!("[cache]\ntags = {tags}\n")));
        assert!(report.contains(part), "{tags}: {report}");
    }
}

#[test]
fn limits_and_priorities_are_words_numbers_and_fields() {
    let text = with(
        "max_in_flight = 0\n[pool.tail]\nlimit = \"tight\"\n[[route]]\npriority = \"vital\"\npriority_header = \"X Y\"\n",
    );
    assert_eq!(
        report(&text),
        "edge.toml:4:17: pool.max_in_flight: expected a whole number from 1 to 1000000, found 0\n\
         edge.toml:6:9: pool.tail.limit: expected \"adaptive\", \"off\" or a whole number from 1 to 1000000, found \"tight\"\n\
         edge.toml:8:12: route.priority: expected \"critical\" or \"default\" or \"sheddable\", found \"vital\"\n\
         edge.toml:9:19: route.priority_header: expected the name of a header field such as \"X-Priority\", found \"X Y\"\n"
    );
    let text = with("[[route]]\npriority_header = \"Host\"\n");
    assert_eq!(
        report(&text),
        "edge.toml:5:19: route.priority_header: requests need `host`, and from clients that are not trusted the field is removed\n"
    );
}

#[test]
fn hedging_that_cannot_happen_is_doubtful_where_it_is_written() {
    let pool = |backends: &str, tail: &str| {
        report(&format!("[[pool]]\nname = \"web\"\nbackends = [{backends}]\n[pool.tail]\n{tail}\n"))
    };
    let (one, two, name) = ("\"10.0.0.1:80\"", "\"10.0.0.1:80\", \"10.0.0.2:80\"", "\"app.internal:80\"");
    let alone = "edge.toml:5:1: warning: pool.tail.hedge: has no effect, since a copy goes to another backend and the \
                 pool has one\n";
    let dear = "edge.toml:5:20: warning: pool.tail.hedge.budget: is more than `retry.budget`, which hedges are paid \
                from as well\n";
    for (backends, tail, said) in [
        (one, "hedge = { quantile = 0.99 }", alone),
        (one, "hedge = {}", alone),
        (one, "", ""),
        (one, "hedge = \"off\"", ""),
        (one, "hedge = { budget = \"0%\" }", ""),
        (name, "hedge = { quantile = 0.99 }", ""),
        (two, "hedge = { quantile = 0.99 }", ""),
        (two, "hedge = { budget = \"30%\" }", dear),
        (two, "hedge = { budget = \"30%\" }\nretry = { budget = \"30%\" }", ""),
        (two, "retry = { budget = \"1%\" }", ""),
    ] {
        assert_eq!(pool(backends, tail), said, "{backends} {tail}");
    }
}

#[test]
fn the_bounds_of_the_tail_are_kept() {
    let pool = "[[pool]]\nname = \"web\"\nbackends = [\"h:1\", \"h:2\"]\n";
    for (key, fits, exceeds) in [
        ("hedge.budget", ["\"0%\"", "\"20%\""], ["\"50.1%\"", "5"]),
        ("hedge.burst", ["\"0%\"", "0.5"], ["\"51%\"", "\"a\""]),
        ("hedge.held_out", ["\"0%\"", "\"50%\""], ["\"51%\"", "1"]),
        ("hedge.in_flight", ["\"0%\"", "\"100%\""], ["1", "true"]),
        ("hedge.quantile", ["0.9", "0.999"], ["0.89", "\"p95\""]),
        ("hedge.min_delay", ["\"0s\"", "\"1m\""], ["2", "\"61s\""]),
        ("hedge.max_delay", ["\"2ms\"", "\"1m\""], ["\"1ms\"", "\"0s\""]),
        ("probation.late", ["\"20%\"", "\"95%\""], ["\"19%\"", "\"96%\""]),
        ("probation.share", ["\"0%\"", "\"50%\""], ["\"51%\"", "1"]),
        ("probation.probes", ["\"0%\"", "\"10%\""], ["\"11%\"", "0"]),
        ("probation.ramp", ["\"0s\"", "\"1h\""], ["\"61m\"", "3"]),
        ("probation.max_time", ["\"0s\"", "\"1h\""], ["\"61m\"", "60"]),
        ("hedge", ["\"off\"", "{}"], ["\"on\"", "false"]),
        ("probation", ["\"off\"", "{}"], ["\"on\"", "[]"]),
    ] {
        let said = |value: &str| report(&format!("{pool}tail.{key} = {value}\n"));
        fits.iter().for_each(|value| assert_eq!(said(value), "", "{key} = {value}"));
        for value in exceeds {
            let said = said(value);
            let is_told = said.contains(&format!("pool.tail.{key}: ")) && !said.contains("warning");
            assert!(is_told && said.matches("edge.toml").count() == 1, "{key} = {value}: {said}");
        }
    }
}

#[test]
fn a_rate_that_cannot_be_read_or_limits_nothing_is_refused() {
    for (rate, part) in [
        ("{ per_client = 20 }", "of 1 to 1000000, found 20\n  hint: a rate has a time: \"20/s\""),
        ("{ total = \"20\" }", "hint: a rate has a time: \"20/s\""),
        ("{ total = \"0/s\" }", "route.rate.total: expected a rate such as \"20/s\", \"100/m\" or \"5000/h\""),
        ("{ per_client = \"5 a day\" }", "found \"5 a day\""),
        ("{ per_client = \"5/s\", client_burst = 0 }", "client_burst: expected a whole number from 1 to 1000000"),
        ("{ per_client = \"5/s\", burst = 9 }", "route.rate.burst: is the burst of `total`, which is missing"),
        ("{ per_clients = \"5/s\", total = \"5/s\" }", "did you mean `per_client`?"),
        ("{}", "route.rate: limits nothing, expected `per_client` or `total` in it, or \"off\""),
        ("\"20/s\"", "route.rate: expected a table or \"off\", found \"20/s\""),
    ] {
        let report = report(&with(&format!("[[route]]\nrate = {rate}\n")));
        assert!(report.contains(part), "{rate}: {report}");
        assert_eq!(report.lines().filter(|line| !line.starts_with("  hint")).count(), 1, "{rate}: {report}");
    }
}

#[test]
fn what_slow_means_has_bounds() {
    let said = |value: &str| report(&with(&format!("[[route]]\ncache.stale.if_slow = {value}\n")));
    for value in ["\"p49.9\"", "\"p99.91\"", "\"95\"", "0.95", "\"0s\"", "\"61s\"", "\"p\"", "\"\"", "true"] {
        assert!(said(value).contains("expected a quantile from \"p50\" to \"p99.9\" or a duration"), "{value}");
    }
    for value in ["\"p50\"", "\"p99.9\"", "\"1ms\"", "\"1m\""] {
        assert_eq!(said(value), "", "{value}");
    }
}

#[test]
fn what_the_cache_lets_in_is_one_of_two_and_min_uses_has_a_range() {
    let text = with(
        "[cache]\nmemory = \"1MiB\"\nmax_object = \"512KiB\"\nadmission = \"lfu\"\n[[route]]\n[route.cache]\nmin_uses = 0\n",
    );
    let said = report(&text);
    for part in ["cache.admission: ", "\"tinylfu\"", "cache.min_uses: ", "two fifths of memory"] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
}

#[test]
fn a_problem_of_a_derived_default_is_never_reported() {
    for text in [
        "[cache]\nmemory = \"1MiB\"\n",
        "[server.limits]\nhead_size = \"2KiB\"\n",
        "[[pool]]\nname = \"b\"\nbackends = [\"h:1\"]\nhealth = { path = \"/\", interval = \"200ms\" }\n\
         ejection = { time = \"10m\" }\ntail.retry = { backoff = \"1s\" }\n[[route]]\npool = \"web\"\n\
         [[route]]\nmatch.path = \"/b\"\npool = \"b\"\n",
    ] {
        assert_eq!(report(&with(text)), "");
    }
}

#[test]
fn deep_nesting_is_a_mistake_and_no_overflow() {
    for (open, close) in [("[", "]"), ("{ a = ", " }")] {
        let text = with(&format!("slow_start = {}1{}\n", open.repeat(50_000), close.repeat(50_000)));
        assert!(report(&text).starts_with("edge.toml:4:"));
        assert!(report(&with(&format!("slow_start = {}\n", open.repeat(50_000)))).starts_with("edge.toml:4:"));
    }
    let dotted = vec!["a"; 50_000].join(".");
    assert!(report(&with(&format!("{dotted} = 1\n"))).starts_with("edge.toml:4:"));
    assert!(report(&with(&format!("[{dotted}]\n"))).starts_with("edge.toml:4:"));
}

#[test]
fn a_quoted_key_cannot_break_the_line() {
    assert_eq!(
        report(&with("\"a\\nb\" = 1\n")).lines().next(),
        Some(
            "edge.toml:4:1: pool.a\\nb: unknown key, expected one of `name`, `backends`, `max_in_flight`, `health`, `ejection`, \
             `slow_start`, `keepalive`, `protocol`, `http2`, `tell_deadline`, `tls`, `timeouts`, `tail`"
        )
    );
}

/// Bits of a configuration, right and wrong, to be put together.
fn fragment() -> impl Strategy<Value = String> {
    let key = prop::sample::select(KEYS.to_vec());
    let value = prop::sample::select(vec![
        "1",
        "-1",
        "1.5",
        "nan",
        "true",
        "\"\"",
        "\"10s\"",
        "\"1GiB\"",
        "\"5%\"",
        "\"a\"",
        "\"/a/**\"",
        "\"h:1\"",
        "[]",
        "[\"h:1\"]",
        "[[]]",
        "{}",
        "{ a = 1 }",
        "{ default = \"1s\" }",
        "1979-05-27",
        "99999999999999999999",
        "0xff",
        "\"",
        "[",
        "{",
        "'''",
        "\"\\u0000\"",
        "\"ä\"",
    ]);
    let header = prop::sample::select(vec![
        "[server]",
        "[server.limits]",
        "[cache]",
        "[[pool]]",
        "[pool]",
        "[pool.tail]",
        "[[pool.tail]]",
        "[[route]]",
        "[route.cache]",
        "[profile]",
        "[profile.a]",
        "[profile.a.cache]",
        "[[profile]]",
        "[",
        "]",
        "=",
    ]);
    prop_oneof![
        (key.clone(), value.clone()).prop_map(|(key, value)| format!("{key} = {value}")),
        (key, value).prop_map(|(key, value)| format!("{} = {value}", key.rsplit('.').next().unwrap_or(key))),
        header.prop_map(str::to_owned),
        "\\PC{0,6}",
    ]
}

proptest! {
    #[test]
    fn no_text_panics(lines in prop::collection::vec(fragment(), 0..14)) {
        let text = lines.join("\n");
        for problem in config::parse_str("edge.toml", &text).err().unwrap_or_default() {
            prop_assert!(problem.line >= 1 && problem.line <= text.lines().count().max(1) + 1, "{problem}");
            prop_assert!(problem.column >= 1);
        }
    }

    #[test]
    fn no_damage_to_the_default_panics(at in 0..config::DEFAULT.len(), cut in 0..400usize, insert in "[\\[\\]{}\"'=#\n]{0,3}") {
        let mut text = config::DEFAULT.as_bytes().to_vec();
        let end = (at + cut).min(text.len());
        text.splice(at..end, insert.bytes());
        let _ = config::parse_str("edge.toml", &String::from_utf8_lossy(&text));
    }
}
