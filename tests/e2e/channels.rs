//! Clients that their channel identifies: the listener of a session, and the user of a process on a shared unix socket. Also what
//! a replaced token closes.

use std::io::copy;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use egret_tests::client::{Answer, H2, Tunnel, Wire, client_config};
use egret_tests::egret::{Egret, Session, Setup};
use egret_tests::wait;

use crate::world::{World, fill};

const POLICY: &str = "policy: channels\nrules:\n  - id: api\n    allow: {host: api.origin.test, port: PORT, LOCAL}\n    use: [token]\n  \
                      - id: unread\n    allow: {host: raw.origin.test, port: PORT, LOCAL}\n    tls: pass-through\n";

/// What runs in a sandbox beside its tools: accepts on loopback, and passes each connection on to a unix socket.
fn relay(socket: &Path) -> SocketAddr {
    let (listener, socket) = (TcpListener::bind("127.0.0.1:0").unwrap(), socket.to_owned());
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            let Ok(server) = UnixStream::connect(&socket) else { continue };
            let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (mut client, mut server) = (client, server);
            thread::spawn(move || {
                let _bytes = copy(&mut up, &mut server);
                let _closed = server.shutdown(Shutdown::Write);
            });
            thread::spawn(move || {
                let _bytes = copy(&mut down, &mut client);
                let _closed = client.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

/// A CONNECT over a relay; the fields may hold credentials.
fn connect(relay: SocketAddr, target: &str, fields: &str) -> (Answer, Wire) {
    let mut wire = Wire::over(TcpStream::connect(relay).unwrap());
    wire.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n"));
    (wire.answer_to("CONNECT"), wire)
}

/// The socket of a session's listener.
fn listener(session: &Session) -> PathBuf {
    session.document["listener"].as_str().unwrap().into()
}

fn uid() -> String {
    format!("uid:{}", rustix::process::geteuid().as_raw())
}

/// A request within a tunnel through a relay.
fn get(egret: &Egret, relay: SocketAddr, target: &str, path: &str) -> Answer {
    let (answer, wire) = connect(relay, target, "");
    assert_eq!(answer.status, 200, "{answer:?}");
    let host = target.split(':').next().unwrap();
    let mut wire = wire.start_tls(client_config(egret, &[]), host).unwrap();
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"));
    wire.answer()
}

#[test]
fn t298_clients_of_a_sessions_listener_need_no_credentials() {
    let world = World::new(&["api.origin.test", "raw.origin.test"], &[POLICY], |setup| setup);
    let egret = &world.egret;
    let target = world.target("api.origin.test");
    let secret = egret.put("token", &["--kind", "bearer", "--audience", &target]);
    let session = egret.session_with(&["channels"], &["token"], &["--listen"]);
    let socket = listener(&session);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o711));
    let relay = relay(&socket);

    let answer = get(egret, relay, &target, "/t298");
    assert_eq!(answer.status, 200, "{answer:?}");
    let bearer = format!("Bearer {}", secret.value());
    assert_eq!(world.origin.seen_once("/t298").values("authorization"), [bearer]);
    let record = egret.record_where("the exchange", |record| record.text("path") == "/t298");
    assert_eq!([record.text("attribution"), record.text("session")], ["listener", session.id.as_str()]);

    // A real client that is configured with the relay's address alone.
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--proxy", &format!("http://{relay}")])
        .arg("--cacert")
        .arg(egret.ca_file())
        .arg(format!("https://{target}/curl"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    // Right credentials of the same session pass; those of another one do not, nor do wrong ones.
    let other = egret.session(&["channels"], &[]);
    let with = |session: &Session| format!("Proxy-Authorization: {}\r\n", session.authorization());
    assert_eq!(connect(relay, &target, &with(&session)).0.status, 200);
    assert_eq!(connect(relay, &target, &with(&other)).0.status, 407);
    let wrong = Session { token: "egt_wrong".to_owned(), ..session.clone() };
    assert_eq!(connect(relay, &target, &with(&wrong)).0.status, 407);

    // A tunnel that is not read works alike.
    let (answer, wire) = connect(relay, &world.target("raw.origin.test"), "");
    assert_eq!(answer.status, 200);
    drop(wire);

    // After a restart the socket is at the same path, in the same folder.
    let folder = std::fs::File::open(socket.parent().unwrap()).unwrap();
    egret.kill();
    egret.launch();
    assert_eq!(get(egret, relay, &target, "/after").status, 200);
    assert!(Path::new(&format!("/proc/self/fd/{}/proxy.sock", std::os::fd::AsRawFd::as_raw_fd(&folder))).exists());

    // The end of the session closes what it opened, and takes the socket away.
    let (_, mut idle) = connect(relay, &target, "");
    let mut silent = Wire::over(TcpStream::connect(relay).unwrap());
    egret.ok(&["session", "end", &session.id], "");
    assert!(idle.is_closed() && silent.is_closed());
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn t298_a_listener_is_for_the_user_that_its_session_names() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
    let (egret, target) = (&world.egret, world.target("api.origin.test"));
    let ours = egret.session_with(&["channels"], &[], &["--listen", "--peer", &uid()]);
    let theirs = egret.session_with(&["channels"], &[], &["--listen", "--peer", "uid:12345"]);
    assert_eq!(std::fs::metadata(listener(&theirs)).unwrap().permissions().mode() & 0o777, 0o666);
    assert_eq!(connect(relay(&listener(&ours)), &target, "").0.status, 200);
    let refused = {
        // Refused before it sends a byte, even with the right credentials.
        let mut wire = Wire::over(TcpStream::connect(relay(&listener(&theirs))).unwrap());
        wire.answer_to("CONNECT")
    };
    assert_eq!(refused.status, 407, "{refused:?}");
    let record = egret.record_where("the refusal", |record| record.text("code") == "session_invalid");
    assert_eq!(record.text("detail"), "wrong_peer");
    for (peer, why) in [("uid:65534", "cannot be uid:65534"), ("ann", "write uid: and a number")] {
        let output = egret.run(&["session", "create", "--listen", "--peer", peer], "");
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains(why), "{printed}");
    }
}

#[test]
fn t298_a_shared_socket_identifies_clients_by_their_user() {
    let origin = egret_tests::origin::Origin::start();
    let setup = Setup::for_origin(&origin, &["api.origin.test"]).policy(&fill(&origin, POLICY));
    let egret = Egret::prepare(&setup);
    let text = std::fs::read_to_string(egret.config()).unwrap();
    let listen = "  proxy: [127.0.0.1:0, \"unix:proxy.sock\"]\n  proxy_unix_mode: \"0666\"\n";
    std::fs::write(egret.config(), text.replace("  proxy: 127.0.0.1:0\n", listen)).unwrap();
    egret.launch();
    let socket = egret.folder().join("proxy.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
    let (relay, target) = (relay(&socket), format!("api.origin.test:{}", origin.port()));
    assert_eq!(connect(relay, &target, "").0.status, 407);
    let session = egret.session_with(&["channels"], &[], &["--peer", &uid()]);
    assert_eq!(get(&egret, relay, &target, "/t298").status, 200);
    let record = egret.record_where("the exchange", |record| record.text("path") == "/t298");
    assert_eq!([record.text("attribution"), record.text("session")], ["unix_peer", session.id.as_str()]);
    let second = egret.run(&["session", "create", "--peer", &uid()], "");
    let printed = String::from_utf8_lossy(&second.stderr).into_owned();
    let id = &session.id;
    let other = format!("identifies {id} already; end it with `egret session end {id}`");
    assert!(printed.contains(&other), "{printed}");
    // Credentials come before the user.
    let other = egret.session(&["channels"], &[]);
    let (answer, _wire) = connect(relay, &target, &format!("Proxy-Authorization: {}\r\n", other.authorization()));
    assert_eq!(answer.status, 200);
    egret.ok(&["session", "end", &session.id], "");
    assert_eq!(connect(relay, &target, "").0.status, 407);
}

#[test]
fn a_user_identifies_no_session_without_a_shared_socket() {
    let egret = Egret::start(&Setup::default());
    let output = egret.run(&["session", "create", "--peer", &uid()], "");
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains("peer needs a unix socket in `listen.proxy`, or a listener of the session"), "{printed}");
}

#[test]
fn t297_what_a_replaced_token_opened_closes_and_the_session_goes_on() {
    let world = World::new(&["api.origin.test", "raw.origin.test"], &[POLICY], |setup| setup);
    let (egret, target) = (&world.egret, world.target("api.origin.test"));
    let session = egret.session_with(&["channels"], &[], &["--listen"]);
    let mut h1 = Tunnel::to(&target).open(egret, &session);
    let mut h2 = H2::open(egret, &session, &target);
    let mut unread = Tunnel::to(&world.target("raw.origin.test")).connect(egret, &session);
    let (_, mut by_listener) = connect(relay(&listener(&session)), &target, "");
    h1.send(format!("GET /gated/t297 HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    h1.read_until("\r\n\r\n");
    assert_eq!(h2.get(&target, "/before").unwrap().status, 200);
    // The connection belongs to the listener's client, and this request to the token.
    let mut absolute = Wire::over(TcpStream::connect(relay(&listener(&session))).unwrap());
    absolute.send(format!("GET https://{target}/first HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert_eq!(absolute.answer().status, 200);
    let authorization = session.authorization();
    absolute.send(format!(
        "GET https://{target}/gated/token HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: {authorization}\r\n\r\n"
    ));
    absolute.read_until("\r\n\r\n");

    let renewed = egret.ok(&["session", "env", &session.id, "--format", "json"], "");
    let renewed: serde_json::Value = serde_json::from_str(&renewed).unwrap();
    h1.rest();
    assert!(unread.is_closed());
    wait::until("the h2 connection is closed", || h2.get(&target, "/after").is_err().then_some(()));
    absolute.rest();
    for path in ["/gated/t297", "/gated/token"] {
        let ended = egret.record_where("the stream", |record| {
            record.text("path") == path && record.text("kind") == "exchange.closed"
        });
        assert_eq!([ended.text("code"), ended.text("detail")], ["session_ended", "replaced_token"], "{path}");
    }
    world.origin.assert_saw_nothing_of("/after");

    // A client that its channel identified has no token to lose.
    by_listener.send("GET / HTTP/1.1\r\n\r\n");
    let answered = by_listener.answer();
    assert_eq!(answered.status, 400, "{answered:?}");
    let fresh = Session { token: renewed["token"].as_str().unwrap().to_owned(), ..session };
    assert_eq!(egret_tests::client::get(egret, &fresh, &target, "/fresh").status, 200);
}
