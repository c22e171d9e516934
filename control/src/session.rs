//! Calls about sessions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use api::{
    CaView, EndRequest, GrantDocument, GrantView, LimitsDocument, List, SessionCreated, SessionRequest, SessionToken,
    SessionView, StateRequest, TokenQuery, ViewDocument,
};
use audit::{CredentialUse, Journal, Kind, Record};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use jiff::SignedDuration;
use model::{CredentialId, Limits, PolicyName, Rate, Reason, SessionId, TenantId, Timestamp};
use policies::{Own, PolicySet, SessionDocuments, Subject};
use sessions::{
    Bounds, Channel, Created, Grant, GrantRequest, NewSession, OwnDocuments, Per, Registry, Scope, Session,
    SessionError,
};
use vault::CredentialSpec;

use crate::env::{dialed, environment, proxy_url};
use crate::load_error::LoadError;
use crate::problem::{Json, Problem, chain};
use crate::session_documents::sources;
use crate::span::{parse_span, print_span};
use crate::trust::{MoveError, TrustFiles};
use crate::{CaFacts, Control, blocking};

type Shared = State<Arc<Control>>;

/// `GET /v1/sessions`
pub(crate) async fn list(State(control): Shared) -> axum::Json<List<SessionView>> {
    let now = clock::now();
    axum::Json(List { items: control.sessions.list().iter().map(|session| view(&control, session, now)).collect() })
}

/// `GET /v1/sessions/{id}`
pub(crate) async fn show(State(control): Shared, Path(id): Path<String>) -> Result<axum::Json<SessionView>, Problem> {
    let session = control.sessions.get(&SessionId::new(id.as_str())).ok_or_else(|| unknown(&id))?;
    let document = SessionView { view: Some(judged(&control, &session)), ..view(&control, &session, clock::now()) };
    Ok(axum::Json(document))
}

/// The rules of the session now.
fn judged(control: &Control, session: &Session) -> ViewDocument {
    match control.policies.rules_for_session(session) {
        Ok(rules) => ViewDocument { snapshot: Some(rules.snapshot().to_string()), unusable: None },
        Err(error) => ViewDocument { snapshot: None, unusable: Some(error.to_string()) },
    }
}

/// `POST /v1/sessions`
pub(crate) async fn create(State(control): Shared, Json(request): Json<SessionRequest>) -> Result<Response, Problem> {
    control.recording()?;
    let maker = control.clone();
    let made = blocking(move || {
        let files = trust_files(&maker.ca, request.ca_path.as_deref())?;
        let made = make(&maker, request);
        maker.journal.flush();
        made.map(|(created, address)| (created, address, files))
    });
    let (created, address, files) = made.await??;
    let session = created.session.clone();
    // The session is recorded before it can be used, or it is not created at all.
    let snapshot = control.policies.rules_for_session(&session).ok().map(|rules| rules.snapshot().clone());
    let record = Record { snapshot, ..about(&session, Kind::SessionCreated) };
    if control.journal.append_durable(record).await.is_err() {
        finish(&control, &session.id)?;
        return Err(Problem::audit_unavailable());
    }
    control.sessions.announce(&session);
    watch(&control, session);
    let warnings = control.warnings_for(&created.session);
    let document = axum::Json(SessionCreated { warnings, ..present(&control, &files, created, address) });
    let mut response = (StatusCode::CREATED, document).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `POST /v1/sessions/{id}/token`: a new token; the previous one opens no more connections.
pub(crate) async fn renew_token(
    State(control): Shared,
    Path(id): Path<String>,
    Query(TokenQuery { ca_path }): Query<TokenQuery>,
) -> Result<Response, Problem> {
    control.recording()?;
    let id = SessionId::new(id.as_str());
    let renewed = blocking(move || {
        let address = listening(&control)?;
        let files = trust_files(&control.ca, ca_path.as_deref())?;
        let (session, token) = control.sessions.renew_token(&id, clock::now()).map_err(refused)?;
        let record = Record { detail: Some("another token".into()), ..about(&session, Kind::SessionChanged) };
        control.journal.append(record);
        control.journal.flush();
        Ok::<_, Problem>(SessionToken {
            env: environment(address, session.id.as_str(), &token, &files, []),
            proxy_url: proxy_url(dialed(address), session.id.as_str(), &token),
            id: session.id.to_string(),
            token,
        })
    });
    let mut response = axum::Json(renewed.await??).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The files of `trust/` as the sandbox sees them.
fn trust_files(ca: &CaFacts, ca_path: Option<&str>) -> Result<TrustFiles, Problem> {
    let Some(path) = ca_path else { return Ok(ca.files.clone()) };
    ca.files.moved(path).map_err(|error| match error {
        MoveError::Path(why) => Problem::invalid(format!("ca_path: {why}")),
        MoveError::Write(error) => Problem::internal(&error),
    })
}

/// The address of the proxy for sessions.
fn listening(control: &Control) -> Result<SocketAddr, Problem> {
    let detail = "no sidecar is running whose proxy the session could use; start one with `egret serve`";
    control.proxy.first().copied().ok_or_else(|| Problem::conflict(detail))
}

/// Revokes the tokens of all live sessions, with a record for each.
///
/// # Errors
/// A session's file that cannot be written.
pub fn void_tokens(sessions: &Registry, journal: &Journal) -> Result<usize, SessionError> {
    let void = sessions.void_tokens(clock::now())?;
    for session in &void {
        let detail = Some("its token is void: the last run did not stop cleanly".into());
        journal.append(Record { detail, ..about(session, Kind::SessionChanged) });
    }
    journal.flush();
    Ok(void.len())
}

/// `POST /v1/sessions/{id}/end`, `DELETE /v1/sessions/{id}`
pub(crate) async fn end(State(control): Shared, Path(id): Path<String>) -> Result<axum::Json<SessionView>, Problem> {
    let id = SessionId::new(id.as_str());
    let ending = control.clone();
    let session = blocking(move || finish(&ending, &id)).await??;
    Ok(axum::Json(view(&control, &session, clock::now())))
}

/// `POST /v1/sessions/end`: ends every live session, or those with one credential; returns the sessions that it ended.
pub(crate) async fn end_all(
    State(control): Shared,
    Json(request): Json<EndRequest>,
) -> Result<axum::Json<List<SessionView>>, Problem> {
    let credential = request.credential.map(|name| CredentialId::new(name.as_str()));
    let ending = control.clone();
    let ended = blocking(move || {
        let (control, now) = (ending, clock::now());
        let chosen = |session: &Arc<Session>| {
            session.is_live(now)
                && credential.as_ref().is_none_or(|name| session.grants.iter().any(|grant| grant.credential == *name))
        };
        let live: Vec<_> = control.sessions.list().into_iter().filter(chosen).collect();
        // A session that cannot be written to disk is still over for this process, and must not block the others.
        let ended: Vec<_> = live.iter().map(|session| finish(&control, &session.id)).collect();
        ended.into_iter().collect::<Result<Vec<_>, _>>()
    });
    let now = clock::now();
    Ok(axum::Json(List { items: ended.await??.iter().map(|session| view(&control, session, now)).collect() }))
}

/// `PUT /v1/sessions/{id}/state`
pub(crate) async fn set_state(
    State(control): Shared,
    Path(id): Path<String>,
    Json(body): Json<StateRequest>,
) -> Result<axum::Json<SessionView>, Problem> {
    let known = "the states are running, idle, rescheduling and terminated";
    let state = sessions::State::from_name(&body.state).ok_or_else(|| Problem::invalid(known))?;
    control.recording()?;
    let id = SessionId::new(id.as_str());
    let changing = control.clone();
    let session = blocking(move || match state {
        sessions::State::Terminated => finish(&changing, &id),
        sessions::State::Running | sessions::State::Idle | sessions::State::Rescheduling => {
            let session = changing.sessions.set_state(&id, state, clock::now()).map_err(refused)?;
            let detail = Some(state.as_str().into());
            changing.journal.append(Record { detail, ..about(&session, Kind::SessionChanged) });
            changing.journal.flush();
            Ok(session)
        }
    });
    Ok(axum::Json(view(&control, &*session.await??, clock::now())))
}

/// Ends the session when its time is over, so that the end is recorded and written to disk.
pub(crate) fn watch(control: &Arc<Control>, session: Arc<Session>) {
    if !session.is_live(Timestamp::UNIX_EPOCH) {
        return;
    }
    let control = control.clone();
    // Owned by the runtime of the control API: it ends with the session or with the process.
    tokio::spawn(async move {
        session.ended().await;
        let id = session.id.clone();
        match blocking(move || finish(&control, &id)).await {
            Ok(Ok(_)) => {}
            Ok(Err(problem)) | Err(problem) => {
                model::log_limited!(error, ?problem, "the end of a session is not written down")
            }
        }
    });
}

/// Ends a session once: for its users, on disk, in the journal, and with its own policies.
fn finish(control: &Control, id: &SessionId) -> Result<Arc<Session>, Problem> {
    let now = clock::now();
    let by_time = control.sessions.get(id).is_some_and(|session| session.expires.is_some_and(|end| end <= now));
    let ending = control.sessions.end(id, now).map_err(refused)?;
    if ending.first {
        let detail = Some(if by_time { "its time is over" } else { "ended by call" }.into());
        control.journal.append(Record { detail, ..about(&ending.session, Kind::SessionEnded) });
        withdraw(control, id);
        control.journal.flush();
    }
    Ok(ending.session)
}

fn make(control: &Control, request: SessionRequest) -> Result<(Created, SocketAddr), Problem> {
    // Whole milliseconds: finer times only make the answer harder to read.
    let now = clock::now();
    let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    let address = listening(control)?;
    let id = Registry::draw_id(now);
    let tenant = request.tenant.as_deref().map(TenantId::new).unwrap_or_default();
    let grants =
        request.credentials.iter().map(|asked| grant(control, &tenant, asked, now)).collect::<Result<Vec<_>, _>>()?;
    distinct_variables(&grants)?;
    let ttl = request.ttl.as_deref().map(parse_span).transpose().map_err(Problem::invalid)?;
    let documents = compile_documents(control, &request, &tenant)?;
    let draft = Draft { id: id.clone(), tenant, grants, ttl, documents };
    let made = admit(control, request, draft, now);
    if made.is_err() {
        withdraw(control, &id);
    }
    made.map(|created| (created, address))
}

/// The settings of a session that are known before its policies are judged together.
struct Draft {
    id: SessionId,
    tenant: TenantId,
    grants: Vec<GrantRequest>,
    ttl: Option<SignedDuration>,
    documents: Option<Arc<SessionDocuments>>,
}

/// Compiles the documents of a session, separately from all other policies.
fn compile_documents(
    control: &Control,
    request: &SessionRequest,
    tenant: &TenantId,
) -> Result<Option<Arc<SessionDocuments>>, Problem> {
    if request.documents.is_empty() {
        return Ok(None);
    }
    let compiled = control.policies.in_force().compile(&sources(&request.documents));
    compiled.map(Some).map_err(|problems| reject(control, request, tenant, &LoadError::Problems(problems)))
}

/// Records that a session's documents are refused. They were never in force.
fn reject(control: &Control, request: &SessionRequest, tenant: &TenantId, error: &LoadError) -> Problem {
    control.journal.append(Record {
        tenant: Some(tenant.clone()),
        user: request.user.as_deref().map(Into::into),
        agent: request.agent.as_deref().map(Into::into),
        code: Some(Reason::PolicyRejected),
        detail: Some(format!("documents of a session: {}", error.brief()).into()),
        ..Record::new(Kind::PolicyRejected)
    });
    Problem::policy(error.to_string())
}

fn withdraw(control: &Control, id: &SessionId) {
    control.policies.in_force().withdraw(id);
    control.policies.documents.remove(id);
}

fn admit(control: &Control, request: SessionRequest, draft: Draft, now: Timestamp) -> Result<Created, Problem> {
    let _held = control.policies.admission();
    let set = control.policies.snapshot();
    let policies = named(&request, &draft.id, &set)?;
    let agent = request.agent.as_deref();
    let subject = Subject { tenant: &draft.tenant, agent, labels: &request.labels, policies: &policies };
    set.rules_for_session(&subject).map_err(|error| {
        let loaded: Vec<_> = set.names().map(PolicyName::as_str).collect();
        Problem::policy(format!("{error}; loaded are: {}", loaded.join(", ")))
    })?;
    let documents = publish(control, &request, &subject, &draft)?;
    let channel = channel(&request)?;
    let new = NewSession {
        id: Some(draft.id),
        tenant: draft.tenant,
        user: request.user,
        agent: request.agent,
        labels: request.labels,
        policies,
        documents,
        grants: draft.grants,
        limits: limits(&request.limits)?,
        channel,
        ttl: draft.ttl,
    };
    control.sessions.create(new, now).map_err(refused)
}

/// The loaded policies that the session names, with the policies in observe mode that it has a share of.
fn named(request: &SessionRequest, id: &SessionId, set: &PolicySet) -> Result<Vec<PolicyName>, Problem> {
    let mut policies: Vec<_> = request.policies.iter().map(|name| PolicyName::new(name.as_str())).collect();
    for rollout in &request.observe {
        let policy = PolicyName::new(rollout.policy.as_str());
        if !set.is_observing(&policy) || rollout.share > 100 {
            let detail = format!(
                "`observe` names a loaded policy with `mode: observe` and a share from 0 to 100, and {policy} at {} is not that",
                rollout.share
            );
            return Err(Problem::policy(detail));
        }
        if policies::in_share(id.as_str(), policy.as_str(), rollout.share) {
            policies.push(policy);
        }
    }
    policies.sort();
    policies.dedup();
    Ok(policies)
}

/// Judges the documents together with the policies that the session names, stores them, and publishes them for this
/// session alone.
fn publish(
    control: &Control,
    request: &SessionRequest,
    subject: &Subject<'_>,
    draft: &Draft,
) -> Result<Option<OwnDocuments>, Problem> {
    let Some(documents) = &draft.documents else { return Ok(None) };
    let published = control.policies.in_force().publish(&draft.id, subject, documents.clone());
    published.map_err(|error| reject(control, request, &draft.tenant, &LoadError::Documents(error)))?;
    control.policies.documents.save(&draft.id, &request.documents).map_err(|source| {
        Problem::internal(&LoadError::Write { path: control.policies.documents.path_of(&draft.id), source })
    })?;
    Ok(Some(OwnDocuments { digest: documents.digest().clone(), policies: documents.names() }))
}

/// The properties by which policies select the session.
pub(crate) fn subject(session: &Session) -> Subject<'_> {
    Subject {
        tenant: &session.tenant,
        agent: session.agent.as_deref(),
        labels: &session.labels,
        policies: &session.policies,
    }
}

/// The session's own documents.
pub(crate) fn own(session: &Session) -> Option<Own<'_>> {
    session.documents.as_ref().map(|documents| Own { session: &session.id, digest: &documents.digest })
}

/// The limits of a whole session, in the forms of policies.
fn limits(asked: &LimitsDocument) -> Result<Limits, Problem> {
    let wrong =
        |name: &str, text: &str, help: &str| Problem::invalid(format!("`{name}: {text}` is not a limit; {help}"));
    let mut limits = Limits::default();
    for (name, text) in asked.named() {
        let bytes = || {
            model::limits::parse_bytes(text)
                .ok_or_else(|| wrong(name, text, "write bytes as a number, or such as 512KiB, 10MiB, 2GiB"))
        };
        match name {
            "requests" => {
                let help = "write how many in a second, minute, hour or day, such as 600/m";
                limits.requests = Some(Rate::parse(text).ok_or_else(|| wrong(name, text, help))?);
            }
            "concurrent" => {
                let count = text.parse().ok().filter(|count| *count > 0);
                limits.concurrent = Some(count.ok_or_else(|| wrong(name, text, "write a number from 1"))?);
            }
            "request_body" => limits.request_body = Some(bytes()?),
            "response_body" => limits.response_body = Some(bytes()?),
            _ => limits.bytes_out = Some(bytes()?),
        }
    }
    Ok(limits)
}

fn limits_view(limits: &Limits) -> LimitsDocument {
    let Limits { requests, concurrent, request_body, response_body, bytes_out } = *limits;
    let bytes = |bytes: Option<u64>| bytes.map(model::limits::print_bytes);
    LimitsDocument {
        requests: requests.map(|rate| rate.to_string()),
        concurrent: concurrent.map(|count| count.to_string()),
        request_body: bytes(request_body),
        response_body: bytes(response_body),
        bytes_out: bytes(bytes_out),
    }
}

fn grant(control: &Control, tenant: &TenantId, asked: &GrantDocument, now: Timestamp) -> Result<GrantRequest, Problem> {
    let name = asked.name.as_str();
    let credential = CredentialId::new(name);
    let Some(held) = control.vault.show(tenant, &credential) else {
        let detail = format!("there is no credential {name:?} in the vault; put it there with `egret vault put`");
        return Err(Problem::credential(detail));
    };
    if held.spec.expires.is_some_and(|end| end <= now) {
        return Err(Problem::credential(format!("the credential {name:?} has ended; put a new value")));
    }
    let CredentialSpec { env, prefix, audience, .. } = held.spec;
    Ok(GrantRequest { credential, env, prefix, bounds: bounds(asked)?, audience: Some(audience) })
}

fn bounds(asked: &GrantDocument) -> Result<Bounds, Problem> {
    let per = match asked.per.as_deref() {
        None | Some("session") => Per::Session,
        Some("tool_call") => Per::ToolCall,
        Some(other) => {
            let detail = format!("{other:?} is nothing that a grant is counted by; write session or tool_call");
            return Err(Problem::invalid(detail));
        }
    };
    let time = asked.time.as_deref().map(parse_span).transpose().map_err(Problem::invalid)?;
    Ok(Bounds { uses: asked.uses, time, methods: asked.methods.clone(), per })
}

fn grant_view(grant: &Grant) -> GrantView {
    let Bounds { uses, time, methods, per } = &grant.bounds;
    GrantView {
        grant: GrantDocument {
            name: grant.credential.to_string(),
            uses: *uses,
            time: time.map(print_span),
            methods: methods.clone(),
            per: (*per == Per::ToolCall).then(|| "tool_call".to_owned()),
        },
        used: grant.used(),
        revoked: grant.is_revoked(),
    }
}

/// `DELETE /v1/sessions/{id}/credentials/{name}`
pub(crate) async fn revoke(
    State(control): Shared,
    Path((id, name)): Path<(String, String)>,
) -> Result<axum::Json<SessionView>, Problem> {
    control.recording()?;
    let id = SessionId::new(id.as_str());
    let revoking = control.clone();
    let session = blocking(move || {
        let (control, credential) = (revoking, CredentialId::new(name.as_str()));
        let session = control.sessions.get(&id).ok_or_else(|| unknown(id.as_str()))?;
        if control.sessions.revoke_grant(&id, &credential).map_err(refused)? {
            let version = control.vault.shape(&session.tenant, &credential).map_or(0, |shape| shape.version());
            let credentials = vec![CredentialUse { name: credential, version }];
            let detail = Some("the credential was taken away from the session".into());
            control.journal.append(Record { detail, credentials, ..about(&session, Kind::SessionChanged) });
            control.journal.flush();
        }
        Ok::<_, Problem>(session)
    });
    Ok(axum::Json(view(&control, &*session.await??, clock::now())))
}

fn distinct_variables(grants: &[GrantRequest]) -> Result<(), Problem> {
    let mut seen = BTreeMap::new();
    for grant in grants {
        let Some(env) = &grant.env else { continue };
        if let Some(other) = seen.insert(env, &grant.credential) {
            let both = format!(
                "the credentials {other} and {} are both offered under {env}; grant only one, or put one again with another --env",
                grant.credential
            );
            return Err(Problem::credential(both));
        }
    }
    Ok(())
}

fn present(control: &Control, files: &TrustFiles, created: Created, proxy: SocketAddr) -> SessionCreated {
    let session = view(control, &created.session, clock::now());
    let offered = created.placeholders.iter();
    let variables = offered.clone().filter_map(|one| Some((one.env.as_deref()?, one.placeholder.as_str())));
    SessionCreated {
        env: environment(proxy, &session.id, &created.token, files, variables),
        proxy_url: proxy_url(dialed(proxy), &session.id, &created.token),
        placeholders: offered.map(|one| (one.credential.to_string(), one.placeholder.clone())).collect(),
        ca: ca_view(&control.ca, files),
        warnings: Vec::new(),
        token: created.token,
        session,
    }
}

/// The CA in the form of documents.
pub(crate) fn ca_view(ca: &CaFacts, files: &TrustFiles) -> CaView {
    CaView {
        fingerprint: ca.fingerprint.clone(),
        certificate: files.ca().display().to_string(),
        bundle: files.bundle().display().to_string(),
        truststore: files.truststore().display().to_string(),
    }
}

fn view(control: &Control, session: &Session, now: Timestamp) -> SessionView {
    SessionView {
        id: session.id.to_string(),
        state: session.state(now).as_str().to_owned(),
        tenant: session.tenant.to_string(),
        user: session.user.as_deref().map(str::to_owned),
        agent: session.agent.as_deref().map(str::to_owned),
        labels: session.labels.clone(),
        policies: session.policies.iter().map(PolicyName::to_string).chain(own_names(session)).collect(),
        documents: own_names(session).collect(),
        view: None,
        credentials: session.grants.iter().map(|grant| grant.credential.to_string()).collect(),
        grants: session.grants.iter().map(grant_view).collect(),
        limits: limits_view(&session.limits),
        bytes_out: session.limits.bytes_out.map(|_| session.budgets.spent(&Scope::Session)),
        listener: control.sessions.listener_path(session).map(|path| path.display().to_string()),
        peer: peer_of(session.channel).map(|uid| format!("uid:{uid}")),
        created: session.created,
        expires: session.expires,
        ended: session.ended_at(now),
    }
}

fn peer_of(channel: Channel) -> Option<u32> {
    match channel {
        Channel::Token => None,
        Channel::Listener { peer } => peer,
        Channel::Peer(uid) => Some(uid),
    }
}

/// How the clients of the session are identified besides its token.
fn channel(request: &SessionRequest) -> Result<Channel, Problem> {
    let uid = |text: &String| {
        let plain = |digits: &&str| {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (*digits == "0" || !digits.starts_with('0'))
        };
        let number = text.strip_prefix("uid:").filter(plain).and_then(|digits| digits.parse::<u32>().ok());
        // The last number means "no user" (setresuid(2)).
        let number = number.filter(|uid| *uid != u32::MAX);
        number.ok_or_else(|| {
            Problem::invalid(format!("peer {text:?} is not a user; write uid: and a number, such as uid:1000"))
        })
    };
    let peer = request.peer.as_ref().map(uid).transpose()?;
    Ok(match (request.listen, peer) {
        (true, peer) => Channel::Listener { peer },
        (false, Some(uid)) => Channel::Peer(uid),
        (false, None) => Channel::Token,
    })
}

/// A record about a session, for events outside of calls.
pub fn session_record(session: &Session, kind: Kind) -> Record {
    about(session, kind)
}

/// The names of the session's own policies, in the form of records.
fn own_names(session: &Session) -> impl Iterator<Item = String> {
    session.documents.iter().flat_map(|documents| &documents.policies).map(policies::name_in_session)
}

pub(crate) fn about(session: &Session, kind: Kind) -> Record {
    Record {
        session: Some(session.id.clone()),
        tenant: Some(session.tenant.clone()),
        user: session.user.clone(),
        agent: session.agent.clone(),
        credentials: Vec::<CredentialUse>::new(),
        ..Record::new(kind)
    }
}

pub(crate) fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("there is no session {id:?}; `egret session list` lists all"))
}

fn refused(error: SessionError) -> Problem {
    match &error {
        SessionError::File { .. } => Problem::internal(&error),
        SessionError::Field { .. } => Problem::invalid(error.to_string()),
        SessionError::Listener(listener) => Problem::conflict(chain(listener)),
        SessionError::TooMany(_) => Problem::conflict(error.to_string()),
        SessionError::NotFound(id) => unknown(id.as_str()),
    }
}
