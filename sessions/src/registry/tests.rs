//! Sessions from their making to their end.

use super::*;
use crate::error::Withheld;
use crate::grant::{Bounds, Per};
use crate::identity::{Means, Proof, UnixPeer};
use crate::session::Channel;
use crate::tool_call::ToolCall;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use model::Audience;

fn now() -> Timestamp {
    Timestamp::now()
}

fn granted(credentials: &[&str]) -> NewSession {
    let grants = credentials
        .iter()
        .map(|name| GrantRequest {
            credential: (*name).into(),
            env: Some("A_KEY".into()),
            prefix: Some("sk-ant-".into()),
            bounds: Bounds::default(),
            audience: None,
        })
        .collect();
    NewSession { grants, policies: vec!["library/pypi".into()], ..NewSession::default() }
}

fn opened() -> (tempfile::TempDir, Registry) {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("sessions"), now()).unwrap();
    (dir, registry)
}

fn why(registry: &Registry, id: &str, token: &str, now: Timestamp) -> Why {
    registry.identify(Proof::Token { id, token: token.as_bytes() }, now).unwrap_err().why
}

#[test]
fn t140_wrong_expired_and_ended_tokens_are_refused() {
    let (_dir, registry) = opened();
    let made = registry.create(NewSession::default(), now()).unwrap();
    let id = made.session.id.as_str();
    assert!(registry.identify(Proof::Token { id, token: made.token.as_bytes() }, now()).is_ok());
    assert_eq!(why(&registry, "ses_none", &made.token, now()), Why::Unknown);
    assert_eq!(why(&registry, id, "egt_wrong", now()), Why::WrongToken);
    assert_eq!(why(&registry, id, "", now()), Why::WrongToken);
    let tomorrow = now() + SignedDuration::from_hours(25);
    assert_eq!(why(&registry, id, &made.token, tomorrow), Why::Expired);
    assert_eq!(why(&registry, id, "egt_wrong", tomorrow), Why::WrongToken);
    registry.end(&made.session.id, now()).unwrap();
    assert_eq!(why(&registry, id, &made.token, now()), Why::Ended);
}

#[test]
fn t215_a_session_of_a_clock_that_was_ahead_has_what_was_left_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (ahead, hour, minute) =
        (SignedDuration::from_hours(365 * 24), SignedDuration::from_hours(1), SignedDuration::from_mins(1));
    let registry = Registry::open(dir.path(), now()).unwrap();
    let new = NewSession { ttl: Some(hour), ..granted(&["github"]) };
    let made = registry.create(new, now() + ahead).unwrap();
    let id = made.session.id.as_str();
    drop(registry);
    let registry = Registry::open_set_back(dir.path(), now(), ahead).unwrap();
    let session = registry.identify(Proof::Token { id, token: made.token.as_bytes() }, now()).unwrap();
    assert!(session.session().created <= now(), "grants that are bounded by time begin then");
    assert_eq!(why(&registry, id, &made.token, now() + hour), Why::Expired);
    // It is written down: the next start does not set it back again, and does not forget it.
    let registry = Registry::open(dir.path(), now()).unwrap();
    assert!(registry.identify(Proof::Token { id, token: made.token.as_bytes() }, now() + hour - minute).is_ok());
    assert_eq!(why(&registry, id, &made.token, now() + hour), Why::Expired);
}

#[tokio::test]
async fn t215_an_end_that_no_timer_noticed_wakes_who_waits_for_it() {
    let (_dir, registry) = opened();
    let made = registry.create(NewSession::default(), now()).unwrap();
    let mut wait = Box::pin(made.session.ended());
    assert!(futures_poll(&mut wait).is_pending());
    registry.wake_ended(now());
    assert!(futures_poll(&mut wait).is_pending(), "its time is not over");
    registry.wake_ended(now() + SignedDuration::from_hours(25));
    wait.await;
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn t140_a_token_opens_only_its_own_session() {
    let (_dir, registry) = opened();
    let one = registry.create(NewSession::default(), now()).unwrap();
    let two = registry.create(NewSession::default(), now()).unwrap();
    assert_eq!(why(&registry, one.session.id.as_str(), &two.token, now()), Why::WrongToken);
    let bare = registry.default_session(NewSession::default(), now()).unwrap();
    assert_eq!(why(&registry, bare.session().id.as_str(), "", now()), Why::WrongToken);
}

#[test]
fn t259_a_token_is_taken_back_and_renewed_on_disk_too() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), now()).unwrap();
    let made = registry.create(NewSession::default(), now()).unwrap();
    let over = registry.create(NewSession::default(), now()).unwrap();
    registry.end(&over.session.id, now()).unwrap();
    let default = registry.default_session(NewSession::default(), now()).unwrap();
    let id = made.session.id.as_str();

    let void: Vec<_> = registry.void_tokens(now()).unwrap().iter().map(|session| session.id.clone()).collect();
    assert_eq!(void, std::slice::from_ref(&made.session.id), "neither what is over nor what has no token");
    assert_eq!(why(&registry, id, &made.token, now()), Why::VoidToken);
    let again = Registry::open(folder.path(), now()).unwrap();
    assert_eq!(why(&again, id, &made.token, now()), Why::VoidToken);
    assert_eq!(why(&again, id, "", now()), Why::VoidToken);

    let (session, token) = again.renew_token(&made.session.id, now()).unwrap();
    assert_eq!(session.id, made.session.id);
    assert!(again.identify(Proof::Token { id, token: token.as_bytes() }, now()).is_ok());
    assert_eq!(why(&again, id, &made.token, now()), Why::WrongToken);
    let later = Registry::open(folder.path(), now()).unwrap();
    assert!(later.identify(Proof::Token { id, token: token.as_bytes() }, now()).is_ok());
    for id in [&over.session.id, &default.session().id, &SessionId::new("ses_none")] {
        assert!(registry.renew_token(id, now()).is_err(), "{id}");
    }
}

#[test]
fn t142_tokens_and_placeholders_rest_as_digests_in_private_files() {
    let (dir, registry) = opened();
    let made = registry.create(granted(&["anthropic"]), now()).unwrap();
    assert_eq!(made.token.len(), 47);
    let path = file::path_of(&dir.path().join("sessions"), &made.session.id);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&made.token) && !text.contains("egret_ph_"), "{text}");
    let debug = format!("{made:?} {:?}", made.session);
    assert!(!debug.contains("egt_") && !debug.contains("egret_ph_"), "{debug}");
}

#[test]
fn t084_other_old_unknown_and_damaged_placeholders_are_not_this_sessions() {
    let (_dir, registry) = opened();
    let mine = registry.create(granted(&["anthropic", "github"]), now()).unwrap();
    let theirs = registry.create(granted(&["anthropic"]), now()).unwrap();
    let text = |made: &Created, place: usize| made.placeholders[place].placeholder.clone();
    let (first, second, other) = (text(&mine, 0), text(&mine, 1), text(&theirs, 0));
    assert!(first.starts_with("sk-ant-egret_ph_"));
    assert_eq!(mine.session.placeholder(&first), Some(&"anthropic".into()));
    assert_eq!(mine.session.placeholder(&second), Some(&"github".into()));
    assert_eq!(mine.session.placeholder(&other), None);
    assert_eq!(registry.find_placeholder(&other), PlaceholderOwner::Session(theirs.session.id.clone()));

    for place in 0..first.len() {
        let mut bytes = first.clone().into_bytes();
        bytes[place] ^= 1;
        assert_eq!(mine.session.placeholder(std::str::from_utf8(&bytes).unwrap()), None, "byte {place}");
    }
    let unknown = format!("sk-ant-egret_ph_{}", "a".repeat(32));
    assert_eq!(mine.session.placeholder(&unknown), None);
    assert_eq!(registry.find_placeholder(&unknown), PlaceholderOwner::Nobody);
    // Without its prefix, or with more around it, it is not the placeholder.
    assert_eq!(mine.session.placeholder(first.trim_start_matches("sk-ant-")), None);
    assert_eq!(mine.session.placeholder(&format!("{first}a")), None);
    assert_eq!(mine.session.placeholder(&format!("a{first}")), None);

    registry.end(&theirs.session.id, now()).unwrap();
    assert_eq!(registry.find_placeholder(&other), PlaceholderOwner::Session(theirs.session.id.clone()));
}

#[test]
fn a_placeholder_is_found_inside_a_value_with_its_prefix() {
    let (_dir, registry) = opened();
    let made = registry.create(granted(&["anthropic"]), now()).unwrap();
    let value = format!("Bearer {}!", made.placeholders[0].placeholder);
    let mark = crate::find_marks(value.as_bytes()).next().unwrap();
    let (range, credential) = made.session.placeholder_in(value.as_bytes(), mark).unwrap();
    assert_eq!(value.get(range), Some(made.placeholders[0].placeholder.as_str()));
    assert_eq!(credential.as_str(), "anthropic");
}

#[test]
fn sessions_survive_a_restart() {
    let (dir, registry) = opened();
    let new = NewSession {
        user: Some("ann".into()),
        agent: Some("builder".into()),
        labels: BTreeMap::from([("team".into(), "blue".into())]),
        ..granted(&["anthropic"])
    };
    let kept = registry.create(new, now()).unwrap();
    let over = registry.create(NewSession::default(), now()).unwrap();
    let idle = registry.create(NewSession::default(), now()).unwrap();
    registry.end(&over.session.id, now()).unwrap();
    registry.set_state(&idle.session.id, State::Idle, now()).unwrap();
    drop(registry);

    let again = Registry::open(&dir.path().join("sessions"), now()).unwrap();
    let proof = Proof::Token { id: kept.session.id.as_str(), token: kept.token.as_bytes() };
    let client = again.identify(proof, now()).unwrap();
    let session = client.session();
    assert_eq!((session.user.as_deref(), session.agent.as_deref()), (Some("ann"), Some("builder")));
    assert_eq!(session.labels["team"], "blue");
    assert_eq!(session.policies, kept.session.policies);
    assert_eq!(session.placeholder(&kept.placeholders[0].placeholder), Some(&"anthropic".into()));
    assert_eq!(session.expires, kept.session.expires);
    assert_eq!(why(&again, over.session.id.as_str(), &over.token, now()), Why::Ended);
    let idle = again.get(&idle.session.id).unwrap();
    assert!(idle.is_live(now()) && !idle.is_running(now()));
}

#[test]
fn a_broken_file_refuses_its_session_and_no_other() {
    let (dir, registry) = opened();
    let good = registry.create(NewSession::default(), now()).unwrap();
    let bad = registry.create(NewSession::default(), now()).unwrap();
    let folder = dir.path().join("sessions");
    let path = file::path_of(&folder, &bad.session.id);
    let whole = fs::read_to_string(&path).unwrap();
    for text in [
        whole.get(..whole.len() / 2).unwrap().to_owned(),
        whole.replace("\"version\":1", "\"version\":2"),
        whole.replace("\"state\"", "\"estate\""),
        whole.replace(bad.session.id.as_str(), good.session.id.as_str()),
        whole.replace("\"token_sha256\":\"", "\"token_sha256\":\"x"),
        "x".repeat(300_000),
    ] {
        fs::write(&path, text).unwrap();
        fs::write(folder.join("left.json.new"), "half").unwrap();
        let again = Registry::open(&folder, now()).unwrap();
        assert!(
            again.identify(Proof::Token { id: good.session.id.as_str(), token: good.token.as_bytes() }, now()).is_ok()
        );
        assert_eq!(why(&again, bad.session.id.as_str(), &bad.token, now()), Why::Unknown);
        assert!(path.exists() && !folder.join("left.json.new").exists());
    }
}

#[test]
fn ending_twice_is_told_and_changes_nothing() {
    let (_dir, registry) = opened();
    let made = registry.create(NewSession::default(), now()).unwrap();
    assert!(registry.end(&made.session.id, now()).unwrap().first);
    let at = made.session.ended_at(now()).unwrap();
    assert!(!registry.end(&made.session.id, now() + SignedDuration::from_secs(9)).unwrap().first);
    assert_eq!(made.session.ended_at(now()), Some(at));
    assert!(registry.set_state(&made.session.id, State::Running, now()).is_err());
    assert!(matches!(registry.end(&"ses_none".into(), now()), Err(SessionError::NotFound(_))));
}

#[test]
fn past_sessions_are_forgotten_after_a_week_and_beyond_a_thousand() {
    let (dir, registry) = opened();
    let old = registry.create(NewSession::default(), now()).unwrap();
    registry.end(&old.session.id, now()).unwrap();
    assert!(registry.get(&old.session.id).is_some());
    let later = now() + SignedDuration::from_hours(7 * 24 + 1);
    registry.create(NewSession::default(), later).unwrap();
    assert!(registry.get(&old.session.id).is_none());
    assert!(!file::path_of(&dir.path().join("sessions"), &old.session.id).exists());

    for n in 0..MAX_ENDED_SESSIONS + 5 {
        let new = NewSession { ttl: Some(SignedDuration::from_secs(1)), ..NewSession::default() };
        let session = assemble(new, Vec::new(), later, Some(later + SignedDuration::from_micros(n as i64)));
        registry.write().insert(Arc::new(session));
    }
    registry.prune(later + SignedDuration::from_secs(1));
    let over = registry.list().iter().filter(|s| !s.is_live(later + SignedDuration::from_secs(1))).count();
    assert_eq!(over, MAX_ENDED_SESSIONS);
}

#[test]
fn fields_that_cannot_be_are_refused_by_name() {
    let (_dir, registry) = opened();
    let refused = |new: NewSession| match registry.create(new, now()) {
        Err(SessionError::Field { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(NewSession { user: Some("a\nb".into()), ..NewSession::default() }), "user");
    assert_eq!(refused(NewSession { agent: Some(String::new()), ..NewSession::default() }), "agent");
    assert_eq!(refused(NewSession { ttl: Some(SignedDuration::ZERO), ..NewSession::default() }), "ttl");
    assert_eq!(refused(NewSession { ttl: Some(SignedDuration::MAX), ..NewSession::default() }), "ttl");
    assert_eq!(refused(granted(&["a", "a"])), "credentials");
    let mut bad = granted(&["a"]);
    bad.grants[0].env = Some("1A".into());
    assert_eq!(refused(bad), "env");
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_call() {
    let (_dir, registry) = opened();
    let made = registry.create(NewSession::default(), now()).unwrap();
    let mut waits: Vec<_> = (0..3).map(|_| Box::pin(made.session.ended())).collect();
    for wait in &mut waits {
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(wait.as_mut().poll(cx).is_pending()));
        assert!(poll.await);
    }
    registry.end(&made.session.id, now()).unwrap();
    let before = tokio::time::Instant::now();
    for wait in waits {
        wait.await;
    }
    made.session.ended().await;
    assert_eq!(tokio::time::Instant::now(), before);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_time() {
    let (_dir, registry) = opened();
    let new = NewSession { ttl: Some(SignedDuration::from_mins(10)), ..NewSession::default() };
    let made = registry.create(new, now()).unwrap();
    let before = tokio::time::Instant::now();
    made.session.ended().await;
    let waited = before.elapsed().as_secs_f64();
    assert!((590.0..=600.1).contains(&waited), "{waited}");
}

#[test]
fn many_threads_create_and_end_without_loss() {
    let (dir, registry) = opened();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..25 {
                    let made = registry.create(granted(&["a"]), now()).unwrap();
                    if n % 2 == 0 {
                        assert!(registry.end(&made.session.id, now()).unwrap().first);
                    }
                }
            });
        }
    });
    let again = Registry::open(&dir.path().join("sessions"), now()).unwrap();
    for registry in [&registry, &again] {
        let live = registry.list().iter().filter(|s| s.is_live(now())).count();
        assert_eq!((registry.list().len(), live), (200, 96));
    }
}

fn bounded(bounds: Bounds) -> NewSession {
    let mut new = granted(&["key"]);
    new.grants[0].bounds = bounds;
    new
}

fn call(id: &str) -> ToolCall {
    ToolCall { id: id.into(), tool: "bash".into() }
}

#[test]
fn a_grant_is_drawn_upon_as_often_as_it_says_and_not_once_more() {
    let (dir, registry) = opened();
    let bounds = Bounds { uses: Some(3), methods: vec!["GET".into()], ..Bounds::default() };
    let made = registry.create(bounded(bounds), now()).unwrap().session;
    let key: CredentialId = "key".into();
    assert_eq!(made.record_use(&key, "POST", now()), Err(Withheld::Method));
    assert_eq!(made.record_use(&"other".into(), "GET", now()), Err(Withheld::NotGranted));
    let draws: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| made.record_use(&key, "GET", now()).is_ok())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(draws.into_iter().filter(|drawn| *drawn).count(), 3);
    assert_eq!(made.check_use(&key, "GET", now()), Err(Withheld::Exhausted));
    registry.persist_use_count(&made).unwrap();
    let again = Registry::open(&dir.path().join("sessions"), now()).unwrap().get(&made.id).unwrap();
    assert_eq!(again.record_use(&key, "GET", now()), Err(Withheld::Exhausted), "a restart gives none back");
}

#[test]
fn a_grant_ends_with_its_time() {
    let (_dir, registry) = opened();
    let time = SignedDuration::from_mins(5);
    let made = registry.create(bounded(Bounds { time: Some(time), ..Bounds::default() }), now()).unwrap().session;
    let drawn = made.record_use(&"key".into(), "GET", now()).unwrap();
    assert_eq!((drawn.until, drawn.call, drawn.counts), (Some(made.created + time), None, false));
    let just_before = made.created + time - SignedDuration::from_micros(1);
    assert!(made.check_use(&"key".into(), "GET", just_before).is_ok());
    assert_eq!(made.record_use(&"key".into(), "GET", made.created + time), Err(Withheld::Expired));
}

#[test]
fn a_grant_by_the_tool_call_is_lent_within_one() {
    let (_dir, registry) = opened();
    let bounds = Bounds { uses: Some(1), per: Per::ToolCall, ..Bounds::default() };
    let made = registry.create(bounded(bounds), now()).unwrap().session;
    let key: CredentialId = "key".into();
    let record_use = || made.record_use(&key, "GET", now());
    assert_eq!(record_use(), Err(Withheld::NoToolCall));
    assert!(made.begin_tool_call(call("one")));
    let one = record_use().unwrap().call;
    assert!(one.is_some());
    assert_eq!(
        (record_use(), made.check_use(&key, "GET", now())),
        (Err(Withheld::Exhausted), Err(Withheld::Exhausted))
    );
    assert!(made.begin_tool_call(call("two")));
    assert_eq!(record_use(), Err(Withheld::NoToolCall), "which of the two it is, nobody knows");
    assert!(made.still_lends(&key, one));
    made.end_tool_call("one").unwrap();
    assert!(!made.still_lends(&key, one));
    let two = record_use().unwrap().call;
    assert!(two.is_some() && two != one);
    // One that begins again under its id is another, with uses of its own.
    made.end_tool_call("two").unwrap();
    assert!(made.begin_tool_call(call("one")));
    assert!(!made.still_lends(&key, one) && record_use().is_ok());
}

#[test]
fn a_grant_that_was_taken_back_stays_away() {
    let (dir, registry) = opened();
    let made = registry.create(granted(&["key", "other"]), now()).unwrap().session;
    assert!(registry.revoke_grant(&made.id, &"key".into()).unwrap());
    assert!(!registry.revoke_grant(&made.id, &"key".into()).unwrap());
    assert!(registry.revoke_grant(&made.id, &"none".into()).is_err());
    let again = Registry::open(&dir.path().join("sessions"), now()).unwrap().get(&made.id).unwrap();
    for session in [&made, &again] {
        assert_eq!(session.record_use(&"key".into(), "GET", now()), Err(Withheld::NotGranted));
        assert!(!session.still_lends(&"key".into(), None) && session.still_lends(&"other".into(), None));
        assert!(session.record_use(&"other".into(), "GET", now()).is_ok());
    }
}

#[test]
fn bounds_that_mean_nothing_are_refused() {
    let (_dir, registry) = opened();
    for bounds in [
        Bounds { uses: Some(0), ..Bounds::default() },
        Bounds { time: Some(SignedDuration::ZERO), ..Bounds::default() },
        Bounds { methods: vec!["get".into()], ..Bounds::default() },
        Bounds { methods: vec![String::new()], ..Bounds::default() },
    ] {
        assert!(registry.create(bounded(bounds.clone()), now()).is_err(), "{bounds:?}");
    }
}

#[test]
fn t282_a_grant_names_its_hosts_after_it_is_gone() {
    let (dir, registry) = opened();
    let audience = |host: &str| Audience::parse(&[host]).unwrap();
    let host = |name: &str| model::Host::parse(name).unwrap();
    let mut new = granted(&["github", "later"]);
    new.grants[0].audience = Some(audience("*.a.example:8443"));
    let session = registry.create(new, now()).unwrap().session;
    registry.revoke_grant(&session.id, &"github".into()).unwrap();
    let again = Registry::open(&dir.path().join("sessions"), now()).unwrap().get(&session.id).unwrap();
    for session in [&session, &again] {
        let [github, later] = session.grants.as_slice() else { panic!("two grants") };
        assert!(github.is_revoked() && github.names(&host("x.a.example"), None));
        assert!(!github.names(&host("a.example"), None) && !later.names(&host("b.example"), None));
        // A credential that moved counts for both of its audiences.
        assert!(github.names(&host("b.example"), Some(&audience("b.example"))));
        assert!(github.names(&host("x.a.example"), Some(&audience("b.example"))));
        // What was unknown when it was granted is learned when it is seen.
        assert!(later.names(&host("b.example"), Some(&audience("b.example"))));
        assert!(later.names(&host("b.example"), None));
    }
}

fn token<'a>(made: &'a Created) -> Proof<'a> {
    Proof::Token { id: made.session.id.as_str(), token: made.token.as_bytes() }
}

#[tokio::test]
async fn a_client_ends_when_its_token_is_replaced_and_its_session_goes_on() {
    let (_dir, registry) = opened();
    let made = registry.create(NewSession::default(), now()).unwrap();
    let before = registry.identify(token(&made), now()).unwrap();
    assert!(before.is_live(now()) && !before.token_is_replaced());
    let mut ended = Box::pin(before.ended());
    assert!(futures_ready(ended.as_mut()).is_none());
    let (session, fresh) = registry.renew_token(&made.session.id, now()).unwrap();
    ended.await;
    assert!(!before.is_live(now()) && before.token_is_replaced());
    assert!(session.is_live(now()));
    before.ended().await;
    let proof = Proof::Token { id: session.id.as_str(), token: fresh.as_bytes() };
    assert!(registry.identify(proof, now()).unwrap().is_live(now()));
}

/// One poll of a future.
fn futures_ready<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// A session with a channel, as it is once its record is durable.
fn announced(registry: &Registry, with: Channel) -> Created {
    let made = registry.create(channel(with), now()).unwrap();
    registry.announce(&made.session);
    made
}

/// The folders of sessions with a listener.
fn folders(sockets: &Path) -> Vec<String> {
    let names = fs::read_dir(sockets).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("ses_")).collect()
}

fn channel(channel: Channel) -> NewSession {
    NewSession { channel, ..NewSession::default() }
}

#[test]
fn t298_a_session_has_a_listener_from_its_making_to_its_end_and_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (files, sockets) = (dir.path().join("sessions"), dir.path().join("listeners"));
    let registry = Registry::open(&files, now()).unwrap();
    let early = registry.create(channel(Channel::Listener { peer: None }), now()).unwrap_err();
    assert_eq!(early.to_string(), "listen needs a running sidecar");
    registry.open_channels(&sockets, 2, false, now()).unwrap();
    let made = registry.create(channel(Channel::Listener { peer: None }), now()).unwrap();
    let path = registry.listener_path(&made.session).unwrap();
    assert_eq!(path, sockets.join(made.session.id.as_str()).join("proxy.sock"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&sockets), mode(path.parent().unwrap()), mode(&path)), (0o711, 0o711, 0o600));
    let peered = registry.create(channel(Channel::Listener { peer: Some(1000) }), now()).unwrap();
    assert_eq!(mode(&registry.listener_path(&peered.session).unwrap()), 0o666);
    let third = registry.create(channel(Channel::Listener { peer: None }), now()).unwrap_err();
    assert!(matches!(third, SessionError::Listener(_)), "{third:?}");
    registry.end(&peered.session.id, now()).unwrap();
    assert_eq!(registry.listener_path(&peered.session), None);
    assert_eq!(folders(&sockets), [made.session.id.as_str()]);
    drop(registry);

    let again = Registry::open(&files, now()).unwrap();
    fs::create_dir(sockets.join("ses_gone")).unwrap();
    again.open_channels(&sockets, 2, false, now()).unwrap();
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    assert_eq!(folders(&sockets), [made.session.id.as_str()]);
    assert!(!again.is_listener_missing(&made.session, now()));
    drop(again);

    let without = Registry::open(&files, now()).unwrap();
    without.open_channels(&sockets, 0, false, now()).unwrap();
    let session = without.get(&made.session.id).unwrap();
    assert!(without.is_listener_missing(&session, now()));
    without.end(&session.id, now()).unwrap();
    assert!(!without.is_listener_missing(&session, now()));
}

#[test]
fn t298_a_listener_is_for_the_user_that_its_session_names() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("sessions"), now()).unwrap();
    registry.open_channels(&dir.path().join("listeners"), 10, false, now()).unwrap();
    let made = registry.create(channel(Channel::Listener { peer: Some(1000) }), now()).unwrap();
    let from = |uid: u32| registry.identify(Proof::Listener { session: &made.session, peer: UnixPeer { uid } }, now());
    assert_eq!(from(1000).unwrap_err().why, Why::Unknown, "its record is not durable");
    registry.announce(&made.session);
    assert_eq!(from(1000).unwrap().means(), Means::Listener);
    assert_eq!(from(0).unwrap_err().why, Why::WrongPeer);
    registry.end(&made.session.id, now()).unwrap();
    assert_eq!(from(1000).unwrap_err().why, Why::Ended);
    let overflow = registry.create(channel(Channel::Listener { peer: Some(UnixPeer::OVERFLOW) }), now());
    assert!(overflow.unwrap_err().to_string().starts_with("peer cannot be uid:65534"));
}

#[test]
fn t298_a_user_identifies_one_running_session_on_a_shared_socket() {
    let (dir, registry) = opened();
    registry.open_channels(&dir.path().join("listeners"), 10, true, now()).unwrap();
    let by = |registry: &Registry, uid: u32| registry.identify(Proof::Peer(UnixPeer { uid }), now());
    assert_eq!(by(&registry, 1000).unwrap_err().why, Why::Unknown);
    let made = announced(&registry, Channel::Peer(1000));
    let found = by(&registry, 1000).unwrap();
    assert_eq!((found.session().id.clone(), found.means()), (made.session.id.clone(), Means::UnixPeer));
    assert_eq!(by(&registry, 1001).unwrap_err().why, Why::Unknown);
    let second = registry.create(channel(Channel::Peer(1000)), now()).unwrap_err();
    let id = &made.session.id;
    let other = format!("peer uid:1000 identifies {id} already; end it with `egret session end {id}`");
    assert_eq!(second.to_string(), other);
    let again = Registry::open(&dir.path().join("sessions"), now()).unwrap();
    assert_eq!(by(&again, 1000).unwrap().session().id, made.session.id);
    registry.end(&made.session.id, now()).unwrap();
    assert_eq!(by(&registry, 1000).unwrap_err().why, Why::Ended, "its clients are those of a session that is over");
    assert!(registry.has_peer(UnixPeer { uid: 1000 }) && !registry.has_peer(UnixPeer { uid: 1001 }));
    let next = announced(&registry, Channel::Peer(1000));
    assert_eq!(by(&registry, 1000).unwrap().session().id, next.session.id);
}

#[test]
fn t298_a_user_cannot_identify_a_session_where_no_socket_is_shared() {
    let (dir, registry) = opened();
    registry.open_channels(&dir.path().join("listeners"), 10, false, now()).unwrap();
    let refused = registry.create(channel(Channel::Peer(1000)), now()).unwrap_err();
    assert_eq!(refused.to_string(), "peer needs a unix socket in `listen.proxy`, or a listener of the session");
    assert_eq!(registry.list().len(), 0);
}
