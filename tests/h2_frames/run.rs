//! An edge, and what each case makes of it.

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ask::{AUTHORITY, Ask};
use super::case::{Case, Step, Verdict, Wanted};
use super::cases;
use super::client::{Bytes, Client};
use super::code::{COMPRESSION_ERROR, ENHANCE_YOUR_CALM, PROTOCOL_ERROR};
use super::frame::MAX_CONCURRENT_STREAMS;
use super::streams::STREAMS;
use crate::support::authority::{Authority, connect};
use crate::support::edge::{Edge, pool};
use crate::support::{Deaf, Origin, Reply, eventually};

/// A stream above those of the cases.
const NEXT: u32 = 1_000_001;

/// An edge with what stands around it.
pub struct Place {
    edge: Edge,
    ask: Ask,
    tls: Option<TlsConnector>,
    _authority: Option<Authority>,
    _origin: Origin,
    _deaf: Deaf,
}

impl Place {
    /// With a listener in clear text, or under TLS.
    pub async fn new(is_secure: bool, method: &'static str, path: &'static str) -> Place {
        let (origin, deaf) = (origin().await, Origin::deaf());
        let authority = is_secure.then(Authority::new);
        let listener = match &authority {
            Some(authority) => {
                authority.write("shop", &[AUTHORITY]);
                format!("tls = {{ {} }}", authority.certificates(&["shop"]))
            }
            None => "protocols = [\"h2\"]".to_owned(),
        };
        let conf = [
            // Room for a head of more than one frame.
            "[server.limits]\nhead_size = \"64KiB\"\n".to_owned(),
            format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n"),
            pool("web", &[origin.addr()], "tail = { limit = \"off\" }"),
            pool("deaf", &[deaf.addr()], "timeouts = { connect = \"100ms\" }\ntail = { retry = { attempts = 0 } }"),
            "[[route]]\nmatch = { path = \"/deaf\" }\npool = \"deaf\"\n[[route]]\npool = \"web\"\n".to_owned(),
        ];
        let edge = Edge::start(&conf.concat()).await;
        let scheme = if is_secure { "https" } else { "http" };
        let tls = authority.as_ref().map(|authority| authority.client(&["h2"], None));
        Place { edge, ask: Ask { method, path, scheme }, tls, _authority: authority, _origin: origin, _deaf: deaf }
    }

    /// Runs every case: panics with those that fail.
    pub async fn holds(&self) {
        // What can be stored is, from here on.
        self.probe().await.unwrap();
        let mut failed = Vec::new();
        for case in cases(self.ask) {
            let result = match self.run(&case).await {
                Ok(()) => self.goes_on().await,
                failed => failed,
            };
            if let Err(why) = result {
                failed.push(format!("§{} {}: {why}", case.section, case.name));
            }
        }
        assert!(failed.is_empty(), "{:?}: {} failed:\n{}", self.ask, failed.len(), failed.join("\n"));
    }

    async fn connect(&self) -> Client {
        let addr = self.edge.addr();
        let stream: Box<dyn Bytes> = match &self.tls {
            Some(tls) => Box::new(connect(tls, addr, AUTHORITY).await.unwrap()),
            None => {
                let stream = TcpStream::connect(addr).await.unwrap();
                stream.set_nodelay(true).unwrap();
                Box::new(stream)
            }
        };
        Client::over(stream)
    }

    async fn run(&self, case: &Case) -> Result<(), String> {
        let mut client = self.connect().await;
        let played = self.play(&mut client, case).await;
        played.map_err(|why| format!("{why}; heard (kind/flags/stream/length){}", client.story()))
    }

    async fn play(&self, client: &mut Client, case: &Case) -> Result<(), String> {
        if !case.is_bare {
            client.handshake().await?;
        }
        for step in &case.steps {
            match step {
                Step::Sends(bytes) => client.send(bytes).await,
                Step::Trickles(bytes) => {
                    for byte in bytes {
                        client.send(&[*byte]).await;
                    }
                }
                Step::Ends => client.end().await,
                Step::Hears(wanted) => client.hear(wanted).await?,
            }
        }
        self.judge(client, case.verdict).await
    }

    async fn judge(&self, client: &mut Client, verdict: Verdict) -> Result<(), String> {
        match verdict {
            Verdict::Serves => self.serves(client).await,
            Verdict::Fails(codes) => match client.farewell().await? {
                Some(code) if codes.contains(&code) => Ok(()),
                other => Err(format!("the connection ended by {other:?} instead of {codes:?}")),
            },
            Verdict::Closes => client.farewell().await.map(drop),
            Verdict::Resets(stream, codes) => match client.reset(stream).await? {
                Some(code) if codes.contains(&code) => self.serves(client).await,
                other => Err(format!("{stream} ended by {other:?} instead of {codes:?}, {:?}", client.status(stream))),
            },
            Verdict::FailsOrResets(stream, codes) => match client.reset(stream).await? {
                Some(code) if codes.contains(&code) => self.serves(client).await,
                _ => Box::pin(self.judge(client, Verdict::Fails(codes))).await,
            },
            Verdict::Refuses(stream) => match (client.outcome(stream).await?, client.status(stream)) {
                (Some(PROTOCOL_ERROR), _) | (_, Some(400..=499)) => self.serves(client).await,
                other => Err(format!("{stream} ended by {other:?}")),
            },
            Verdict::Limits(stream) => match (client.outcome(stream).await?, client.status(stream)) {
                (Some(PROTOCOL_ERROR), _) | (_, Some(431)) => self.serves(client).await,
                _ => Box::pin(self.judge(client, Verdict::Fails(&[ENHANCE_YOUR_CALM, COMPRESSION_ERROR]))).await,
            },
            Verdict::Withstands => match self.serves(client).await {
                Ok(()) => Ok(()),
                Err(_) => client.farewell().await.map(drop),
            },
        }
    }

    /// The connection is as good as a new one.
    async fn serves(&self, client: &mut Client) -> Result<(), String> {
        client.send(&self.ask.whole(NEXT)).await;
        client.hear(&Wanted::Answer(NEXT, 200)).await
    }

    /// A new connection is served.
    async fn probe(&self) -> Result<(), String> {
        let mut client = self.connect().await;
        client.handshake().await?;
        assert_eq!(client.setting(MAX_CONCURRENT_STREAMS), Some(STREAMS));
        self.serves(&mut client).await.map_err(|why| format!("afterwards: {why}; heard{}", client.story()))
    }

    /// The edge serves others, and has kept nothing of it.
    async fn goes_on(&self) -> Result<(), String> {
        self.probe().await?;
        eventually("nothing is under way", || async {
            let page = self.edge.admin_get("/metrics").await.text();
            let is_none = |gauge: &str| page.lines().any(|line| line == format!("{gauge} 0"));
            (is_none("hedgerow_client_connections") && is_none("hedgerow_requests_in_flight")).then_some(())
        })
        .await;
        Ok(())
    }
}

/// An origin whose answers are long enough to be taken byte by byte, and which tells what it heard.
async fn origin() -> Origin {
    let origin = Origin::start().await;
    let told = |name: &'static str| {
        move |seen: &crate::support::Seen| Reply::ok(format!("[{}]", seen.header(name).unwrap_or_default()))
    };
    origin
        .on("/hit", Reply::fresh(3600, "stored for an hour"))
        .on_call("/cookie", told("cookie"))
        .on_call("/custom", told("custom-key"))
        .otherwise(|_| Reply::ok("never to be stored").header("Cache-Control", "no-store"));
    origin
}
