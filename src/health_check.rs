//! Active checks: a GET to every backend of a pool, or gRPC's own question, again and again, whether or not requests come.
//!
//! A check uses its own connection and closes it: a pooled one would tell of the connection's health, and a backend
//! whose workers are all busy with kept-alive connections would look healthy to whoever holds one.

use std::sync::{Arc, Weak};

use futures::future::join_all;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock;
use crate::config::{self, HealthCheck, HealthQuestion};
use crate::edge::Edge;
use crate::endpoint::Endpoint;
use crate::grpc;
use crate::upstream::{Connection, Connections, Failure, Introduction, Member, Pool, Request};

/// Checks the pools of every generation; never returns.
pub async fn run(edge: Arc<Edge>) {
    let connections = Connections::new();
    let mut generations = edge.generations();
    let mut watched: Vec<(Weak<Pool>, AbortHandle)> = Vec::new();
    loop {
        let snapshot = edge.snapshot();
        let is = |known: &Weak<Pool>, pool: &Arc<Pool>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(pool));
        // An old pool may live on in a request for hours; its word about the backends does not.
        watched.retain(|(known, task)| {
            let stays = snapshot.pools().iter().any(|pool| is(known, pool));
            if !stays {
                task.abort();
            }
            stays
        });
        // A pool that a reload left as it was is the same pool and is being checked already.
        for pool in snapshot.pools() {
            if let (Some(check), false) =
                (pool.config().health.clone(), watched.iter().any(|(known, _)| is(known, pool)))
            {
                let task = tokio::spawn(check_pool(Arc::downgrade(pool), check, connections.clone()));
                watched.push((Arc::downgrade(pool), task.abort_handle()));
            }
        }
        drop(snapshot);
        if generations.changed().await.is_err() {
            return;
        }
    }
}

async fn check_pool(pool: Weak<Pool>, check: HealthCheck, connections: Arc<Connections>) {
    let mut ticks = interval(check.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        let members = pool.members();
        let config = pool.config();
        join_all(members.iter().map(|member| check_member(member, &check, config, &connections))).await;
    }
}

async fn check_member(member: &Member, check: &HealthCheck, pool: &config::Pool, connections: &Connections) {
    let result = match timeout(check.timeout, ask(member, check, pool, connections)).await {
        Ok(Ok(true)) => "passed",
        Ok(Ok(false)) => "status",
        Ok(Err(Failure::ConnectionRefused | Failure::ConnectFailed)) => "connect-failed",
        Ok(Err(Failure::ConnectionTimeout)) | Err(_) => "timeout",
        Ok(Err(_)) => "invalid",
    };
    let backend = &member.backend;
    backend.counters().health_check(result);
    let change = backend.health().lock().on_check(result == "passed", check.rise, check.fall, clock::now());
    if let Some(t) = change {
        backend.changed(t);
    }
}

/// Whether a backend says that it is well.
async fn ask(
    member: &Member,
    check: &HealthCheck,
    pool: &config::Pool,
    connections: &Connections,
) -> Result<bool, Failure> {
    let mut request = question(member, check).map_err(|_| Failure::WriteFailed)?;
    let body = match &check.question {
        HealthQuestion::Get(_) => None,
        HealthQuestion::Grpc(service) => {
            called(&mut request).map_err(|_| Failure::WriteFailed)?;
            Some(grpc::health::question(service))
        }
    };
    let request = Request::of(&request, &[], pool)?;
    let opening = pool.proxy_protocol.map(Introduction::of_nobody);
    let mut http = connections.ask_alone(member, pool.http2.as_ref(), opening, &request).await?;
    if let Some(body) = body {
        http.send_whole(body.into()).await?;
    }
    let head = loop {
        http.read_head().await?;
        if let Some(head) = http.head().filter(|head| !head.status.is_informational()) {
            break head.clone();
        }
    };
    match &check.question {
        HealthQuestion::Get(_) => {
            let status = head.status.as_u16();
            Ok(check.expect.iter().any(|(low, high)| (*low..=*high).contains(&status)))
        }
        HealthQuestion::Grpc(_) => answer(&mut http, &head).await,
    }
}

/// What a backend has to say of itself by gRPC.
async fn answer(http: &mut Connection, head: &ResponseHeader) -> Result<bool, Failure> {
    let mut body = Vec::new();
    while let Some(data) = http.read_body().await? {
        body.extend_from_slice(&data);
        if body.len() > grpc::health::MAX_ANSWER {
            return Err(Failure::InvalidResponse);
        }
    }
    let trailers = http.take_trailers();
    let status = trailers.as_ref().and_then(grpc::Status::read).or_else(|| grpc::Status::read(&head.headers));
    Ok(head.status == StatusCode::OK && status == Some(grpc::Status::OK) && grpc::health::is_serving(&body))
}

fn question(member: &Member, check: &HealthCheck) -> pingora::Result<RequestHeader> {
    let (method, target) = match &check.question {
        HealthQuestion::Get(path) => ("GET", path.as_str()),
        HealthQuestion::Grpc(_) => ("POST", grpc::health::METHOD),
    };
    let mut request = RequestHeader::build(method, target.as_bytes(), Some(6))?;
    let own = match member.backend.address() {
        Endpoint::Tcp(_) => member.backend.name(),
        Endpoint::Unix(_) => "localhost",
    };
    let host = check.host.as_deref().unwrap_or(own);
    request.insert_header(http::header::HOST, host)?;
    request.insert_header(http::header::USER_AGENT, "hedgerow-health-check")?;
    request.insert_header(http::header::CONNECTION, "close")?;
    Ok(request)
}

/// Makes the request a call.
fn called(request: &mut RequestHeader) -> pingora::Result<()> {
    request.insert_header(http::header::CONTENT_TYPE, grpc::CONTENT)?;
    request.insert_header(http::header::TE, "trailers")?;
    request.insert_header(http::header::TRANSFER_ENCODING, "chunked")
}
