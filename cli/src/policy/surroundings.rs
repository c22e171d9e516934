//! The context for checking policy files: `upstream.resolve`, and the credentials of the vault, without their values.

use api::{CredentialView, List};
use policies::{CredentialFacts, Surroundings};
use vault::Vault;

use crate::Context;
use crate::client::{Client, IfMissing, converse};
use crate::exit::Answer;
use crate::output;

/// Reads them if a configuration or a data folder is named (`--config`, `--data-dir`) and it has a vault. Creates nothing; an
/// unavailable vault is reported and left out.
pub(super) fn read(context: &Context) -> Answer<Surroundings> {
    let is_named = context.common.config.is_some() || context.common.data_dir.is_some();
    if is_named { of_vault(context) } else { fixed_addresses(context) }
}

fn fixed_addresses(context: &Context) -> Answer<Surroundings> {
    let resolve = context.config()?.resolve.clone().into_iter().collect();
    Ok(Surroundings { resolve, ..Surroundings::default() })
}

/// Reads them if there is a vault.
pub(super) fn of_vault(context: &Context) -> Answer<Surroundings> {
    let around = fixed_addresses(context)?;
    if !Vault::exists(&context.data_dir(&context.config()?)?.vault()) {
        return Ok(around);
    }
    let path = "/v1/vaults/default/credentials";
    let found: Answer<List<CredentialView>> =
        converse(async { Client::find(context, IfMissing::Fail).await?.get(path).await });
    match found {
        Ok(found) => {
            let facts = |one: CredentialView| {
                (one.name.as_str().into(), CredentialFacts { audience: one.spec.audience, location: one.location })
            };
            Ok(Surroundings { credentials: found.items.into_iter().map(facts).collect(), is_complete: true, ..around })
        }
        Err(failure) => {
            output::say(&format!("the credentials of the vault are not compared with the policies: {failure}"));
            Ok(around)
        }
    }
}
