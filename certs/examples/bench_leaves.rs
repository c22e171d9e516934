//! Measures a leaf, signed and from the cache: `cargo run --release -p egret-certs --example bench_leaves [-- --short]`.
#![expect(clippy::print_stdout, reason = "printing is its purpose")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use egret_certs::{Ca, Leaves};
use model::{Host, Timestamp};

/// How many leaves are signed, and how many are found in the cache.
fn counts() -> (u32, u32) {
    let is_short = std::env::args().any(|argument| argument == "--short");
    if is_short { (500, 200_000) } else { (2_000, 2_000_000) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (minted, hits) = counts();
    let now = Timestamp::now();
    let leaves = Leaves::new(Arc::new(Ca::create(now)?.0), 10_000)?;
    let hosts = (0..minted).map(|n| Host::parse(&format!("n{n}.example.com"))).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    for host in &hosts {
        black_box(leaves.server_config(host, now)?);
    }
    println!("mint {:>8.1} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(minted));
    let start = Instant::now();
    for host in hosts.iter().cycle().take(hits as usize) {
        black_box(leaves.server_config(host, now)?);
    }
    println!("hit  {:>8.0} ns", start.elapsed().as_secs_f64() * 1e9 / f64::from(hits));
    Ok(())
}
