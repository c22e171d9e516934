//! The only file that resolves names and opens upstream sockets. Every address is classified before it is dialed, and
//! exactly the checked address is dialed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certs::{TlsClass, Trust, VerifiedChain};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use model::{AddressClass, Destination, Host, Reason, Scheme, SessionId, Timestamp};
use policies::{Permit, Rules};
use rustls::pki_types::ServerName;
use sessions::Session;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{Config, Limits};
use crate::limits::timer::Timer;
use crate::refusal::Refusal;
use crate::upstream::hosts::Hosts;
use crate::upstream::lookups::Lookups;
use crate::upstream::self_address::SelfAddress;
use crate::{Core, Proxy};

/// The protocols to offer on an upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HttpVersions {
    /// HTTP/1.1, because the client uses it.
    Http1,
    /// HTTP/2 if the upstream supports it, else HTTP/1.1.
    Http2OrHttp1,
}

impl HttpVersions {
    fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2OrHttp1 => &[b"h2", b"http/1.1"],
        }
    }
}

/// Addresses of a destination, each of which the rule may dial. Only `Target` makes one.
#[derive(Debug)]
pub(crate) struct AllowedAddresses(Vec<SocketAddr>);

impl AllowedAddresses {
    /// The address that is dialed first.
    pub(crate) fn first(&self) -> Option<SocketAddr> {
        self.0.first().copied()
    }

    /// Whether it is one of them.
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        self.0.contains(&address)
    }
}

/// A fresh upstream connection.
pub(crate) struct Fresh<S = TcpStream> {
    pub(crate) stream: Stream<S>,
    pub(crate) address: SocketAddr,
    /// How its upstream was verified; `None` in cleartext.
    pub(crate) chain: Option<Arc<VerifiedChain>>,
}

/// How bytes travel to the upstream.
pub(crate) enum Stream<S = TcpStream> {
    /// Cleartext.
    Plain(S),
    /// TLS with a verified certificate.
    Tls(Box<TlsStream<S>>),
}

impl<S> Stream<S> {
    /// The TLS version, as records name it.
    pub(crate) fn tls_version(&self) -> Option<&'static str> {
        let Self::Tls(tls) = self else { return None };
        tls.get_ref()
            .1
            .protocol_version()
            .map(|version| if version == rustls::ProtocolVersion::TLSv1_3 { "1.3" } else { "1.2" })
    }
}

/// Resolver and TLS settings of one core.
pub(crate) struct Dialer {
    resolver: TokioResolver,
    hosts: Mutex<Hosts>,
    /// One for each session, so that tickets are never shared between sessions.
    tls: Mutex<HashMap<(SessionId, HttpVersions), TlsSettings>>,
}

#[derive(Clone)]
struct TlsSettings {
    trust: Arc<Trust>,
    config: Arc<rustls::ClientConfig>,
}

impl Dialer {
    /// Reads the system's resolver settings and hosts file.
    ///
    /// # Errors
    /// The resolver's settings are unusable.
    pub(crate) fn new(limits: &Limits) -> io::Result<Self> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = match TokioResolver::builder(provider.clone()) {
            Ok(builder) => builder,
            // A machine without resolv.conf still has its hosts file and `upstream.resolve`.
            Err(_) => TokioResolver::builder_with_config(hickory_resolver::config::ResolverConfig::default(), provider),
        };
        let options = builder.options_mut();
        options.timeout = limits.resolve_timeout / 2;
        options.attempts = 2;
        // Canonical names are complete: a search domain would send a query for a name that no policy judged.
        options.ndots = 0;
        options.use_hosts_file = ResolveHosts::Never;
        Ok(Self::with(builder.build().map_err(io::Error::other)?))
    }

    fn with(resolver: TokioResolver) -> Self {
        let mut hosts = Hosts::default();
        hosts.refresh();
        Self { resolver, hosts: Mutex::new(hosts), tls: Mutex::default() }
    }

    /// Removes the TLS settings of sessions that are over, and checks whether the hosts file has changed.
    pub(crate) fn sweep(&self, live: impl Fn(&SessionId) -> bool) {
        model::sync::lock(&self.hosts).refresh();
        model::sync::lock(&self.tls).retain(|(session, _), _| live(session));
    }

    fn tls_settings(&self, proxy: &Proxy, session: &Session, versions: HttpVersions) -> TlsSettings {
        let trust = proxy.trust.load_full();
        let mut all = model::sync::lock(&self.tls);
        let key = (session.id.clone(), versions);
        match all.get(&key) {
            Some(known) if Arc::ptr_eq(&known.trust, &trust) => known.clone(),
            _ => {
                let config = Arc::new(trust.client_config(versions.alpn()));
                let settings = TlsSettings { trust, config };
                all.insert(key, settings.clone());
                settings
            }
        }
    }

    /// The addresses that are known without a lookup: literals, fixed answers, the hosts file.
    fn known(&self, config: &Config, destination: &Destination) -> Option<Vec<IpAddr>> {
        let name = match destination.host() {
            Host::V4(v4) => return Some(vec![IpAddr::V4(*v4)]),
            Host::V6(v6) => return Some(vec![IpAddr::V6(*v6)]),
            Host::Name(name) => name,
        };
        if let Some(address) = config.resolve.get(name.as_ref()) {
            return Some(vec![*address]);
        }
        let hosts = model::sync::lock(&self.hosts);
        hosts.addresses(name).map(<[IpAddr]>::to_vec)
    }

    /// Asks name servers for both families at once. Some servers answer for one and never for the other, so after a first answer with
    /// addresses, the second family gets only [`FAMILY_DELAY`].
    async fn look_up(&self, destination: &Destination) -> Result<Vec<IpAddr>, Refusal> {
        let name = format!("{}.", destination.host());
        let (mut v4, mut v6) = (pin!(self.family(&name, RecordType::A)), pin!(self.family(&name, RecordType::AAAA)));
        let (v4, v6) = tokio::select! {
            first = &mut v4 => {
                let second = second(&first, v6).await;
                (first, second)
            }
            first = &mut v6 => (second(&first, v4).await, first),
        };
        both(v4, v6).map_err(unresolved)
    }

    /// The addresses of one family.
    async fn family(&self, name: &str, kind: RecordType) -> Result<Vec<IpAddr>, Unresolved> {
        match self.resolver.lookup(name, kind).await {
            Err(error) if error.is_nx_domain() => Err(Unresolved::NoName),
            Err(error) if error.is_no_records_found() => Err(Unresolved::NoAddress),
            Err(NetError::Timeout) => Err(Unresolved::Timeout),
            Err(_) => Err(Unresolved::Failure),
            Ok(answer) => Ok(LookupIp::from(answer).iter().collect()),
        }
    }
}

/// The time for the second family after the first has answered with addresses. RFC 8305 waits 50 ms for AAAA after A. Here either family
/// can be late, and a machine without IPv6 needs its A records. So it is the 250 ms of a connection attempt there (section 8).
const FAMILY_DELAY: Duration = Duration::from_millis(250);

/// Why a family has no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unresolved {
    /// The name does not exist, for neither family.
    NoName,
    /// The name exists without addresses of the family.
    NoAddress,
    /// The name servers failed.
    Failure,
    /// The name servers did not answer in time.
    Timeout,
}

type Family = Result<Vec<IpAddr>, Unresolved>;

/// The answer of the second family; it gets only [`FAMILY_DELAY`] if the first has addresses.
async fn second(first: &Family, second: impl Future<Output = Family>) -> Family {
    match first {
        Ok(addresses) if !addresses.is_empty() => {
            tokio::time::timeout(FAMILY_DELAY, second).await.unwrap_or(Err(Unresolved::Timeout))
        }
        Err(Unresolved::NoName) => Err(Unresolved::NoName),
        Ok(_) | Err(Unresolved::NoAddress | Unresolved::Failure | Unresolved::Timeout) => second.await,
    }
}

/// The addresses of both families; without any, an error that may have hidden some takes precedence over their absence.
fn both(v4: Family, v6: Family) -> Family {
    let why = [&v4, &v6].map(|family| family.as_ref().err().copied());
    let addresses: Vec<IpAddr> = [v4, v6].into_iter().flatten().flatten().collect();
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    let order = [Unresolved::NoName, Unresolved::Timeout, Unresolved::Failure];
    Err(order.into_iter().find(|one| why.contains(&Some(*one))).unwrap_or(Unresolved::NoAddress))
}

fn unresolved(why: Unresolved) -> Refusal {
    let (class, detail) = match why {
        Unresolved::NoName | Unresolved::NoAddress => ("no_address", "the name has no address"),
        Unresolved::Failure => ("failure", "the name servers failed to look the name up"),
        Unresolved::Timeout => ("timeout", "the name servers did not answer in time"),
    };
    Refusal::of(Reason::UpstreamDns, detail).with_class(class)
}

/// Whether the rule may dial an address, and the address is not our own listener.
///
/// # Errors
/// `denied_self` or `denied_address`.
pub(crate) fn check_address(self_address: &SelfAddress, permit: &Permit, address: SocketAddr) -> Result<(), Refusal> {
    if self_address.is(address) {
        let refusal = Refusal::of(Reason::DeniedSelf, "the destination is a listener of Egret");
        return Err(refusal.under(permit.rule(), permit.policy()).with_address(address.ip()));
    }
    if permit.allows_address(address.ip()) {
        return Ok(());
    }
    let detail = match AddressClass::of(address.ip()) {
        AddressClass::Metadata => {
            "the name leads to a metadata service, which a rule has to name exactly in `addresses`"
        }
        AddressClass::Special => {
            "the name leads to an address that is not globally routable and not in the rule's `addresses`"
        }
        AddressClass::Global => "the name leads to an address that is not in the rule's `addresses`",
    };
    Err(Refusal::of(Reason::DeniedAddress, detail).under(permit.rule(), permit.policy()).with_address(address.ip()))
}

/// A destination whose addresses are needed, and the permit that bounds them.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) config: &'a Config,
    pub(crate) self_address: &'a SelfAddress,
    pub(crate) dialer: &'a Dialer,
    pub(crate) destination: &'a Destination,
    pub(crate) bounds: AddressBounds<'a>,
}

/// What bounds the addresses of a destination.
#[derive(Clone, Copy)]
pub(crate) enum AddressBounds<'a> {
    /// The permit of a request or tunnel.
    Permit(&'a Permit),
    /// Before the first request: all rules that could allow one, at this time.
    AllRules(&'a Rules, Timestamp),
}

impl<'a> Target<'a> {
    /// The flow of an exchange or tunnel.
    pub(crate) fn new(core: &'a Core, destination: &'a Destination, permit: &'a Permit) -> Self {
        let Core { proxy, dialer, .. } = core;
        let bounds = AddressBounds::Permit(permit);
        Self { config: &proxy.config, self_address: &proxy.self_address, dialer, destination, bounds }
    }

    /// The addresses, if they are known without a lookup; no traffic leaves for them.
    ///
    /// # Errors
    /// `denied_address`, `denied_self`.
    pub(crate) fn known(self) -> Result<Option<AllowedAddresses>, Refusal> {
        let Some(addresses) = self.dialer.known(self.config, self.destination) else { return Ok(None) };
        let is_configured = self.config.resolve.contains_key(self.destination.host().to_string().as_str());
        match self.check(addresses) {
            // The client and the name are not at fault: the operator configured both.
            Err(refusal) if is_configured && refusal.reason() == Reason::DeniedAddress => {
                Err(refusal.with_note("upstream.resolve gives an address that the rule's `addresses` do not cover"))
            }
            checked => checked.map(Some),
        }
    }

    /// The addresses, by a lookup if they are not known. The name leaves the machine, so its record has to be durable.
    /// The timeout includes the wait for a slot among the session's lookups.
    ///
    /// # Errors
    /// `upstream_dns`, `denied_address`, `denied_self`.
    ///
    /// # Cancellation
    /// Abandons the lookup.
    pub(crate) async fn resolve_allowed(
        self,
        lookups: &Lookups,
        session: &SessionId,
    ) -> Result<AllowedAddresses, Refusal> {
        if let Some(located) = self.known()? {
            return Ok(located);
        }
        let late = || unresolved(Unresolved::Timeout);
        let deadline = Instant::now() + self.config.limits.resolve_timeout;
        let slot = tokio::time::timeout_at(deadline, lookups.enter(session)).await.map_err(|_| late())?;
        // A slot that becomes free at the deadline would send a query whose answer has no reader.
        if Instant::now() >= deadline {
            return Err(late());
        }
        let answered = tokio::time::timeout_at(deadline, self.dialer.look_up(self.destination)).await;
        drop(slot);
        self.check(answered.map_err(|_| late())??)
    }

    /// One address that may not be dialed refuses the whole answer.
    fn check(self, addresses: Vec<IpAddr>) -> Result<AllowedAddresses, Refusal> {
        let mut located = Vec::with_capacity(addresses.len());
        for address in addresses {
            let address = SocketAddr::new(address, self.destination.port());
            self.check_one(address)?;
            located.push(address);
        }
        Ok(AllowedAddresses(located))
    }
}

impl Target<'_> {
    fn check_one(self, address: SocketAddr) -> Result<(), Refusal> {
        match self.bounds {
            AddressBounds::Permit(permit) => check_address(self.self_address, permit, address),
            AddressBounds::AllRules(rules, now) => {
                let is_allowed = rules.may_preconnect(self.destination, Some(address.ip()), now);
                if is_allowed && !self.self_address.is(address) {
                    return Ok(());
                }
                Err(Refusal::of(Reason::DeniedAddress, "not every rule for the host allows the address"))
            }
        }
    }
}

/// Dials the located addresses in turn, and starts TLS if the scheme requires it.
///
/// # Errors
/// `upstream_refused`, `upstream_tls` with its class, `upstream_timeout`.
///
/// # Cancellation
/// The socket is closed.
pub(crate) async fn connect(
    proxy: &Proxy,
    dialer: &Dialer,
    session: &Session,
    destination: &Destination,
    located: &AllowedAddresses,
    versions: HttpVersions,
    limit: Duration,
) -> Result<Fresh, Refusal> {
    let attempt = async {
        let (tcp, address) = dial(located).await?;
        let mut chain = None;
        let stream = match destination.scheme() {
            Scheme::Http => Stream::Plain(tcp),
            Scheme::Https => {
                let TlsSettings { config, trust } = dialer.tls_settings(proxy, session, versions);
                let name = server_name(destination.host())?;
                let tls = handshake(config, name.clone(), tcp).await?;
                let certificates = tls.get_ref().1.peer_certificates().unwrap_or_default();
                let certificates = certificates.iter().map(|one| one.clone().into_owned()).collect();
                chain = Some(Arc::new(trust.verified(certificates, name)));
                Stream::Tls(Box::new(tls))
            }
        };
        Ok(Fresh { stream, address, chain })
    };
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| Err(Timer::Connect.refusal()))
}

/// Dials the located addresses in turn, for a tunnel whose bytes are not read.
///
/// # Errors
/// `upstream_refused`, `upstream_timeout`.
///
/// # Cancellation
/// The socket is closed.
pub(crate) async fn connect_passthrough(
    located: &AllowedAddresses,
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), Refusal> {
    tokio::time::timeout(limit, dial(located)).await.unwrap_or_else(|_| Err(Timer::Connect.refusal()))
}

async fn dial(located: &AllowedAddresses) -> Result<(TcpStream, SocketAddr), Refusal> {
    for address in &located.0 {
        #[expect(clippy::disallowed_methods, reason = "the one place that opens upstream sockets")]
        let dialed = TcpStream::connect(*address).await;
        match dialed {
            Ok(tcp) => {
                // Without it, a small last segment waits for the peer's delayed acknowledgement.
                if let Err(error) = tcp.set_nodelay(true) {
                    tracing::debug!(%error, "nodelay");
                }
                return Ok((tcp, *address));
            }
            Err(error) => tracing::debug!(%error, "an upstream address did not take the connection"),
        }
    }
    Err(Refusal::of(Reason::UpstreamRefused, "no address of the upstream took the connection"))
}

/// The name that the upstream's certificate must contain.
fn server_name(host: &Host) -> Result<ServerName<'static>, Refusal> {
    match host {
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| tls_refusal(TlsClass::WrongHost)),
        Host::V4(v4) => Ok(ServerName::IpAddress(IpAddr::V4(*v4).into())),
        Host::V6(v6) => Ok(ServerName::IpAddress(IpAddr::V6(*v6).into())),
    }
}

async fn handshake(
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, Refusal> {
    TlsConnector::from(config).connect(name, tcp).await.map_err(|error| {
        tracing::debug!(%error, "the TLS handshake with the upstream failed");
        tls_refusal(certs::classify_io(&error).unwrap_or(TlsClass::Other))
    })
}

fn tls_refusal(class: TlsClass) -> Refusal {
    Refusal::of(Reason::UpstreamTls, "the upstream's certificate or TLS is not acceptable").with_class(class.as_str())
}

#[cfg(test)]
mod tests;
