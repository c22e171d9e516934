//! Calls about policies.

use std::sync::Arc;

use api::PoliciesView;
use axum::extract::State;
use model::PolicyName;

use crate::problem::Problem;
use crate::{Control, blocking};

/// `GET /v1/policies`
pub(crate) async fn list(State(control): State<Arc<Control>>) -> axum::Json<PoliciesView> {
    axum::Json(view(&control))
}

/// `POST /v1/policies/reload`
pub(crate) async fn reload(State(control): State<Arc<Control>>) -> Result<axum::Json<PoliciesView>, Problem> {
    control.recording()?;
    let loaded = blocking(move || {
        let loaded = control.reload_policies();
        control.journal.flush();
        loaded.map(|_changed| view(&control))
    });
    loaded.await?.map(axum::Json).map_err(|error| Problem::policy(error.to_string()))
}

fn view(control: &Control) -> PoliciesView {
    let set = control.policies.snapshot();
    PoliciesView {
        snapshot: set.digest().to_string(),
        policies: set.names().map(PolicyName::to_string).collect(),
        rejected: control.policies.rejected(),
        warnings: control.misfits_in_force().iter().map(ToString::to_string).collect(),
    }
}
