//! The test bench of the steps: a proxy with one core and one session, over a temporary folder, and messages in memory. No test that
//! uses it opens a socket.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use audit::{Durability, Journal, Settings};
use bytes::Bytes;
use certs::{Ca, Leaves, Trust};
use http::{HeaderName, HeaderValue, Method};
use model::{CredentialId, Destination, Fields, Host, RequestPath, Scheme};
use policies::{InForce, Permit, PolicySet, PolicySource, Question, Rules};
use serde_json::Value;
use sessions::{Bounds, GrantRequest, Identified, NewSession, Offered, Proof, Registry, Session};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use vault::{Audience, CredentialSpec, KeyFile, Kind, NewCredential, Secret, Vault};

use crate::active::{ActiveExchange, Asked as Judged};
use crate::body::incoming::Incoming;
use crate::body::upload::Upload;
use crate::context::Exchange;
use crate::credentials::access::{CredentialRequest, Methods};
use crate::downlink::Downlink;
use crate::fed::flow;
use crate::flow::Flow;
use crate::held::Held;
use crate::http1::client::{Client, Outgoing};
use crate::http1::link::{Arrived, ClientCheck, Link};
use crate::limits::admission::Admission;
use crate::message::Response;
use crate::permitted::Permitted;
use crate::request::Asked;
use crate::trail::Trail;
use crate::upstream::dial::HttpVersions;
use crate::upstream::pool::{Key, Sender, Upstream};
use crate::{Config, Core, Parts, rules, server};

/// The host that requests of a test go to, and its address.
pub(crate) const HOST: &str = "api.example.com";
pub(crate) const ADDRESS: [u8; 4] = [192, 0, 2, 7];

/// The value of each credential of a test.
pub(crate) const VALUE: &str = "value-of-the-credential-0123456789";

/// Bytes that a stream in memory holds.
const STREAM_BYTES: usize = 1 << 20;

/// Created once: a key and the roots of the system take longer than all other setup.
static CA: LazyLock<Arc<Ca>> = LazyLock::new(|| Arc::new(Ca::create(clock::now()).unwrap().0));
static TRUST: LazyLock<Arc<Trust>> = LazyLock::new(|| Arc::new(Trust::load(&[], &CA).unwrap()));

/// A TLS client that offers these protocols, and trusts the CA of a bench or no CA.
pub(crate) fn tls_client(alpn: &[&[u8]], trusts: bool) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    if trusts {
        roots.add(CA.cert_der().clone()).unwrap();
    }
    let builder = rustls::ClientConfig::builder_with_provider(certs::provider());
    let mut config =
        builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config).into()
}

/// A credential for one host.
pub(crate) fn credential(id: &str, kind: Kind, host: &str) -> NewCredential {
    NewCredential::new(id.into(), CredentialSpec::new(kind, Audience::parse(&[host]).unwrap()))
}

/// The parts of a bench.
pub(crate) struct Setup {
    rules: String,
    /// The scheme of the destination.
    pub(crate) scheme: Scheme,
    /// Put into the vault and granted to the session.
    pub(crate) credentials: Vec<NewCredential>,
    /// The bounds of every grant.
    pub(crate) bounds: Bounds,
    /// The limits of the session.
    pub(crate) limits: model::Limits,
    pub(crate) config: Config,
    /// The addresses that count as listeners of Egret.
    pub(crate) listening: Vec<SocketAddr>,
}

impl Setup {
    /// One policy with these rules; [`HOST`] is at [`ADDRESS`].
    pub(crate) fn new(rules: &[&str]) -> Self {
        let config =
            Config { resolve: [(HOST.to_owned(), IpAddr::from(ADDRESS))].into(), threads: 1, ..Config::default() };
        Self {
            rules: policy(rules),
            scheme: Scheme::Https,
            credentials: Vec::new(),
            bounds: Bounds::default(),
            limits: model::Limits::default(),
            config,
            listening: Vec::new(),
        }
    }

    /// With a credential of the audience [`HOST`] whose value is [`VALUE`].
    pub(crate) fn credential(self, id: &str, kind: Kind) -> Self {
        self.with_credential(credential(id, kind, HOST))
    }

    /// With this credential.
    pub(crate) fn with_credential(mut self, new: NewCredential) -> Self {
        self.credentials.push(new);
        self
    }

    /// # Panics
    /// Where any part of it is not valid.
    pub(crate) fn build(self) -> Bench {
        Bench::of(self)
    }
}

/// The text of a policy `p` with these rules.
fn policy(rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
    format!("policy: p\nrules:\n{rules}")
}

fn compiled(text: String) -> PolicySet {
    policies::compile(&[PolicySource { name: "p.yaml".to_owned(), text }]).expect("a valid policy")
}

/// A proxy with one core and one session. Requests go to [`HOST`].
pub(crate) struct Bench {
    pub(crate) core: Core,
    pub(crate) client: Identified,
    pub(crate) session: Arc<Session>,
    pub(crate) destination: Destination,
    pub(crate) flow: Arc<Flow>,
    pub(crate) downlink: Arc<Downlink>,
    placeholders: Vec<Offered>,
    _draining: watch::Sender<bool>,
    folder: tempfile::TempDir,
}

impl Bench {
    /// With these rules and nothing else.
    pub(crate) fn new(rules: &[&str]) -> Self {
        Setup::new(rules).build()
    }

    fn of(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let key = KeyFile(folder.path().join("key"));
        key.create().unwrap();
        let vault = Vault::create(&folder.path().join("vault"), &key).unwrap();
        let now = clock::now();
        let mut grants = Vec::new();
        for new in setup.credentials {
            let credential = new.id.clone();
            vault.put(new, Secret::new(VALUE.as_bytes().to_vec()), now).unwrap();
            let shape = vault.shape(&model::TenantId::default(), &credential).unwrap();
            let (audience, prefix) = (Some(shape.audience().clone()), shape.prefix().map(str::to_owned));
            grants.push(GrantRequest { credential, env: None, prefix, bounds: setup.bounds.clone(), audience });
        }
        let sessions = Registry::open(&folder.path().join("sessions"), now).unwrap();
        let new = NewSession { policies: vec!["p".into()], grants, limits: setup.limits, ..NewSession::default() };
        let created = sessions.create(new, now).unwrap();
        let proof = Proof::Token { id: created.session.id.as_str(), token: created.token.as_bytes() };
        let client = sessions.identify(proof, now).unwrap();
        let settings = Settings { reserve_bytes: 0, ..Settings::new(Durability::Process) };
        let (journal, _) = Journal::open_with(&folder.path().join("journal"), settings).unwrap();
        let parts = Parts {
            config: setup.config,
            sessions: Arc::new(sessions),
            policies: Arc::new(InForce::new(compiled(setup.rules))),
            vault: Arc::new(vault),
            leaves: Arc::new(Leaves::new(CA.clone(), 16).unwrap()),
            trust: Arc::new(ArcSwap::new(TRUST.clone())),
            journal,
        };
        let (draining_sender, draining) = watch::channel(false);
        let proxy = server::proxy(parts, setup.listening, draining, Arc::new(AtomicBool::new(false))).unwrap();
        let destination = Destination::new(setup.scheme, Host::parse(HOST).unwrap(), setup.scheme.default_port());
        Self {
            core: Arc::into_inner(server::core(Arc::new(proxy)).unwrap()).unwrap(),
            client,
            session: created.session,
            destination,
            flow: Arc::new(Flow::new(tokio::time::Instant::now())),
            downlink: Arc::default(),
            placeholders: created.placeholders,
            _draining: draining_sender,
            folder,
        }
    }

    pub(crate) fn exchange(&self) -> Exchange<'_> {
        let Self { core, client, destination, flow, downlink, .. } = self;
        Exchange { core, client, destination, flow, downlink, preconnect: None }
    }

    /// The key in the pool of its connections that carried no credential.
    pub(crate) fn key(&self, versions: HttpVersions) -> Key {
        Key {
            session: self.session.id.clone(),
            destination: self.destination.clone(),
            versions,
            credentials: Vec::new(),
            trust: self.core.proxy.trust.load().serial(),
        }
    }

    /// Its core, its client and its destination, and what must be kept as long as they are in use.
    pub(crate) fn into_parts(self) -> (Arc<Core>, Identified, Destination, impl Sized) {
        let Self { core, client, destination, _draining, folder, .. } = self;
        (Arc::new(core), client, destination, (_draining, folder))
    }

    /// The open record of a request to the destination.
    pub(crate) fn trail(&self) -> Trail {
        Trail::new(self.exchange())
    }

    /// As [`Bench::trail`], for an exchange with this flow.
    pub(crate) fn trail_of(&self, flow: &Arc<Flow>) -> Trail {
        Trail::new(Exchange { flow, ..self.exchange() })
    }

    /// The admission of an exchange without limits.
    pub(crate) fn held(&self) -> Held {
        let slot = self.core.proxy.quotas.request(&self.session.id).unwrap();
        Held::new(slot, Admission::default(), &self.line("GET", "/").active)
    }

    /// The session's rules.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        rules::in_force(&self.core.proxy, &self.session).unwrap()
    }

    /// Puts these rules in force from now on.
    pub(crate) fn replace_rules(&self, rules: &[&str]) {
        self.core.proxy.policies.replace(compiled(policy(rules)));
    }

    /// The placeholder of a credential.
    pub(crate) fn placeholder(&self, id: &str) -> &str {
        let offered = self.placeholders.iter().find(|offered| offered.credential == CredentialId::from(id));
        &offered.unwrap().placeholder
    }

    /// A new value for a credential.
    pub(crate) fn put(&self, new: NewCredential, value: &str) {
        self.core.proxy.vault.put(new, Secret::new(value.as_bytes().to_vec()), clock::now()).unwrap();
    }

    /// A request that the rules permit.
    pub(crate) fn line(&self, method: &str, target: &str) -> Line<'_> {
        let (method, path) = (Method::from_bytes(method.as_bytes()).unwrap(), RequestPath::parse(target).unwrap());
        let question = Question {
            destination: &self.destination,
            method: method.as_str(),
            path: &path,
            websocket: false,
            tool: None,
            now: clock::now(),
        };
        let permit = self.rules().authorize(&question).unwrap();
        let methods = Methods::of(&method, &path);
        let asked = Judged::Request { method, path, websocket: false, tool: None };
        let flow = Arc::new(Flow::new(tokio::time::Instant::now()));
        let active = self.core.active.add(Exchange { flow: &flow, ..self.exchange() }, asked, &permit);
        Line { bench: self, permit, flow, active, methods }
    }

    /// A request as it arrives in a tunnel of the session.
    pub(crate) async fn asked(&self, bytes: &str) -> Asked {
        self.arriving(bytes).await.0
    }

    /// As [`Bench::asked`], with the client's end of the connection, so that more can follow.
    pub(crate) async fn arriving(&self, bytes: &str) -> (Asked, DuplexStream) {
        let (mut client, ours) = tokio::io::duplex(STREAM_BYTES);
        client.write_all(bytes.as_bytes()).await.unwrap();
        let check = ClientCheck::Tunnel(self.client.clone());
        let link = Link::new(ours, self.core.proxy.limits.clone(), check);
        match link.next().await.unwrap().unwrap() {
            Arrived::Request(identified, read) => (Asked::from(link.request(identified, *read)), client),
            Arrived::Connect(..) => panic!("a CONNECT"),
        }
    }

    /// Every record so far: its contents, with its kind.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.core.proxy.journal.flush();
        let entries = std::fs::read_dir(self.folder.path().join("journal")).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
        files.sort_unstable();
        let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let record = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let mut contents = line["contents"].take();
            contents["kind"] = line["kind"].take();
            contents
        };
        texts.iter().flat_map(|text| text.lines()).map(record).collect()
    }

    /// The records that close an exchange or a tunnel.
    pub(crate) fn closed(&self) -> Vec<Value> {
        let mut records = self.records();
        records.retain(|record| record["kind"].as_str().unwrap().ends_with(".closed"));
        records
    }

    /// The latest record that closes an exchange or a tunnel.
    pub(crate) fn last_closed(&self) -> Value {
        self.closed().pop().unwrap()
    }

    /// The only record that closes an exchange or a tunnel.
    pub(crate) fn closing(&self) -> Value {
        let mut closed = self.closed();
        assert_eq!(closed.len(), 1, "{closed:?}");
        closed.remove(0)
    }
}

/// A request that a rule permits.
pub(crate) struct Line<'b> {
    bench: &'b Bench,
    pub(crate) permit: Permit,
    flow: Arc<Flow>,
    pub(crate) active: Arc<ActiveExchange>,
    methods: Methods,
}

impl Line<'_> {
    pub(crate) fn permitted(&self) -> Permitted<'_> {
        Permitted {
            exchange: Exchange { flow: &self.flow, ..self.bench.exchange() },
            permit: &self.permit,
            active: &self.active,
        }
    }

    pub(crate) fn wanted(&self) -> CredentialRequest<'_> {
        CredentialRequest {
            vault: &self.bench.core.proxy.vault,
            session: &self.bench.session,
            destination: &self.bench.destination,
            permit: &self.permit,
            methods: &self.methods,
        }
    }
}

/// A connection to an upstream at [`ADDRESS`] without any request yet, and the upstream's end of it.
pub(crate) fn upstream() -> (Upstream, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
    let (sender, address) = (
        Sender::Http1(Client::new(ours, crate::config::Limits::default().response_head())),
        SocketAddr::from((ADDRESS, 443)),
    );
    (Upstream { sender, address, tls: Some("1.3"), chain: None, reused: false, slot: None }, theirs)
}

/// A response with all of its body.
pub(crate) async fn response(bytes: &[u8]) -> Response<Incoming> {
    responding(bytes).await.0
}

/// As [`response`], with the upstream's end of the connection, so that more can follow.
pub(crate) async fn responding(bytes: &[u8]) -> (Response<Incoming>, DuplexStream) {
    let (ours, mut upstream) = tokio::io::duplex(STREAM_BYTES);
    upstream.write_all(bytes).await.unwrap();
    let target = "/".to_owned().into();
    let mut outgoing = Outgoing::<Upload> { method: Method::GET, target, fields: Fields::new(), body: None };
    let (response, _) = Client::new(ours, crate::config::Limits::default().response_head())
        .send(&mut outgoing, &flow(true), &mut |_, _| {})
        .await
        .unwrap();
    (response.map(Incoming::from), upstream)
}

/// These fields.
pub(crate) fn fields(all: &[(&'static str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in all {
        fields.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    fields
}

/// All bytes and the trailers of a body; an error as its text.
pub(crate) async fn collect<B>(body: B) -> Result<(Bytes, Option<http::HeaderMap>), String>
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Display>,
{
    use http_body_util::BodyExt as _;
    let collected = body.collect().await.map_err(|error| error.to_string())?;
    let trailers = collected.trailers().cloned();
    Ok((collected.to_bytes(), trailers))
}
