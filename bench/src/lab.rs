//! What the subjects of a run share: the origin, its certificates, a temporary folder, free ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::origin::Origin;
use crate::pki::{Authority, Identity};

/// The origin's host name. Every subject resolves it, and all names below it, to loopback without DNS.
pub(crate) const HOST: &str = "origin.test";

/// The programs of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    pub(crate) egret: PathBuf,
    pub(crate) nginx: Option<PathBuf>,
    pub(crate) hudsucker: Option<PathBuf>,
}

/// The surroundings of a run.
pub(crate) struct Lab {
    pub(crate) programs: Programs,
    pub(crate) origin: Origin,
    /// The certificate of the CA that signed the origin's certificate.
    pub(crate) origin_ca: PathBuf,
    /// The origin's certificate, which a reverse proxy also serves.
    pub(crate) leaf: Identity,
    /// A CA for intercepting proxies that do not create one.
    pub(crate) proxy_ca: Identity,
    folder: tempfile::TempDir,
}

impl Lab {
    /// Creates the certificates and starts the origin.
    pub(crate) fn open(programs: Programs) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("egret-bench-").tempdir()?;
        let authority = Authority::create(folder.path(), "origin-ca")?;
        let leaf = authority.leaf(folder.path(), HOST, &[HOST, &format!("*.{HOST}")])?;
        let proxy_ca = Authority::create(folder.path(), "proxy-ca")?.identity;
        let origin = Origin::start(folder.path(), &leaf).context("the origin did not start")?;
        Ok(Self { programs, origin, origin_ca: authority.identity.certificate, leaf, proxy_ca, folder })
    }

    /// Creates an empty folder for one process.
    pub(crate) fn new_folder(&self, name: &str) -> Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix(name).tempdir_in(self.folder.path())?)
    }

    /// Where a process writes its output.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// An address of loopback.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
