//! Which of some texts contain a value of the vault: `egret run` asks before it passes its environment to a command.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{ScanDocument, ScanRequest};
use axum::extract::State;
use model::TenantId;

use crate::problem::{Json, Problem};
use crate::{Control, blocking};

/// `POST /v1/vaults/default/scan`: returns names of texts, never a value or the name of a credential.
pub(crate) async fn scan(
    State(control): State<Arc<Control>>,
    Json(request): Json<ScanRequest>,
) -> Result<axum::Json<ScanDocument>, Problem> {
    blocking(move || {
        let tenant = request.tenant.as_deref().map(TenantId::new).unwrap_or_default();
        let (names, texts): (Vec<String>, Vec<String>) = BTreeMap::into_iter(request.texts).unzip();
        let holding = control.vault.holding_a_value(&tenant, &texts);
        let found = names.into_iter().zip(holding).filter(|(_, holds)| *holds).map(|(name, _)| name).collect();
        axum::Json(ScanDocument { found })
    })
    .await
}
