//! How often credentials were attached to requests, from the records. If the records are unavailable, credentials are
//! shown without it: the vault does not depend on the index.

use std::collections::BTreeMap;

use api::CredentialView;
use audit::{IndexError, Uses};
use model::{CredentialId, TenantId};

use crate::Control;

/// Adds the counts of the records to each credential of the tenant; waits for the disk.
pub(crate) fn add_to_all(control: &Control, tenant: &TenantId, views: &mut [CredentialView]) {
    if let Some(found) = ask(control, || control.index.uses(tenant)) {
        views.iter_mut().for_each(|view| fill(view, &found));
    }
}

/// The same for one credential.
pub(crate) fn add_to(control: &Control, tenant: &TenantId, view: &mut CredentialView) {
    let id = CredentialId::new(view.name.as_str());
    let one = ask(control, || control.index.uses_of(tenant, &id));
    if let Some(found) = one {
        fill(view, &found.map(|uses| (id, uses)).into_iter().collect());
    }
}

/// First updates the index to the journal's end, so that the counts are complete.
fn ask<T>(control: &Control, question: impl FnOnce() -> Result<T, IndexError>) -> Option<T> {
    control.journal.flush();
    let answer = control.index.catch_up().and_then(|_| question());
    answer.inspect_err(|error| model::log_limited!(warn, %error, "how often credentials were used is not known")).ok()
}

fn fill(view: &mut CredentialView, found: &BTreeMap<CredentialId, Uses>) {
    let uses = found.get(view.name.as_str());
    view.uses = Some(uses.map_or(0, |uses| uses.count));
    view.last_used = uses.map(|uses| uses.last);
}
