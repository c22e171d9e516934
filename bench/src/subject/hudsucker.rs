//! The crate hudsucker as a bare intercepting proxy (`bench/peers/hudsucker`): no policies, no credentials, no log.

use std::process::Command;

use anyhow::{Context, Result};

use super::Prepared;
use crate::lab::{HOST, Lab, free_port, loopback};
use crate::load::{Route, Tunnel};

pub(super) fn prepare(lab: &Lab) -> Result<Prepared> {
    let program = lab.programs.hudsucker.as_ref().context("hudsucker is not built")?;
    let port = free_port()?;
    let mut command = Command::new(program);
    command.arg(port.to_string()).args([&lab.proxy_ca.certificate, &lab.proxy_ca.key, &lab.origin_ca]);
    let origin = (HOST, lab.origin.port);
    Ok(Prepared {
        command: Some(command),
        route: Route::new(loopback(port), Some(Tunnel::default()), origin, &lab.proxy_ca.certificate)?,
        log: lab.log("hudsucker"),
        folder: lab.new_folder("hudsucker-")?,
    })
}
