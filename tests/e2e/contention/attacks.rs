//! What the greedy session and the stranger do, through Egret or, for comparison, at a server that does nothing.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use egret_tests::client::{Wire, config_trusting};
use egret_tests::egret::Session;
use egret_tests::pki::{Flaw, TestCa};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How long an attacker waits for anything.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where attackers connect to, and what they must trust there.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) ca: PathBuf,
    /// The counterpart's port, for targets.
    pub(super) port: u16,
}

/// One kind of attack of the greedy session.
#[derive(Debug)]
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// Connections, each with a thread of its own.
    pub(super) connections: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// HTTP/2 frames, this one again and again.
    Frames(&'static [u8]),
    /// Requests that are refused, a hundred at once.
    Refusals,
    /// One upload without end.
    Upload,
    /// One download without end, taken as fast as it comes.
    Download,
    /// One request whose upstream sends 103 without end.
    Interim,
}

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "16 x WINDOW_UPDATE",
        connections: 16,
        kind: Kind::Frames(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01"),
    },
    Attack {
        name: "16 x PRIORITY",
        connections: 16,
        kind: Kind::Frames(b"\x00\x00\x05\x02\x00\x00\x00\x00\x01\x00\x00\x00\x00\x10"),
    },
    Attack { name: "16 x PING", connections: 16, kind: Kind::Frames(b"\x00\x00\x08\x06\x01\x00\x00\x00\x00abcdefgh") },
    Attack {
        name: "16 x unknown frames",
        connections: 16,
        kind: Kind::Frames(b"\x00\x00\x01\xee\x00\x00\x00\x00\x00x"),
    },
    Attack { name: "16 x pipelined refusals", connections: 16, kind: Kind::Refusals },
    Attack { name: "32 uploads", connections: 32, kind: Kind::Upload },
    Attack { name: "128 downloads", connections: 128, kind: Kind::Download },
    Attack { name: "4 x endless 103", connections: 4, kind: Kind::Interim },
];

impl Attack {
    /// One connection of the attack, made again whenever it ends, until it is stopped.
    pub(super) fn run(&self, door: &Door, session: &Session, stop: &AtomicBool, begun: &AtomicUsize) {
        give_way();
        while !stop.load(Ordering::Relaxed) {
            let (host, alpn) = match self.kind {
                Kind::Frames(_) => ("greedy.origin.test", "h2"),
                Kind::Interim => ("interim.origin.test", "http/1.1"),
                Kind::Refusals | Kind::Upload | Kind::Download => ("greedy.origin.test", "http/1.1"),
            };
            let Some(wire) = tunnel(door, session, host, alpn) else { continue };
            begun.fetch_add(1, Ordering::Relaxed);
            self.flood(wire, &format!("{host}:{}", door.port), stop);
        }
    }

    fn flood(&self, mut wire: Wire, target: &str, stop: &AtomicBool) {
        let on = || !stop.load(Ordering::Relaxed);
        match &self.kind {
            Kind::Frames(frame) => {
                let block = frame.repeat(1000);
                if wire.try_send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") {
                    while on() && wire.try_send(&block) {}
                }
            }
            Kind::Refusals => {
                let block = format!("GET /refused HTTP/1.1\r\nHost: {target}\r\n\r\n").repeat(100);
                while on() && wire.try_send(block.as_bytes()) {
                    // An answer is some 500 bytes: most of them are taken before the next hundred are asked.
                    let mut taken = 0;
                    while on() && taken < 40_000 {
                        match wire.discard() {
                            0 => return,
                            count => taken += count,
                        }
                    }
                }
            }
            Kind::Upload => {
                let head = format!("POST /hash HTTP/1.1\r\nHost: {target}\r\nContent-Length: 1000000000000\r\n\r\n");
                let block = vec![b'x'; 64 << 10];
                if wire.try_send(head.as_bytes()) {
                    while on() && wire.try_send(&block) {}
                }
            }
            Kind::Download => {
                let head = format!("GET /sized/1000000000000 HTTP/1.1\r\nHost: {target}\r\n\r\n");
                if wire.try_send(head.as_bytes()) {
                    while on() && wire.discard() > 0 {}
                }
            }
            Kind::Interim => {
                if wire.try_send(format!("GET /interim HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()) {
                    while on() && wire.discard() > 0 {}
                }
            }
        }
    }
}

/// Attackers run on other machines: here their own work must not take the cores of Egret and of the modest session.
fn give_way() {
    // On Linux this is the priority of the calling thread alone.
    rustix::process::setpriority_process(None, 19).unwrap();
}

/// A tunnel with TLS; `None` where it is refused or broken off.
fn tunnel(door: &Door, session: &Session, host: &str, alpn: &str) -> Option<Wire> {
    let target = format!("{host}:{}", door.port);
    let stream = TcpStream::connect(door.address).ok()?;
    let same = stream.try_clone().ok()?;
    let mut wire = Wire::over(stream);
    let authorization = session.authorization();
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: {authorization}\r\n\r\n");
    if !wire.try_send(head.as_bytes()) || wire.one_answer("CONNECT")?.status != 200 {
        return None;
    }
    let wire = wire.start_tls(config_trusting(&door.ca, &[alpn]), host).ok()?;
    // An attacker that is held up tries again, and one that is stopped ends soon.
    same.set_read_timeout(Some(PATIENCE)).ok()?;
    same.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(wire)
}

/// A client with a wrong token, again and again on new connections.
pub(super) fn stranger(door: &Door, stop: &AtomicBool) {
    give_way();
    while !stop.load(Ordering::Relaxed) {
        let Ok(stream) = TcpStream::connect(door.address) else { continue };
        let mut wire = Wire::over(stream);
        let head = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: Basic eDp5\r\n\r\n";
        if wire.try_send(head.as_bytes()) {
            let _refused = wire.one_answer("CONNECT");
        }
    }
}

/// The other end of the attacks: an upstream for those that go through Egret, and for comparison a proxy that answers them
/// itself. It sends and takes the same bytes either way, at the priority of the attackers, so that what is compared is Egret's work.
#[derive(Debug)]
pub(super) struct Counterpart {
    /// Where it is a proxy that allows everything.
    pub(super) proxy: SocketAddr,
    /// The port on which it is an upstream.
    pub(super) port: u16,
    pub(super) ca_file: PathBuf,
    _folder: tempfile::TempDir,
}

/// The hosts that attacks are aimed at, each with its TLS configuration.
type Hosts = [(&'static str, Arc<ServerConfig>); 2];

impl Counterpart {
    pub(super) fn start() -> Self {
        let (ca, folder) = (TestCa::new("Counterpart CA"), tempfile::tempdir().unwrap());
        let ca_file = ca.write(folder.path());
        let hosts = |alpn: &[&str]| HOSTS.map(|host| (host, ca.server(host, Flaw::None, alpn)));
        let proxy = listen(hosts(&["h2", "http/1.1"]), as_proxy);
        // As an upstream it has HTTP/1.1 only: attacks over HTTP/2 end at Egret.
        let upstream = listen(hosts(&["http/1.1"]), |stream, hosts| serve(stream, &hosts[0].1));
        Self { proxy, port: upstream.port(), ca_file, _folder: folder }
    }
}

/// The hosts of the attacks.
pub(super) const HOSTS: [&str; 2] = ["greedy.origin.test", "interim.origin.test"];

fn listen(hosts: Hosts, serve: fn(TcpStream, &Hosts)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let hosts = hosts.clone();
            std::thread::spawn(move || {
                give_way();
                serve(stream, &hosts);
            });
        }
    });
    address
}

/// Everything up to the empty line, or up to the end of what comes.
fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn as_proxy(mut stream: TcpStream, hosts: &Hosts) {
    let head = read_head(&mut stream);
    let host = head.split([' ', ':']).nth(1).unwrap_or_default();
    let Some((_, config)) = hosts.iter().find(|(name, _)| *name == host) else {
        let _closed = stream.write_all(b"HTTP/1.1 407 no\r\ncontent-length: 0\r\n\r\n");
        return;
    };
    if stream.write_all(b"HTTP/1.1 200 ok\r\n\r\n").is_ok() {
        serve(stream, config);
    }
}

/// Answers with bytes without end, or reads without end.
fn serve(stream: TcpStream, config: &Arc<ServerConfig>) {
    let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
    let head = read_head(&mut tls);
    let (first, block) = match head.split(' ').nth(1) {
        Some("/interim") => {
            (String::new(), b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n".repeat(1000))
        }
        Some(path) if path.starts_with("/sized/") => {
            let length = path.rsplit('/').next().unwrap_or_default();
            (format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"), vec![b'x'; 64 << 10])
        }
        _ => {
            let mut buffer = vec![0; 64 << 10];
            while matches!(tls.read(&mut buffer), Ok(count) if count > 0) {}
            return;
        }
    };
    if tls.write_all(first.as_bytes()).is_ok() {
        while tls.write_all(&block).is_ok() {}
    }
}
