//! What policy files are compared with: `upstream.resolve`, and the credentials of the vault, without their values.

use control::wire::{CredentialView, List};
use policies::{CredentialFacts, Surroundings};
use vault::Vault;

use crate::Context;
use crate::client::{Client, IfMissing, converse};
use crate::exit::Answer;
use crate::output;

/// Reads them where a configuration or a data folder is named (`--config`, `--data-dir`) and a vault is there. Nothing is made, and
/// a vault that cannot be asked is reported and left out.
pub(super) fn read(context: &Context) -> Answer<Surroundings> {
    let config = context.config()?;
    let is_named = context.common.config.is_some() || context.common.data_dir.is_some();
    let resolve = config.resolve.clone().into_iter().collect();
    let around = Surroundings { resolve, ..Surroundings::default() };
    if !is_named || !Vault::exists(&context.data_dir(&config)?.vault()) {
        return Ok(around);
    }
    let path = "/v1/vaults/default/credentials";
    let found: Answer<List<CredentialView>> =
        converse(async { Client::find(context, IfMissing::Fail).await?.get(path).await });
    match found {
        Ok(found) => {
            let facts = |one: CredentialView| {
                (one.name.as_str().into(), CredentialFacts { audience: one.audience, location: one.location })
            };
            Ok(Surroundings { credentials: found.items.into_iter().map(facts).collect(), is_complete: true, ..around })
        }
        Err(failure) => {
            output::say(&format!("the credentials of the vault are not compared with the policies: {failure}"));
            Ok(around)
        }
    }
}
