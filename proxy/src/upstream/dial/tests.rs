//! Names and addresses, against a name server of their own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use model::RequestPath;
use policies::{PolicySource, Question};

use super::*;

/// A name server on loopback. Each A query of a name gets the next answer of its list; the last one repeats. Counts the
/// queries.
struct NameServer {
    port: u16,
    queries: Arc<AtomicUsize>,
}

impl NameServer {
    fn start(answers: &[(&str, &[&[[u8; 4]]])]) -> Self {
        Self::start_without(None, answers)
    }

    /// As [`NameServer::start`], and queries of the type `silent` get no answer.
    fn start_without(silent: Option<u8>, answers: &[(&str, &[&[[u8; 4]]])]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let queries = Arc::new(AtomicUsize::new(0));
        let counter = queries.clone();
        let mut lists: HashMap<String, Vec<Vec<[u8; 4]>>> = answers
            .iter()
            .map(|(name, list)| ((*name).to_owned(), list.iter().map(|a| a.to_vec()).collect()))
            .collect();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut query) {
                counter.fetch_add(1, Ordering::SeqCst);
                if silent.is_some_and(|kind| kind_of(&query[..length]) == kind) {
                    continue;
                }
                socket.send_to(&answer(&query[..length], &mut lists), peer).unwrap();
            }
        });
        Self { port, queries }
    }

    fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }

    fn dialer(&self) -> Dialer {
        self.dialer_with(Duration::from_secs(2))
    }

    fn dialer_with(&self, timeout: Duration) -> Dialer {
        let mut connection = ConnectionConfig::udp();
        connection.port = self.port;
        let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        Dialer::with(builder.build().unwrap())
    }
}

/// The type of a query: 1 is A, 28 is AAAA.
fn kind_of(query: &[u8]) -> u8 {
    let mut at = 12;
    while query[at] != 0 {
        at += 1 + usize::from(query[at]);
    }
    query[at + 2]
}

/// The answer to a query, with a time to live of zero: the question again, and one A record for each address.
fn answer(query: &[u8], lists: &mut HashMap<String, Vec<Vec<[u8; 4]>>>) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap().to_lowercase());
        at = end;
    }
    let question = &query[12..at + 5];
    let is_a = query[at + 1..at + 3] == [0, 1];
    let addresses = match lists.get_mut(&labels.join(".")) {
        Some(list) if is_a && list.len() > 1 => list.remove(0),
        Some(list) if is_a => list[0].clone(),
        _ => Vec::new(),
    };
    let mut out = query[..2].to_vec();
    out.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    out.extend(question);
    for address in addresses {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        out.extend(address);
    }
    out
}

fn permit(rule: &str) -> Permit {
    let text = format!("policy: p\nrules:\n  - {{id: r, allow: {{host: \"*.example.com\"}}{rule}}}\n");
    let set = policies::compile(&[PolicySource { name: "p.yaml".to_owned(), text }]).expect("a valid policy");
    let destination = destination("any.example.com");
    let path = RequestPath::parse("/").unwrap();
    let rules = set.rules_for_policies(&["p".into()]).unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let question =
        Question { destination: &destination, method: "GET", path: &path, websocket: false, tool: None, now };
    rules.authorize(&question).unwrap()
}

fn destination(name: &str) -> Destination {
    Destination::new(Scheme::Https, Host::parse(name).unwrap(), 443)
}

async fn locate_all(server: &NameServer, dialer: &Dialer, name: &str, permit: &Permit) -> Result<Vec<IpAddr>, Reason> {
    let self_address = SelfAddress::new(vec![], vec![]);
    let (config, destination) = (Config::default(), destination(name));
    let target = Target {
        config: &config,
        self_address: &self_address,
        dialer,
        destination: &destination,
        bounds: AddressBounds::Permit(permit),
    };
    assert!(target.known().unwrap().is_none());
    let located = target.resolve_allowed(&Lookups::new(1), &"s".into()).await;
    assert!(server.queries() > 0);
    located.map(|l| l.0.iter().map(SocketAddr::ip).collect()).map_err(|refusal| refusal.reason())
}

#[tokio::test]
async fn t035_a_private_answer_is_refused() {
    let server = NameServer::start(&[("in.example.com", &[&[[10, 0, 0, 7]]])]);
    let dialer = server.dialer();
    assert_eq!(locate_all(&server, &dialer, "in.example.com", &permit("")).await, Err(Reason::DeniedAddress));
    let covered = permit(", addresses: [10.0.0.0/8]");
    assert_eq!(locate_all(&server, &dialer, "in.example.com", &covered).await, Ok(vec![[10, 0, 0, 7].into()]));
}

#[tokio::test]
async fn t036_one_private_address_refuses_the_whole_answer() {
    let server = NameServer::start(&[("mixed.example.com", &[&[[1, 1, 1, 1], [127, 0, 0, 1]]])]);
    let dialer = server.dialer();
    assert_eq!(locate_all(&server, &dialer, "mixed.example.com", &permit("")).await, Err(Reason::DeniedAddress));
}

#[tokio::test]
async fn t037_every_answer_is_checked_anew() {
    let server = NameServer::start(&[("rebind.example.com", &[&[[1, 1, 1, 1]], &[[127, 0, 0, 1]]])]);
    let dialer = server.dialer();
    let permit = permit("");
    assert_eq!(locate_all(&server, &dialer, "rebind.example.com", &permit).await, Ok(vec![[1, 1, 1, 1].into()]));
    assert_eq!(locate_all(&server, &dialer, "rebind.example.com", &permit).await, Err(Reason::DeniedAddress));
}

#[tokio::test]
async fn t034_a_metadata_service_needs_its_exact_address() {
    let server = NameServer::start(&[("meta.example.com", &[&[[169, 254, 169, 254]]])]);
    let dialer = server.dialer();
    let exact = permit(", addresses: [169.254.169.254/32]");
    assert_eq!(locate_all(&server, &dialer, "meta.example.com", &permit("")).await, Err(Reason::DeniedAddress));
    assert!(locate_all(&server, &dialer, "meta.example.com", &exact).await.is_ok());
}

#[tokio::test]
async fn fixed_answers_and_the_hosts_file_come_before_dns() {
    let server = NameServer::start(&[]);
    let dialer = server.dialer();
    let config =
        Config { resolve: HashMap::from([("fixed.example.com".to_owned(), [1, 2, 3, 4].into())]), ..Config::default() };
    assert_eq!(dialer.known(&config, &destination("fixed.example.com")), Some(vec![IpAddr::from([1, 2, 3, 4])]));
    assert!(dialer.known(&config, &destination("localhost")).is_some());
    assert_eq!(server.queries(), 0);
    assert_eq!(dialer.known(&config, &destination("missing.example.com")), None);
    let missing = dialer.look_up(&destination("missing.example.com")).await;
    assert_eq!(missing.map_err(|refusal| refusal.reason()), Err(Reason::UpstreamDns));
}

const A: u8 = 1;
const AAAA: u8 = 28;

#[tokio::test]
async fn one_family_suffices_where_the_other_is_never_answered() {
    let server = NameServer::start_without(Some(AAAA), &[("half.example.com", &[&[[1, 1, 1, 1]]])]);
    let dialer = server.dialer();
    let found = dialer.look_up(&destination("half.example.com")).await.unwrap();
    assert_eq!(found, [IpAddr::from([1, 1, 1, 1])]);
}

#[tokio::test]
async fn a_family_without_addresses_says_nothing_about_the_one_that_is_not_answered() {
    // A has no address and AAAA is silent, or the reverse: there may be addresses that no answer showed.
    for silent in [A, AAAA] {
        let server = NameServer::start_without(Some(silent), &[("none.example.com", &[&[]])]);
        let dialer = server.dialer_with(Duration::from_millis(100));
        let refusal = dialer.look_up(&destination("none.example.com")).await.unwrap_err();
        assert_eq!((refusal.reason(), refusal.class()), (Reason::UpstreamDns, Some("timeout")), "{silent}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_family_is_waited_for_as_long_as_it_is_needed() {
    let address = || Ok(vec![IpAddr::from([1, 1, 1, 1])]);
    // The clock is virtual: it advances only while every task waits.
    let has_one = address();
    let in_time = |time| tokio::time::timeout(time, second(&has_one, std::future::pending()));
    assert!(in_time(FAMILY_DELAY - Duration::from_millis(1)).await.is_err());
    assert_eq!(in_time(FAMILY_DELAY + Duration::from_millis(1)).await, Ok(Err(Unresolved::Timeout)));
    let slow = |answer: Family| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer
    };
    for first in [Ok(vec![]), Err(Unresolved::NoAddress), Err(Unresolved::Failure), Err(Unresolved::Timeout)] {
        assert_eq!(second(&first, slow(address())).await, address(), "{first:?}");
    }
    assert_eq!(second(&Err(Unresolved::NoName), std::future::pending()).await, Err(Unresolved::NoName));
}

#[test]
fn what_may_hide_an_address_comes_before_that_there_is_none() {
    use Unresolved::{Failure, NoAddress, NoName, Timeout};
    let (v4, v6) = (IpAddr::from([1, 1, 1, 1]), IpAddr::from([0x2600, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(both(Ok(vec![v4]), Ok(vec![v6])), Ok(vec![v4, v6]));
    assert_eq!(both(Err(Timeout), Ok(vec![v6])), Ok(vec![v6]));
    for (a, b, why) in [
        (NoAddress, NoAddress, NoAddress),
        (NoAddress, Timeout, Timeout),
        (Failure, Timeout, Timeout),
        (NoAddress, Failure, Failure),
        (NoName, Timeout, NoName),
    ] {
        assert_eq!(both(Err(a), Err(b)), Err(why));
        assert_eq!(both(Err(b), Err(a)), Err(why));
    }
    assert_eq!(both(Ok(vec![]), Err(NoAddress)), Err(NoAddress));
}

/// A name server that receives every query and answers none.
fn silent() -> (NameServer, UdpSocket) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let port = socket.local_addr().unwrap().port();
    (NameServer { port, queries: Arc::default() }, socket)
}

#[tokio::test]
async fn t139_lookups_in_flight_are_bounded() {
    let (server, socket) = silent();
    let dialer = server.dialer();
    let self_address = SelfAddress::new(vec![], vec![]);
    let config = Config::default();
    let permit = permit("");
    let lookups = Lookups::new(2);
    let names: Vec<Destination> = (0..10).map(|n| destination(&format!("n{n}.silent.test"))).collect();
    let session = SessionId::new("s");
    let look_up = |config, destination| {
        let bounds = AddressBounds::Permit(&permit);
        let target = Target { config, self_address: &self_address, dialer: &dialer, destination, bounds };
        target.resolve_allowed(&lookups, &session)
    };
    let mut running: Vec<_> = names.iter().map(|destination| Box::pin(look_up(&config, destination))).collect();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    let (mut asked, mut query) = (std::collections::BTreeSet::new(), [0; 512]);
    while asked.len() < 2 {
        std::future::poll_fn(|cx| {
            // No server answers, and the lookup has not timed out: all of them wait, for the server or for a slot.
            running.iter_mut().for_each(|lookup| assert!(lookup.as_mut().poll(cx).is_pending()));
            socket.poll_recv(cx, &mut tokio::io::ReadBuf::new(&mut query))
        })
        .await
        .unwrap();
        asked.insert(query[13..15].to_vec());
    }
    assert_eq!(asked, [b"n0".to_vec(), b"n1".to_vec()].into(), "only the first two have a slot");
    assert_eq!(lookups.free(&session), 0);
    drop(running);
    assert_eq!(lookups.free(&session), 2, "a lookup that was given up gives its slot back");
    let mut slow = Config::default();
    slow.limits.resolve_timeout = Duration::from_millis(300);
    let all = names.iter().map(|destination| look_up(&slow, destination));
    let answers = all_of(all.collect()).await;
    assert!(answers.iter().all(|answer| answer.as_ref().err() == Some(&(Reason::UpstreamDns, Some("timeout")))));
}

type Answer = Result<(), (Reason, Option<&'static str>)>;

/// Runs lookups at once, on this task.
async fn all_of<F: Future<Output = Result<AllowedAddresses, Refusal>>>(futures: Vec<F>) -> Vec<Answer> {
    let mut running: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut answers = Vec::new();
    std::future::poll_fn(|cx| {
        running.retain_mut(|future| match future.as_mut().poll(cx) {
            std::task::Poll::Pending => true,
            std::task::Poll::Ready(answer) => {
                answers.push(answer.map(drop).map_err(|refusal| (refusal.reason(), refusal.class())));
                false
            }
        });
        if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers
}
