//! Prints what the hot calls of the vault cost: `cargo run --release -p egret-vault --example lease`.
#![expect(clippy::print_stdout, reason = "printing is its purpose")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use egret_vault::{DEFAULT_GRACE, KeyFile, Kind, NewCredential, Secret, Vault};
use model::{Authority, Destination, Scheme, TenantId, Timestamp};

const ROUNDS: u32 = 200_000;
const CREDENTIALS: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let key = KeyFile(folder.path().join("vault.key"));
    key.create()?;
    let vault = Vault::create(&folder.path().join("vault.egret"), &key)?;
    for number in 0..CREDENTIALS {
        let new = NewCredential {
            tenant: TenantId::default(),
            id: format!("name-{number}").as_str().into(),
            kind: Kind::Bearer,
            audience: vec!["**.example.com".to_owned(), "api.github.com".to_owned()],
            env: None,
            prefix: None,
            expires: None,
            description: None,
            owner: None,
            grace: DEFAULT_GRACE,
        };
        vault.put(new, Secret::new(vec![b'x'; 40]), Timestamp::now())?;
    }
    let (tenant, id) = (TenantId::default(), "name-42".into());
    let destination = Destination::of(Scheme::Https, Authority::parse("api.github.com", false)?);
    let measure = |what: &str, call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| call());
        println!("{what:<24} {:>7.0} ns", start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    };
    measure("slot", &mut || drop(black_box(vault.slot(&tenant, &id))));
    measure("lease", &mut || drop(black_box(vault.lease(&tenant, &id, &destination))));
    let lease = vault.lease(&tenant, &id, &destination)?;
    measure("placement", &mut || drop(black_box(lease.placement())));
    measure("patterns", &mut || drop(black_box(lease.patterns())));
    Ok(())
}
