//! nginx as a reverse proxy: TLS on both sides, the upstream verified, an access log. It makes no certificates and reads no
//! policies, so it is a lower bound for a proxy that decrypts.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::Prepared;
use crate::lab::{HOST, Lab, free_port, loopback};
use crate::load::Route;

pub(super) fn prepare(lab: &Lab) -> Result<Prepared> {
    let program = lab.programs.nginx.as_ref().context("nginx is not installed")?;
    let (folder, port) = (lab.new_folder("nginx-")?, free_port()?);
    let config = folder.path().join("nginx.conf");
    std::fs::write(&config, configuration(lab, folder.path(), port))?;
    let mut command = Command::new(program);
    command.arg("-p").arg(folder.path()).arg("-e").arg(folder.path().join("error.log")).arg("-c").arg(&config);
    Ok(Prepared {
        command: Some(command),
        route: Route::new(loopback(port), None, (HOST, lab.origin.port), &lab.origin_ca)?,
        log: lab.log("nginx"),
        folder,
    })
}

fn configuration(lab: &Lab, folder: &Path, port: u16) -> String {
    let folder = folder.display();
    // Only root can choose the user of the workers, who have to reach the files of the run.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n  "))
        .concat();
    let (certificate, key) = (lab.leaf.certificate.display(), lab.leaf.key.display());
    let (origin, origin_ca) = (lab.origin.port, lab.origin_ca.display());
    let to_origin = [
        "proxy_pass https://origin",
        "proxy_http_version 1.1",
        "proxy_set_header Connection ''",
        "proxy_set_header Host $http_host",
        "proxy_ssl_server_name on",
        &format!("proxy_ssl_name {HOST}"),
        "proxy_ssl_verify on",
        &format!("proxy_ssl_trusted_certificate {origin_ca}"),
        "",
    ]
    .join(";\n      ");
    format!(
        "\
daemon off;
{user}
pid {folder}/pid;
worker_processes {workers};
worker_rlimit_nofile 65536;
events {{ worker_connections 30000; }}
http {{
  {temporary}
  access_log {folder}/access.log;
  tcp_nodelay on;
  client_max_body_size 0;
  keepalive_timeout 10m;
  keepalive_requests 1000000000;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_certificate {certificate};
  ssl_certificate_key {key};
  upstream origin {{
    server 127.0.0.1:{origin};
    keepalive 128;
    keepalive_requests 1000000000;
    keepalive_timeout 10m;
  }}
  server {{
    listen 127.0.0.1:{port} ssl http2 backlog=4096;
    server_name {HOST} *.{HOST};
    location / {{
      {to_origin}
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
    location = /events {{
      {to_origin}
      proxy_buffering off;
    }}
  }}
}}
"
    )
}
