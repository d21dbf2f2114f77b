//! Rate limits: who asks too often is told so, and when to come again.
//!
//! The fields are those of draft-ietf-httpapi-ratelimit-headers-11. There is one policy in them, the one with the least
//! left, as the draft wants of several.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use http::header::RETRY_AFTER;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::ctx::Ctx;
use super::request::Refusal;
use crate::tail::rate::{Decision, Scope};
use crate::telemetry::Termination;

// As text: pingora sends a field in the spelling it was given.
const RATELIMIT_POLICY: &str = "RateLimit-Policy";
const RATELIMIT: &str = "RateLimit";

/// Counts a client's request against the limits of its route. A refresh is nobody's request, and whoever caused it was
/// counted.
pub(super) fn admit(session: &Session, ctx: &mut Ctx) -> std::result::Result<(), Refusal> {
    let Some((route, limiter)) = ctx.route.as_ref().and_then(|route| Some((route, route.rate.as_ref()?))) else {
        return Ok(());
    };
    if session.subrequest_ctx.is_some() {
        return Ok(());
    }
    let address = ctx.client.address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    ctx.rate = limiter.admit(address, ctx.started);
    match ctx.rate {
        Some(decision) if !decision.admitted => {
            route.metrics.rate_limited(decision.scope.as_str());
            Err(refusal(decision.scope))
        }
        _ => Ok(()),
    }
}

fn refusal(scope: Scope) -> Refusal {
    let (details, sentence) = match scope {
        Scope::Client => ("rate-client", "Too many requests from this client."),
        Scope::Route => ("rate-route", "Too many requests."),
    };
    Refusal {
        status: 429,
        reason: Termination::RateLimited,
        sentence: sentence.into(),
        proxy_error: "http_request_denied",
        details: Some(details),
    }
}

/// Tells the client where it stands, if its route has a limit. What a backend says by these names is of another limit
/// and, in a stored response, of another time.
pub(super) fn tell(ctx: &Ctx, response: &mut ResponseHeader) -> Result<()> {
    let Some(decision) = &ctx.rate else { return Ok(()) };
    response.insert_header(RATELIMIT_POLICY, policy(decision))?;
    response.insert_header(RATELIMIT, standing(decision))?;
    if !decision.admitted {
        response.insert_header(RETRY_AFTER, whole_seconds(decision.next))?;
    }
    Ok(())
}

/// The limit. A burst that is not the quota is told in a parameter of our own, for which the draft (§3.1) wants a prefix.
fn policy(decision: &Decision) -> String {
    let (name, rate, burst) = (decision.scope.as_str(), decision.quota.rate, decision.quota.burst);
    let policy = format!("\"{name}\";q={};w={}", rate.count, rate.per.seconds());
    if burst == rate.count { policy } else { format!("{policy};hedgerow-burst={burst}") }
}

/// What is left of it, and in how many seconds there is more: on a refusal the time of `Retry-After`, as §6 wants.
fn standing(decision: &Decision) -> String {
    format!("\"{}\";r={};t={}", decision.scope.as_str(), decision.left, whole_seconds(decision.next))
}

/// Rounded up, at least 1: who comes at that time is not too early.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::rate::{Per, Quota, Rate};

    fn decision(count: u32, per: Per, burst: u32, left: u64, next: Duration) -> Decision {
        let quota = Quota { rate: Rate { count, per }, burst };
        Decision { admitted: left > 0, scope: Scope::Client, quota, left, next }
    }

    #[test]
    fn a_policy_names_its_burst_only_where_it_is_another() {
        let told = |count, per, burst| policy(&decision(count, per, burst, 0, Duration::ZERO));
        assert_eq!(told(20, Per::Second, 20), "\"client\";q=20;w=1");
        assert_eq!(told(20, Per::Second, 40), "\"client\";q=20;w=1;hedgerow-burst=40");
        assert_eq!(told(5000, Per::Hour, 2), "\"client\";q=5000;w=3600;hedgerow-burst=2");
    }

    #[test]
    fn seconds_are_rounded_up() {
        let told = |left, next| standing(&decision(1, Per::Minute, 1, left, next));
        assert_eq!(told(0, Duration::from_millis(2001)), "\"client\";r=0;t=3");
        assert_eq!(told(0, Duration::from_secs(60)), "\"client\";r=0;t=60");
        assert_eq!(told(7, Duration::from_nanos(1)), "\"client\";r=7;t=1");
        assert_eq!(told(7, Duration::ZERO), "\"client\";r=7;t=1");
    }
}
