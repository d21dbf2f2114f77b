//! The metrics page: OpenMetrics text, made when it is asked for.
//!
//! What lives elsewhere (backends, the store) is handed in as plain samples. Keeping gauges of it up to date would
//! cost on every request and still be late; asking at each scrape costs nothing in between. A page is a registry of
//! its own with one collector in it, because the exporter's encoder is only reached through a registry.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::exemplars::{self, Exemplar};
use super::family::Families;
use super::metrics::{Metrics, Registered};
use super::names;
use super::process::Process;
use super::sample::{Latencies, Scrape};

/// The media type of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// The page, to be served as [`CONTENT_TYPE`]. Empty if it cannot be written, which a scraper takes for a
    /// failed scrape (a page must end with `# EOF`).
    pub fn render(&self, scrape: Scrape) -> String {
        let exemplars = Arc::<Mutex<Vec<_>>>::default();
        let process = Process::read();
        let page = Page { counters: self.registered().clone(), scrape, process, exemplars: exemplars.clone() };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(page));
        let mut written = String::new();
        match text::encode(&mut written, &registry) {
            Ok(()) => {
                exemplars::splice(&mut written, names::REQUEST_DURATION.name, &exemplars.lock());
                written
            }
            Err(error) => {
                log::error!("cannot write the metrics page: {error}");
                String::new()
            }
        }
    }
}

#[derive(Debug)]
struct Page {
    counters: Arc<Registered>,
    scrape: Scrape,
    process: Process,
    /// One place for each bucket of durations that was written.
    exemplars: Arc<Mutex<Vec<Option<Exemplar>>>>,
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Families(encoder);
        self.requests(&mut page)?;
        self.pools(&mut page)?;
        self.backends(&mut page)?;
        self.hedges(&mut page)?;
        self.routes(&mut page)?;
        self.cache(&mut page)?;
        self.edge(&mut page)?;
        self.process(&mut page)
    }
}

impl Page {
    fn requests(&self, page: &mut Families<'_>) -> fmt::Result {
        let routes = self.counters.routes.read();
        page.family(&names::REQUESTS, |family| {
            for (route, metrics) in routes.iter() {
                for (method, class, cache, count) in metrics.requests() {
                    family.counter([route, method.as_str(), class.as_str(), cache.as_str()], count)?;
                }
            }
            Ok(())
        })?;
        page.family(&names::REQUEST_DURATION, |family| {
            routes.iter().try_for_each(|(route, metrics)| {
                self.exemplars.lock().extend(metrics.exemplars());
                family.histogram([route], &metrics.durations())
            })
        })?;
        page.family(&names::FIRST_BYTE, |family| {
            routes.iter().try_for_each(|(route, metrics)| family.histogram([route], &metrics.first_bytes()))
        })?;
        page.family(&names::ROUTE_DURATION, |family| {
            routes.iter().try_for_each(|(route, metrics)| {
                each_quantile(&metrics.latencies(), |quantile, seconds| family.gauge([route, quantile], seconds))
            })
        })?;
        page.family(&names::ROUTE_DURATION_WINDOW, |family| {
            routes.iter().try_for_each(|(route, metrics)| family.gauge([route], metrics.latencies().count))
        })?;
        page.family(&names::PHASES, |family| {
            routes.iter().try_for_each(|(route, metrics)| {
                metrics
                    .phase_seconds()
                    .try_for_each(|(phase, seconds)| family.counter([route, phase.as_str()], seconds))
            })
        })?;
        page.family(&names::UPSTREAM_TIME, |family| {
            routes.iter().try_for_each(|(route, metrics)| family.histogram([route], &metrics.upstream.read()))
        })?;
        page.family(&names::RESPONSE_BYTES, |family| {
            routes.iter().try_for_each(|(route, metrics)| {
                let mut sent = metrics.bytes().filter(|(_, bytes)| *bytes > 0);
                sent.try_for_each(|(cache, bytes)| family.counter([route, cache.as_str()], bytes))
            })
        })?;
        page.family(&names::FORWARDED, |family| {
            routes.iter().try_for_each(|(route, metrics)| family.tally([route], &metrics.forwarded))
        })?;
        page.family(&names::COLLAPSED, |family| {
            routes.iter().try_for_each(|(route, metrics)| family.tally([route], &metrics.collapsed))
        })?;
        page.family(&names::RATE_LIMITED, |family| {
            let mut routed = routes.iter().filter(|(route, _)| *route != names::UNROUTED);
            routed.try_for_each(|(route, metrics)| family.tally([route], &metrics.rate_limited))
        })?;
        page.family(&names::CALLS, |family| {
            // A route without calls has none of seventeen kinds.
            let mut called = routes.iter().filter(|(_, metrics)| metrics.calls.counts().any(|(_, count)| count > 0));
            called.try_for_each(|(route, metrics)| family.tally([route], &metrics.calls))
        })?;
        page.family(&names::TERMINATIONS, |family| family.tally([], &self.counters.terminations))?;
        page.family(&names::LANE, |family| family.tally([], &self.counters.lane))?;
        page.gauge(&names::REQUESTS_IN_FLIGHT, self.counters.requests_in_flight.get())?;
        page.gauge(&names::CLIENT_CONNECTIONS, self.counters.client_connections.get())
    }

    fn pools(&self, page: &mut Families<'_>) -> fmt::Result {
        let pools = self.counters.pools.read();
        let backends = self.counters.backends.read();
        page.family(&names::UPSTREAM_FIRST_BYTE, |family| {
            pools.iter().try_for_each(|(pool, metrics)| family.histogram([pool], &metrics.first_byte.read()))
        })?;
        page.family(&names::UPSTREAM_CONNECT, |family| {
            pools.iter().try_for_each(|(pool, metrics)| family.histogram([pool], &metrics.connect.read()))
        })?;
        page.family(&names::UPSTREAM_TLS, |family| {
            pools.iter().try_for_each(|(pool, metrics)| family.histogram([pool], &metrics.tls.read()))
        })?;
        page.family(&names::ATTEMPTS, |family| {
            backends.iter().try_for_each(|((pool, backend), m)| family.tally([pool, backend], &m.attempts))
        })?;
        page.family(&names::RETRIES, |family| {
            pools.iter().try_for_each(|(pool, metrics)| family.tally([pool], &metrics.retries))
        })?;
        let sampled = &self.scrape.pools;
        page.family(&names::POOL_LIMIT, |family| {
            let mut known = sampled.iter().filter_map(|p| Some((p, p.limit?)));
            known.try_for_each(|(p, limit)| family.gauge([&p.pool], limit))
        })?;
        page.family(&names::POOL_ADMITTED, |family| {
            sampled.iter().try_for_each(|p| family.gauge([&p.pool], p.admitted))
        })?;
        page.family(&names::POOL_QUEUED, |family| sampled.iter().try_for_each(|p| family.gauge([&p.pool], p.queued)))?;
        page.family(&names::QUEUE_TIME, |family| {
            pools.iter().try_for_each(|(pool, metrics)| family.histogram([pool], &metrics.queued.read()))
        })?;
        page.family(&names::SHED, |family| {
            pools.iter().try_for_each(|(pool, metrics)| {
                let by_class = names::CLASSES.iter().zip(&metrics.shed);
                by_class.into_iter().try_for_each(|(class, tally)| family.tally([pool, class], tally))
            })
        })?;
        page.family(&names::RESCUES, |family| {
            pools.iter().try_for_each(|(pool, metrics)| family.tally([pool], &metrics.rescues))
        })?;
        page.family(&names::EJECTIONS, |family| {
            backends.iter().try_for_each(|((pool, backend), m)| family.tally([pool, backend], &m.ejections))
        })?;
        page.family(&names::PROBATIONS, |family| {
            backends.iter().try_for_each(|((pool, backend), m)| family.counter([pool, backend], m.probations.get()))
        })?;
        page.family(&names::HEALTH_CHECKS, |family| {
            backends.iter().try_for_each(|((pool, backend), m)| family.tally([pool, backend], &m.health_checks))
        })
    }

    fn backends(&self, page: &mut Families<'_>) -> fmt::Result {
        let backends = &self.scrape.backends;
        let counters = self.counters.backends.read();
        page.family(&names::BACKEND_PUSHBACKS, |family| {
            counters.iter().try_for_each(|((pool, backend), m)| family.counter([pool, backend], m.pushbacks.get()))
        })?;
        page.family(&names::BACKEND_THROTTLE, |family| {
            backends.iter().try_for_each(|b| family.gauge([&b.pool, &b.backend], b.throttle))
        })?;
        page.family(&names::BACKEND_STATE, |family| {
            for b in backends {
                let listed = names::BACKEND_STATES.contains(&b.state);
                let state = if listed { b.state } else { "other" };
                for word in names::BACKEND_STATES {
                    family.gauge([&b.pool, &b.backend, word], u64::from(*word == state))?;
                }
            }
            Ok(())
        })?;
        page.family(&names::BACKEND_IN_FLIGHT, |family| {
            backends.iter().try_for_each(|b| family.gauge([&b.pool, &b.backend], b.in_flight))
        })?;
        page.family(&names::BACKEND_EWMA, |family| {
            let known = backends.iter().filter_map(|b| Some((b, b.ewma?)));
            known.into_iter().try_for_each(|(b, ewma)| family.gauge([&b.pool, &b.backend], ewma.as_secs_f64()))
        })?;
        page.family(&names::BACKEND_REPORTED_LOAD, |family| {
            let said = backends.iter().filter_map(|b| Some((b, b.reported_load?)));
            said.into_iter().try_for_each(|(b, load)| family.gauge([&b.pool, &b.backend], load))
        })?;
        page.family(&names::BACKEND_LATENCY, |family| {
            backends.iter().try_for_each(|b| {
                quantiles(&b.with_hedging, &b.without_hedging, |hedging, quantile, seconds| {
                    family.gauge([&b.pool, &b.backend, hedging, quantile], seconds)
                })
            })
        })?;
        page.family(&names::BACKEND_WINDOW, |family| {
            backends.iter().try_for_each(|b| {
                family.gauge([&b.pool, &b.backend, "with"], b.with_hedging.count)?;
                family.gauge([&b.pool, &b.backend, "without"], b.without_hedging.count)
            })
        })?;
        page.family(&names::BACKEND_LATE, |family| {
            backends.iter().try_for_each(|b| family.gauge([&b.pool, &b.backend], b.late))
        })
    }

    fn hedges(&self, page: &mut Families<'_>) -> fmt::Result {
        let counters = self.counters.pools.read();
        let pools = &self.scrape.pools;
        page.family(&names::HEDGES_SENT, |family| {
            counters.iter().try_for_each(|(pool, m)| family.counter([pool], m.hedges_sent.get()))
        })?;
        page.family(&names::HEDGES, |family| {
            counters.iter().try_for_each(|(pool, m)| family.tally([pool], &m.hedges))
        })?;
        page.family(&names::HEDGES_DENIED, |family| {
            counters.iter().try_for_each(|(pool, m)| family.tally([pool], &m.hedges_denied))
        })?;
        page.family(&names::HEDGE_WASTED, |family| {
            counters.iter().try_for_each(|(pool, m)| family.counter([pool], m.wasted_seconds()))
        })?;
        page.family(&names::PROBES, |family| {
            counters.iter().try_for_each(|(pool, m)| family.counter([pool], m.probes.get()))
        })?;
        page.family(&names::LEDGER, |family| pools.iter().try_for_each(|p| family.gauge([&p.pool], p.ledger)))?;
        page.family(&names::AMPLIFICATION, |family| {
            let mut known = pools.iter().filter_map(|p| Some((p, p.amplification?)));
            known.try_for_each(|(p, ratio)| family.gauge([&p.pool], ratio))
        })
    }

    fn routes(&self, page: &mut Families<'_>) -> fmt::Result {
        let routes = &self.scrape.routes;
        page.family(&names::HEDGE_DELAY, |family| {
            let mut known = routes.iter().filter_map(|r| Some((r, r.delay?)));
            known.try_for_each(|(r, delay)| family.gauge([&r.route], delay.as_secs_f64()))
        })?;
        page.family(&names::HEDGE_LEVEL, |family| routes.iter().try_for_each(|r| family.gauge([&r.route], r.level)))?;
        page.family(&names::HEDGE_SCALE, |family| routes.iter().try_for_each(|r| family.gauge([&r.route], r.scale)))?;
        page.family(&names::ROUTE_LATENCY, |family| {
            routes.iter().try_for_each(|r| {
                quantiles(&r.with_hedging, &r.without_hedging, |hedging, quantile, seconds| {
                    family.gauge([&r.route, hedging, quantile], seconds)
                })
            })
        })?;
        page.family(&names::ROUTE_WINDOW, |family| {
            routes.iter().try_for_each(|r| {
                family.gauge([&r.route, "with"], r.with_hedging.count)?;
                family.gauge([&r.route, "without"], r.without_hedging.count)
            })
        })
    }

    fn cache(&self, page: &mut Families<'_>) -> fmt::Result {
        let cache = &self.scrape.cache;
        page.family(&names::STALE_SERVED, |family| family.tally([], &self.counters.stale_served))?;
        let recoding = &self.counters.recoding;
        for (definition, tallies) in [
            (&names::COMPRESSION_BYTES, &recoding.compressed),
            (&names::DECOMPRESSION_BYTES, &recoding.decoded),
            (&names::DECOMPRESSION_FAILURES, &recoding.broken),
        ] {
            page.family(definition, |family| {
                let mut codings = names::CODINGS.iter().zip(tallies);
                codings.try_for_each(|(coding, tally)| family.tally([coding], tally))
            })?;
        }
        page.gauge(&names::CACHE_OBJECTS, cache.objects)?;
        page.gauge(&names::CACHE_BYTES, cache.bytes)?;
        page.gauge(&names::CACHE_CAPACITY, cache.capacity)?;
        page.counter(&names::CACHE_STORES, cache.stores)?;
        page.counter(&names::CACHE_EVICTIONS, cache.evictions)?;
        page.counter(&names::CACHE_PURGED, cache.purged)?;
        page.counter(&names::CACHE_TAGS_CUT, cache.tags_cut)?;
        page.family(&names::PURGES, |family| {
            let mut causes = names::PURGE_CAUSES.iter().zip(&self.counters.purges);
            causes.try_for_each(|(cause, tally)| family.tally([cause], tally))
        })?;
        page.family(&names::PURGES_REFUSED, |family| family.tally([], &self.counters.purges_refused))?;
        page.gauge(&names::PURGES_PENDING, cache.purges)?;
        page.counter(&names::CACHE_REFUSALS, cache.refusals)
    }

    fn edge(&self, page: &mut Families<'_>) -> fmt::Result {
        page.gauge(&names::CONFIG_GENERATION, self.counters.generation.get())?;
        page.family(&names::CONFIG_RELOADS, |family| family.tally([], &self.counters.reloads))?;
        page.gauge(&names::CONFIG_LAST_RELOAD, self.counters.last_reload.get())?;
        page.counter(&names::CONNECTIONS_REFUSED, self.counters.connections_refused.get())?;
        page.family(&names::CONNECTIONS_FAILED, |family| family.tally([], &self.counters.connections_failed))?;
        page.counter(&names::ACCESS_LOG_DROPPED, self.counters.access_log_dropped.get())?;
        page.family(&names::TRACES, |family| family.tally([], &self.counters.traces.recorded))?;
        page.family(&names::TRACES_DROPPED, |family| family.tally([], &self.counters.traces.dropped))?;
        page.family(&names::TRACE_EXPORTS, |family| family.tally([], &self.counters.traces.exports))?;
        page.family(&names::BUILD, |family| family.info([env!("CARGO_PKG_VERSION")]))
    }

    fn process(&self, page: &mut Families<'_>) -> fmt::Result {
        let Process { cpu, resident, open_fds, max_fds, start } = self.process;
        cpu.map_or(Ok(()), |v| page.counter(&names::PROCESS_CPU, v.as_secs_f64()))?;
        resident.map_or(Ok(()), |v| page.gauge(&names::PROCESS_MEMORY, v))?;
        open_fds.map_or(Ok(()), |v| page.gauge(&names::PROCESS_FDS, v))?;
        max_fds.map_or(Ok(()), |v| page.gauge(&names::PROCESS_MAX_FDS, v))?;
        start.map_or(Ok(()), |v| page.gauge(&names::PROCESS_START, v.as_secs_f64()))
    }
}

/// Writes the quantiles of those windows that hold samples: `hedging`, `quantile`, seconds.
fn quantiles(
    with: &Latencies,
    without: &Latencies,
    mut write: impl FnMut(&str, &str, f64) -> fmt::Result,
) -> fmt::Result {
    let both = names::HEDGING.iter().zip([with, without]);
    for (hedging, latencies) in both {
        each_quantile(latencies, |quantile, seconds| write(hedging, quantile, seconds))?;
    }
    Ok(())
}

/// Writes the quantiles of a window if it holds samples: `quantile`, seconds.
fn each_quantile(latencies: &Latencies, mut write: impl FnMut(&str, f64) -> fmt::Result) -> fmt::Result {
    let mut known = names::QUANTILES.iter().zip(latencies.quantiles()).filter(|_| latencies.count > 0);
    known.try_for_each(|(quantile, value)| write(quantile, value.as_secs_f64()))
}
