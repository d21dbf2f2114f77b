//! Whether a request may go to the backends now: it goes, waits for a place, or is shed.
//!
//! Asked after the cache, so that neither hits nor those who wait for another's fetch take a place. A request that is shed
//! is answered with a stale copy if one may stand in (which is mostly seen before, in `slow`), else with a 503.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use pingora::Result;
use pingora::proxy::Session;

use super::caching;
use super::ctx::Ctx;
use super::deadlines::Patience;
use super::request::Refusal;
use super::respond;
use crate::caller::Client;
use crate::clock;
use crate::snapshot::Route;
use crate::tail::queue::{Asked, Shed};
use crate::telemetry::Termination;
use crate::units::Tick;
use crate::upstream::gate::{Entry, Waiting};

/// For so long a user stands where it stands among all; then anew, so that it is not always the same who are shed.
const TERM: Duration = Duration::from_secs(3600);

/// Another one in each process: nobody can find an address that is always served.
static LEVELS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Gets the request a place at its pool's backends; whether it is to go on to them.
///
/// # Errors
/// When the client leaves.
pub(super) async fn admit(session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
    let Some(route) = ctx.route.clone() else { return Ok(true) };
    let now = clock::now();
    let verdict = match route.pool.admit(asked(&route, ctx, now), now) {
        Entry::Admitted(permit) => Ok(permit),
        Entry::Refused(shed) => Err(shed),
        Entry::Waiting(mut waiting) => {
            let verdict = wait(session, &mut waiting).await;
            let waited = clock::now().since(now);
            ctx.queued = Some(waited);
            route.pool.counters().queued(waited);
            verdict?
        }
    };
    match verdict {
        Ok(permit) => {
            ctx.permit = Some(permit);
            Ok(true)
        }
        Err(shed) => {
            route.pool.counters().shed(ctx.class.as_str(), shed.as_str());
            ctx.shed = Some(shed);
            if caching::has_fallback(session, ctx) {
                // The way to it leads through the failure of an attempt.
                return Ok(true);
            }
            respond::refuse(session, ctx, &refusal(shed)).await.map(|()| false)
        }
    }
}

fn asked(route: &Route, ctx: &Ctx, now: Tick) -> Asked {
    let patience = Patience::clamp(ctx.patience, route.config.timeout, ctx.started);
    let left = patience.saturating_sub(now.since(ctx.started));
    Asked { class: ctx.class, level: level(&ctx.client, ctx.wall), patience: Some(left) }
}

/// Waits for the verdict as long as the client stays. Of one that sends a body it is not known whether it does.
async fn wait(
    session: &mut Session,
    waiting: &mut Waiting,
) -> Result<std::result::Result<crate::upstream::gate::Permit, Shed>> {
    let is_plain = session.subrequest_ctx.is_none() && session.as_mut().is_body_empty();
    if !is_plain {
        return Ok(waiting.verdict().await);
    }
    tokio::select! {
        biased;
        verdict = waiting.verdict() => Ok(verdict),
        gone = session.as_downstream_mut().read_body_or_idle(true) => match gone {
            Err(gone) => Err(gone.into_down()),
            // Not to be read any further before this request is answered.
            Ok(_) => Ok(waiting.verdict().await),
        },
    }
}

/// Where the user stands among all, 0 to 255.
fn level(client: &Client, now: SystemTime) -> u8 {
    let user = client.address.map(|address| match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        // A household has a /64.
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    });
    let term = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / TERM.as_secs();
    LEVELS.hash_one((user, term)) as u8
}

/// The answer to one that is shed.
pub(super) fn refusal(shed: Shed) -> Refusal {
    busy(shed.as_str())
}

/// The answer to one that the backends have no place for, for what `reason` says.
pub(super) fn busy(reason: &'static str) -> Refusal {
    Refusal {
        status: 503,
        reason: Termination::Shed,
        sentence: "The site is busy. Please try again in a moment.".into(),
        proxy_error: "connection_limit_reached",
        details: Some(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client { secure: false, peer: None, trusted: false, address: Some(address.parse().unwrap()) }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_user_keeps_its_level_for_an_hour() {
        let clients: Vec<Client> = (0..64).map(|n| client(&format!("192.0.2.{n}"))).collect();
        let levels = |now| clients.iter().map(|client| level(client, now)).collect::<Vec<_>>();
        assert_eq!(levels(at(7_200)), levels(at(10_799)));
        assert_ne!(levels(at(7_200)), levels(at(10_800)));
        assert!(levels(at(0)).iter().any(|level| *level != levels(at(0))[0]));
    }

    #[test]
    fn all_addresses_of_a_household_are_one_user() {
        let [one, other] = ["2001:db8::1", "2001:db8::ffff:2"].map(client);
        assert_eq!(level(&one, at(0)), level(&other, at(0)));
    }
}
