//! Calls about credentials: values can be written but not read back.
//!
//! The value is the raw body, not JSON, so that it is copied once, into the box that is wiped. The read buffer of the
//! HTTP library belongs to the library; see docs/threat-model.md.

use std::sync::Arc;

use api::{
    BodySlotDocument, CredentialDocument, CredentialQuery, CredentialRequest, CredentialView, List, TenantQuery,
    VaultView, VersionView,
};
use audit::{CredentialUse, Kind as RecordKind, Record};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use http::StatusCode;
use model::{Audience, CredentialId, TenantId};
use vault::{
    BodySlot, BodySlots, CredentialSpec, CredentialSummary, DEFAULT_GRACE, Kind, NewCredential, Secret, StoreError,
    Vault, VaultError, VaultStatus,
};

use crate::env::check_variable;
use crate::problem::{Problem, Query, chain};
use crate::span::parse_span;
use crate::surroundings::location;
use crate::{Control, blocking, uses};

fn tenant_of(named: Option<&str>) -> TenantId {
    named.map(TenantId::new).unwrap_or_default()
}

type Shared = State<Arc<Control>>;

/// `GET /v1/vaults/default`
pub(crate) async fn status(State(control): Shared) -> axum::Json<VaultView> {
    axum::Json(vault_view(&control.vault))
}

/// The status of the vault.
pub(crate) fn vault_view(vault: &Vault) -> VaultView {
    let VaultStatus { generation, credentials, lock } = vault.status();
    VaultView {
        open: true,
        key: lock.to_string(),
        credentials,
        generation,
        memory: vault::memory().as_str().to_owned(),
        opened: vault.reads(),
    }
}

/// `GET /v1/vaults/default/credentials`
pub(crate) async fn list(
    State(control): Shared,
    Query(whose): Query<TenantQuery>,
) -> Result<axum::Json<List<CredentialView>>, Problem> {
    let tenant = tenant_of(whose.tenant.as_deref());
    blocking(move || {
        let mut items: Vec<_> = control.vault.list(&tenant).into_iter().map(|summary| view(&tenant, summary)).collect();
        uses::add_to_all(&control, &tenant, &mut items);
        axum::Json(List { items })
    })
    .await
}

/// `GET /v1/vaults/default/credentials/{name}`
pub(crate) async fn show(
    State(control): Shared,
    Path(name): Path<String>,
    Query(whose): Query<TenantQuery>,
) -> Result<axum::Json<CredentialView>, Problem> {
    let tenant = tenant_of(whose.tenant.as_deref());
    let summary = control.vault.show(&tenant, &CredentialId::new(name.as_str())).ok_or_else(|| unknown(&name))?;
    let mut view = view(&tenant, summary);
    blocking(move || {
        uses::add_to(&control, &tenant, &mut view);
        axum::Json(view)
    })
    .await
}

/// `PUT /v1/vaults/default/credentials/{name}`
pub(crate) async fn put(
    State(control): Shared,
    Path(name): Path<String>,
    Query(request): Query<CredentialRequest>,
    value: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, axum::Json<CredentialView>), Problem> {
    let secret = Secret::new(Vec::from(value?));
    let new = read(&name, request)?;
    control.recording()?;
    blocking(move || {
        let (tenant, id) = (new.tenant.clone(), new.id.clone());
        let version = control.change(|vault| vault.put(new, secret, clock::now())).map_err(refused)?;
        let generation = Some(control.vault.generation());
        control.journal.append(Record { generation, ..about(RecordKind::CredentialPut, &tenant, &id, version) });
        control.journal.flush();
        let summary = control.vault.show(&tenant, &id).ok_or_else(|| unknown(id.as_str()))?;
        let status = if version == 1 { StatusCode::CREATED } else { StatusCode::OK };
        Ok((status, axum::Json(view(&tenant, summary))))
    })
    .await?
}

/// `DELETE /v1/vaults/default/credentials/{name}`
pub(crate) async fn remove(
    State(control): Shared,
    Path(name): Path<String>,
    Query(which): Query<CredentialQuery>,
) -> Result<StatusCode, Problem> {
    control.recording()?;
    blocking(move || {
        let tenant = tenant_of(which.tenant.as_deref());
        let id = CredentialId::new(name.as_str());
        let summary = control.vault.show(&tenant, &id).ok_or_else(|| unknown(&name))?;
        let removed = control.change(|vault| match which.version {
            Some(version) => vault.revoke(&tenant, &id, version),
            None => vault.remove(&tenant, &id),
        });
        removed.map_err(refused)?;
        let version = which.version.unwrap_or(summary.version);
        let generation = Some(control.vault.generation());
        control.journal.append(Record { generation, ..about(RecordKind::CredentialRemoved, &tenant, &id, version) });
        control.journal.flush();
        Ok(StatusCode::NO_CONTENT)
    })
    .await?
}

pub(crate) fn read(name: &str, request: CredentialRequest) -> Result<NewCredential, Problem> {
    let document = &request.spec;
    if let Some(variable) = &document.env {
        check_variable(variable).map_err(Problem::invalid)?;
    }
    let audience = Audience::parse(&document.audience).map_err(|error| Problem::invalid(chain(&error)))?;
    Ok(NewCredential {
        tenant: tenant_of(request.tenant.as_deref()),
        id: CredentialId::new(name),
        spec: CredentialSpec {
            kind: kind(&request)?,
            also: also(document)?,
            audience,
            body: slots(document)?,
            env: document.env.clone(),
            prefix: document.prefix.clone(),
            expires: document.expires,
            description: document.description.clone(),
            owner: document.owner.clone(),
        },
        grace: match request.grace.as_deref().map(parse_span).transpose().map_err(Problem::invalid)? {
            Some(grace) => grace.unsigned_abs(),
            None => DEFAULT_GRACE,
        },
        allow_weak: request.allow_weak,
    })
}

/// Which kinds take an option, for a request with another kind.
fn kinds_with(flag: &str) -> String {
    let has = |kind: &&str| Kind::options_of(kind).iter().any(|option| option.flag.replace('-', "_") == flag);
    let kinds: Vec<&str> = Kind::names().filter(has).collect();
    if kinds.is_empty() {
        return String::new();
    }
    format!("; --{} is for --kind {}", flag.replace('_', "-"), kinds.join(" and --kind "))
}

/// The kind with its options. The API uses other names for them than the sealed description.
pub(crate) fn kind(request: &CredentialRequest) -> Result<Kind, Problem> {
    let name = request.spec.kind.as_str();
    let known = Kind::options_of(name);
    let option =
        |(flag, value): (&String, &String)| match known.iter().find(|option| option.flag.replace('-', "_") == *flag) {
            Some(option) => Ok((option.name, value.clone())),
            None if Kind::names().any(|kind| kind == name) => {
                Err(Problem::invalid(format!("the kind {name} does not take {flag}{}", kinds_with(flag))))
            }
            None => Ok(("", value.clone())),
        };
    let options = request.options.iter().map(option).collect::<Result<Vec<_>, _>>()?;
    Kind::new(name, options).map_err(|error| Problem::invalid(error.to_string()))
}

fn also(document: &CredentialDocument) -> Result<Vec<Kind>, Problem> {
    document
        .also
        .iter()
        .map(|text| Kind::location(text))
        .collect::<Result<_, _>>()
        .map_err(|error| Problem::invalid(error.to_string()))
}

fn slots(document: &CredentialDocument) -> Result<BodySlots, Problem> {
    let slot = |slot: &BodySlotDocument| match slot {
        BodySlotDocument::Json(pointer) => BodySlot::Json(pointer.clone()),
        BodySlotDocument::Form(field) => BodySlot::Form(field.clone()),
    };
    BodySlots::new(document.body.iter().map(slot).collect(), document.body_swaps.unwrap_or(1))
        .map_err(|error| Problem::invalid(error.to_string()))
}

fn view(tenant: &TenantId, summary: CredentialSummary) -> CredentialView {
    let CredentialSummary { id, spec, version, created, updated, versions, .. } = summary;
    CredentialView {
        name: id.to_string(),
        tenant: tenant.to_string(),
        location: spec.body.is_empty().then(|| location(&spec.kind)).flatten(),
        spec: document(spec),
        version,
        updated: Some(updated),
        created: Some(created),
        versions: versions.into_iter().map(version_view).collect(),
        uses: None,
        last_used: None,
    }
}

/// A credential as it is listed.
pub(crate) fn document(spec: CredentialSpec) -> CredentialDocument {
    let slot = |slot: &BodySlot| match slot {
        BodySlot::Json(pointer) => BodySlotDocument::Json(pointer.clone()),
        BodySlot::Form(field) => BodySlotDocument::Form(field.clone()),
    };
    CredentialDocument {
        kind: spec.kind.to_string(),
        also: spec.also.iter().map(ToString::to_string).collect(),
        audience: spec.audience.patterns(),
        body_swaps: (!spec.body.is_empty()).then(|| spec.body.swaps()),
        body: spec.body.iter().map(slot).collect(),
        env: spec.env,
        prefix: spec.prefix,
        expires: spec.expires,
        description: spec.description,
        owner: spec.owner,
    }
}

fn version_view(one: vault::VersionSummary) -> VersionView {
    VersionView { version: one.version, fingerprint: one.fingerprint, put: one.put, until: one.until }
}

pub(crate) fn about(kind: RecordKind, tenant: &TenantId, id: &CredentialId, version: u32) -> Record {
    let credentials = vec![CredentialUse { name: id.clone(), version }];
    Record { tenant: Some(tenant.clone()), credentials, ..Record::new(kind) }
}

fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("there is no credential {name:?}"))
}

pub(crate) fn refused(error: VaultError) -> Problem {
    match &error {
        VaultError::Value(_) | VaultError::Weak(_) | VaultError::Credential(_) => Problem::invalid(chain(&error)),
        VaultError::Unknown => Problem::not_found(error.to_string()),
        VaultError::Store(StoreError::Conflict { .. }) => Problem::conflict(chain(&error)),
        VaultError::NotAVault | VaultError::Format(_) | VaultError::OtherLock => Problem::invalid(chain(&error)),
        VaultError::Exists
        | VaultError::Missing
        | VaultError::Store(_)
        | VaultError::Key(_)
        | VaultError::KeyExhausted
        | VaultError::Parameters
        | VaultError::Unseal
        | VaultError::Corrupt
        | VaultError::Random
        | VaultError::TooLarge => Problem::internal(&error),
    }
}
