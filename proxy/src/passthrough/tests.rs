//! A tunnel between two streams in memory; the test is the client and the upstream.

use audit::Decision;
use tokio::io::DuplexStream;

use super::*;
use crate::refusal::Refusal;
use crate::testing::{Bench, HOST};

const RULE: &str = "{id: t, allow: {host: api.example.com}, tls: pass-through}";

/// How long no byte may move; longer than the client may take to read, and than a ClientHello may take.
const IDLE: Duration = Duration::from_secs(60);

/// A tunnel in progress.
struct Tunnel {
    client: DuplexStream,
    upstream: DuplexStream,
    counts: Arc<Counts>,
    ended: tokio::task::JoinHandle<Ending>,
}

impl Tunnel {
    /// Starts one; `ahead` arrived with the CONNECT.
    fn begin(ahead: &[u8], response_body: Option<u64>, allowance: Option<Allowance>) -> Self {
        let (client, ours) = tokio::io::duplex(1 << 10);
        let (upstream, theirs) = tokio::io::duplex(1 << 10);
        let response_body = response_body.map(|bytes| ByteLimit { scope: sessions::Scope::Session, bytes });
        let (hello, unread) = (Duration::from_secs(10), Duration::from_secs(30));
        let upstream_halves = tokio::io::split(theirs);
        let ahead = ahead.to_vec();
        let ways = Ways { client: ours, ahead, upstream: upstream_halves, hello, unread, allowance, response_body };
        let counts = Arc::<Counts>::default();
        let moved = counts.clone();
        let ended = tokio::spawn(async move {
            let destination = Destination::new(model::Scheme::Https, Host::parse(HOST).unwrap(), 443);
            Box::pin(ways.copy(&destination, &moved, IDLE)).await
        });
        Self { client, upstream, counts, ended }
    }

    async fn ending(self) -> (Ending, u64, u64) {
        let ending = self.ended.await.unwrap();
        (ending, self.counts.up.load(Ordering::Relaxed), self.counts.down.load(Ordering::Relaxed))
    }
}

async fn reads(stream: &mut DuplexStream, want: &[u8]) {
    let mut read = vec![0; want.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, want);
}

/// The first record of a TLS client that asks for this name.
fn hello(name: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn bytes_pass_both_ways_and_each_half_closes_by_itself() {
    let mut tunnel = Tunnel::begin(b"SSH-2.0-a\r\n", None, None);
    reads(&mut tunnel.upstream, b"SSH-2.0-a\r\n").await;
    tunnel.upstream.write_all(b"SSH-2.0-b\r\n").await.unwrap();
    reads(&mut tunnel.client, b"SSH-2.0-b\r\n").await;
    tunnel.client.write_all(b"last").await.unwrap();
    tunnel.client.shutdown().await.unwrap();
    reads(&mut tunnel.upstream, b"last").await;
    assert_eq!(tunnel.upstream.read(&mut [0]).await.unwrap(), 0, "the end is passed on");
    tunnel.upstream.write_all(b"rest").await.unwrap();
    tunnel.upstream.shutdown().await.unwrap();
    reads(&mut tunnel.client, b"rest").await;
    let (ending, up, down) = tunnel.ending().await;
    assert!(matches!(ending, Ending::Closed), "{ending:?}");
    assert_eq!((up, down), (15, 15));
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let mut tunnel = Tunnel::begin(b"", None, None);
    tunnel.upstream.write_all(b"220 ready").await.unwrap();
    reads(&mut tunnel.client, b"220 ready").await;
}

#[tokio::test]
async fn a_client_that_begins_tls_asks_for_the_host_that_it_connected_to() {
    let own = hello(HOST);
    let mut tunnel = Tunnel::begin(&own, None, None);
    reads(&mut tunnel.upstream, &own).await;
    let mut tunnel = Tunnel::begin(b"", None, None);
    // In two pieces: no byte is forwarded before the name is known.
    tunnel.client.write_all(&own[..20]).await.unwrap();
    tunnel.client.write_all(&own[20..]).await.unwrap();
    reads(&mut tunnel.upstream, &own).await;
    let tunnel = Tunnel::begin(&hello("other.example.com"), None, None);
    let (ending, up, _) = tunnel.ending().await;
    assert!(matches!(&ending, Ending::OtherName(name) if name == "other.example.com"), "{ending:?}");
    assert_eq!(up, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_is_odd_or_does_not_end_ends_the_tunnel() {
    let odd = Tunnel::begin(b"\x16\x03\x01\x00\x05not a handshake at all", None, None).ending().await;
    assert!(matches!(odd.0, Ending::OddHello), "{:?}", odd.0);
    let Tunnel { client: _silent, upstream: _upstream, ended, .. } = Tunnel::begin(&hello(HOST)[..30], None, None);
    let half = ended.await.unwrap();
    assert!(matches!(half, Ending::OddHello), "{half:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_in_which_nothing_moves_is_idle() {
    let mut tunnel = Tunnel::begin(b"a", None, None);
    reads(&mut tunnel.upstream, b"a").await;
    tokio::time::advance(IDLE - Duration::from_secs(1)).await;
    tunnel.upstream.write_all(b"b").await.unwrap();
    reads(&mut tunnel.client, b"b").await;
    tokio::time::advance(IDLE - Duration::from_secs(1)).await;
    tunnel.client.write_all(b"c").await.unwrap();
    reads(&mut tunnel.upstream, b"c").await;
    let Tunnel { client: _client, upstream: _upstream, ended, .. } = tunnel;
    let ending = ended.await.unwrap();
    assert!(matches!(ending, Ending::Idle), "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_ended_before_it_is_idle() {
    let mut tunnel = Tunnel::begin(b"a", None, None);
    reads(&mut tunnel.upstream, b"a").await;
    tunnel.upstream.write_all(&[0; 1 << 10]).await.unwrap();
    tunnel.upstream.write_all(&[0; 1 << 10]).await.unwrap();
    let Tunnel { client: _client, upstream: _upstream, ended, .. } = tunnel;
    let ending = ended.await.unwrap();
    let unread = matches!(&ending, Ending::Termination(Termination::Timer(Timer::Unread)));
    assert!(unread, "{ending:?}");
}

#[tokio::test]
async fn the_limits_of_the_rule_end_it() {
    let mut tunnel = Tunnel::begin(b"", Some(4), None);
    tunnel.upstream.write_all(b"four").await.unwrap();
    reads(&mut tunnel.client, b"four").await;
    tunnel.upstream.write_all(b"5").await.unwrap();
    let (ending, _, down) = tunnel.ending().await;
    assert!(matches!(ending, Ending::TooLarge), "{ending:?}");
    assert_eq!(down, 4);
    let bench = Bench::new(&[RULE]);
    let body = Some(ByteLimit { scope: sessions::Scope::Session, bytes: 2 });
    let allowance = Allowance::new(&bench.session, &bench.core.proxy.sessions, body, Vec::new());
    let mut tunnel = Tunnel::begin(b"ab", None, allowance);
    reads(&mut tunnel.upstream, b"ab").await;
    tunnel.client.write_all(b"c").await.unwrap();
    let (ending, up, _) = tunnel.ending().await;
    let limited = matches!(&ending, Ending::Termination(cut) if cut.reason() == Reason::BodyTooLarge);
    assert!(limited, "{ending:?}");
    assert_eq!(up, 2);
}

#[tokio::test]
async fn a_record_names_how_its_tunnel_ended() {
    let table: [(Ending, &str, &str, &str, &str); 9] = [
        (Ending::Closed, "ok", "", "", ""),
        (Ending::Client, "client_abort", "downstream", "", ""),
        (Ending::Upstream, "upstream_reset", "upstream", "upstream_protocol", ""),
        (Ending::Idle, "timeout", "downstream", "", "idle"),
        (Ending::Termination(Timer::Unread.into()), "timeout", "downstream", "timeout_head", "unread"),
        (Ending::SessionEnded, "aborted", "policy", "session_ended", ""),
        (Ending::TooLarge, "aborted", "upstream", "response_too_large", "response_body"),
        (Ending::OddHello, "aborted", "downstream", "malformed", ""),
        (Ending::OtherName("other.example.com".to_owned()), "aborted", "downstream", "authority_mismatch", ""),
    ];
    for (ending, outcome, fault, code, detail) in table {
        let bench = Bench::new(&[RULE]);
        let counts = Counts { up: AtomicU64::new(3), down: AtomicU64::new(4) };
        close(Trail::tunnel(bench.exchange()), &counts, ending);
        let closed = bench.closing();
        let text = |field: &str| closed[field].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            [text("outcome"), text("fault"), text("code"), text("detail")],
            [outcome, fault, code, detail].map(str::to_owned)
        );
        assert_eq!((&closed["request_bytes"], &closed["response_bytes"]), (&3.into(), &4.into()));
        assert_eq!((text("kind"), text("host")), ("tunnel.closed".to_owned(), HOST.to_owned()));
    }
}

fn tunnel(bench: &Bench) -> Permit {
    let knock = policies::ConnectQuery { host: bench.destination.host(), port: 443, now: clock::now() };
    let Ok(policies::Passage::Tunnel(permit)) = bench.rules().decide(&knock) else { panic!("no tunnel") };
    permit
}

/// Connects to the upstream of a tunnel under these rules; a refusal happens before a socket is opened.
async fn refused(bench: &Bench, mut trail: Trail) -> Refusal {
    let permit = tunnel(bench);
    let refusal = reach(bench.exchange(), permit, &mut trail).await.err().unwrap();
    trail.refuse(&refusal);
    refusal
}

#[tokio::test]
async fn a_known_address_that_the_rule_does_not_cover_is_refused_without_an_opening_record() {
    let bench = Bench::new(&[RULE]);
    assert_eq!(refused(&bench, Trail::tunnel(bench.exchange())).await.reason(), Reason::DeniedAddress);
    let records = bench.records();
    let of_tunnel = records.iter().filter(|record| record["kind"] == "tunnel.opened").count();
    let closed = bench.closing();
    assert_eq!((of_tunnel, closed["tls"].as_str()), (0, Some("pass-through")));
    assert_eq!((closed["decision"].as_str(), closed["rule"].as_str()), (Some(Decision::Deny.as_str()), Some("t")));
}

#[tokio::test]
async fn a_tunnel_takes_its_place_and_its_limits_before_it_is_located() {
    let bench = Bench::new(&["{id: t, allow: {host: api.example.com}, tls: pass-through, limits: {concurrent: 1}}"]);
    let permit = tunnel(&bench);
    let first = limit::limit_tunnel(&bench.core, &bench.session, &permit).unwrap();
    assert_eq!(refused(&bench, Trail::tunnel(bench.exchange())).await.reason(), Reason::RateLimited);
    drop(first);
    assert_eq!(refused(&bench, Trail::tunnel(bench.exchange())).await.reason(), Reason::DeniedAddress);
}
