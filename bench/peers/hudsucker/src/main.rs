//! `hudsucker-peer PORT CA.pem CA.key ORIGIN_CA.pem`: the crate hudsucker with its own defaults, without a handler. All names
//! are resolved to loopback, as in the other parts of a run.

use std::array;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result, bail};
use hudsucker::Proxy;
use hudsucker::certificate_authority::RcgenAuthority;
use hudsucker::rcgen::{Issuer, KeyPair};
use hudsucker::rustls::crypto::aws_lc_rs::default_provider;
use hudsucker::rustls::pki_types::{CertificateDer, pem::PemObject};
use hudsucker::rustls::{ClientConfig, RootCertStore};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

/// The version in `Cargo.toml`.
const VERSION: &str = "hudsucker 0.25.0";

/// Leaf certificates that stay in memory; as many as the crate's examples keep.
const LEAVES: u64 = 1_000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--version"] => println!("{VERSION}"),
        [port, ca, key, origin_ca] => serve(port.parse().context("PORT")?, (ca, key), origin_ca).await?,
        _ => bail!("usage: hudsucker-peer PORT CA.pem CA.key ORIGIN_CA.pem"),
    }
    Ok(())
}

async fn serve(port: u16, (ca, key): (&str, &str), origin_ca: &str) -> Result<()> {
    let key = KeyPair::from_pem(&std::fs::read_to_string(key)?)?;
    let issuer = Issuer::from_ca_cert_pem(&std::fs::read_to_string(ca)?, key)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(origin_ca)? {
        roots.add(certificate?)?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new_with_resolver(Loopback);
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(tcp);
    let proxy = Proxy::builder()
        .with_addr(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .with_ca(RcgenAuthority::new(issuer, LEAVES, default_provider()))
        .with_http_connector(connector)
        .build()?;
    Ok(proxy.start().await?)
}

/// A resolver that answers 127.0.0.1 for every name; the connector adds the port.
#[derive(Clone)]
struct Loopback;

impl Service<Name> for Loopback {
    type Response = array::IntoIter<SocketAddr, 1>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _name: Name) -> Self::Future {
        ready(Ok([SocketAddr::from((Ipv4Addr::LOCALHOST, 0))].into_iter()))
    }
}
