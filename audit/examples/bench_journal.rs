//! What a record costs: `cargo run --release -p egret-audit --example bench_journal [-- [--short] [FOLDER [TASKS]]]`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement that a person reads")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use audit::{CredentialUse, Durability, Facts, Index, Journal, Kind, Outcome, Record, Trail, verify};
use egret_audit as audit;
use model::{Destination, Host, PolicyName, RequestPath, RuleId, Scheme, SessionId, SnapshotDigest, TenantId};

/// Exchanges of one measurement; each writes two records. As many for each of 64 tasks.
fn exchanges() -> usize {
    if is_short() { 32_000 } else { 200_000 }
}

/// Whether fewer repetitions suffice.
fn is_short() -> bool {
    std::env::args().any(|argument| argument == "--short")
}

struct Scene {
    facts: Facts,
    destination: Destination,
    path: RequestPath,
    snapshot: SnapshotDigest,
    rule: RuleId,
    policy: PolicyName,
    credential: CredentialUse,
}

impl Scene {
    fn new() -> Self {
        Self {
            facts: Facts {
                tenant: TenantId::default(),
                user: Some("alice@example.com".into()),
                agent: Some("coding-agent".into()),
                session: Some(SessionId::from_bytes([7; 16])),
                attribution: Some(audit::Attribution::ProxyCredentials),
                source: None,
            },
            destination: Destination::new(Scheme::Https, Host::parse("api.github.com").unwrap(), 443),
            path: RequestPath::parse("/repos/acme/site/contents/readme.md?ref=main").unwrap(),
            snapshot: SnapshotDigest::new(format!("sha256:{}", "0f".repeat(32))),
            rule: RuleId::new("read-code"),
            policy: PolicyName::new("coding-agent"),
            credential: CredentialUse { name: "github".into(), version: 3 },
        }
    }

    fn trail(&self, journal: &Journal) -> Trail {
        let mut trail = Trail::begin(journal, self.facts.clone());
        trail.destination(&self.destination);
        trail.method("GET");
        trail.path(&self.path);
        trail.snapshot(&self.snapshot);
        trail.rule(Some(&self.rule), &self.policy);
        trail.protocol("http/1.1");
        trail
    }

    async fn exchange(&self, journal: &Journal) {
        let mut trail = self.trail(journal);
        trail.credential(self.credential.clone(), "header authorization");
        trail.permitted().await.unwrap();
        trail.address("140.82.121.6".parse().unwrap());
        trail.tls("1.3");
        trail.status(200);
        trail.request_bytes(0);
        trail.response_bytes(4711);
        trail.close(Outcome::Ok, None, None);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--short");
    let root = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from).join("egret-journal-bench");
    drop(std::fs::remove_dir_all(&root));
    let scene = Scene::new();
    steps(&scene);
    let only: Option<usize> = arguments.next().map(|tasks| tasks.parse().expect("a number of tasks"));
    for tasks in [1, 8, 64].into_iter().filter(|tasks| only.is_none_or(|only| only == *tasks)) {
        let dir = root.join(format!("tasks-{tasks}"));
        let (journal, _) = Journal::open(&dir, Durability::Process).unwrap();
        let began = Instant::now();
        let cpu = cpu_time();
        run(&scene, &journal, tasks);
        report(&format!("end to end, {tasks} tasks"), began.elapsed(), cpu_time() - cpu, exchanges() * 2);
        journal.close();
        drop(journal);
        if only.is_some() {
            continue;
        }
        let began = Instant::now();
        let verified = verify(&dir).unwrap();
        let took = began.elapsed();
        assert_eq!(verified.records, exchanges() as u64 * 2);
        report("  verify", took, took, verified.records as usize);
        let (began, cpu) = (Instant::now(), cpu_time());
        let index = Index::open(&dir, &root.join(format!("index-{tasks}.db"))).unwrap();
        assert_eq!(index.catch_up().unwrap(), verified.records);
        report("  index", began.elapsed(), cpu_time() - cpu, verified.records as usize);
        drop(std::fs::remove_dir_all(&dir));
    }
    if only.is_none() {
        two_runtimes(&scene, &root);
        unawaited(&scene, &root);
    }
    drop(std::fs::remove_dir_all(&root));
}

/// The steps of one closing record, each by itself.
fn steps(scene: &Scene) {
    let record = Record {
        id: Some(model::RecordId::from_bytes([9; 16])),
        exchange: Some(model::ExchangeId::from_bytes([9; 16])),
        tenant: Some(scene.facts.tenant.clone()),
        user: scene.facts.user.clone(),
        agent: scene.facts.agent.clone(),
        session: scene.facts.session.clone(),
        attribution: scene.facts.attribution,
        decision: Some(audit::Decision::Allow),
        rule: Some(scene.rule.clone()),
        policy: Some(scene.policy.clone()),
        snapshot: Some(scene.snapshot.clone()),
        method: Some("GET".into()),
        scheme: Some(Scheme::Https),
        host: Some(scene.destination.host().clone()),
        port: Some(443),
        path: Some(scene.path.for_record()),
        address: Some("140.82.121.6".parse().unwrap()),
        protocol: Some("http/1.1".into()),
        tls: Some("1.3".into()),
        credentials: vec![scene.credential.clone()],
        injected_into: vec!["header authorization".into()],
        status: Some(200),
        request_bytes: Some(0),
        response_bytes: Some(4711),
        first_byte: Some(Duration::from_micros(12_345)),
        duration: Some(Duration::from_micros(13_456)),
        outcome: Some(Outcome::Ok),
        ..Record::new(Kind::ExchangeClosed)
    };
    let mut contents = Vec::new();
    audit::measure::contents(&record, &mut contents);
    let digest = audit::measure::digest(&contents);
    let mut chain = audit::measure::Chain::new(&record, digest);
    let mut line = Vec::new();
    chain.line(&contents, &mut line);
    println!("a closing record: {} bytes of contents, {} bytes in the file", contents.len(), line.len());
    let measure = |what: &str, step: &mut dyn FnMut()| {
        let (began, cpu) = (Instant::now(), cpu_time());
        (0..exchanges()).for_each(|_| step());
        report(what, began.elapsed(), cpu_time() - cpu, exchanges());
    };
    let mut out = Vec::new();
    measure("  contents as JSON", &mut || {
        out.clear();
        audit::measure::contents(std::hint::black_box(&record), &mut out);
    });
    measure("  digest of the contents", &mut || {
        std::hint::black_box(audit::measure::digest(std::hint::black_box(&contents)));
    });
    measure("  chaining and the line", &mut || {
        line.clear();
        chain.line(std::hint::black_box(&contents), &mut line);
    });
}

fn run(scene: &Scene, journal: &Journal, tasks: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut running = Vec::new();
        for _ in 0..tasks {
            let (journal, scene) =
                (journal.clone(), std::rc::Rc::new(Scene { facts: scene.facts.clone(), ..Scene::new() }));
            running.push(tokio::task::spawn_local(async move {
                for _ in 0..exchanges() / tasks {
                    scene.exchange(&journal).await;
                    tokio::task::yield_now().await;
                }
            }));
        }
        for task in running {
            task.await.unwrap();
        }
    });
}

fn two_runtimes(scene: &Scene, root: &std::path::Path) {
    let (journal, _) = Journal::open(&root.join("two"), Durability::Process).unwrap();
    let (began, cpu) = (Instant::now(), cpu_time());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| run(scene, &journal, 64));
        }
    });
    report("end to end, 2 runtimes of 64 tasks", began.elapsed(), cpu_time() - cpu, exchanges() * 4);
}

/// Records that no task waits for: the cost for the caller, and the whole cost.
fn unawaited(scene: &Scene, root: &std::path::Path) {
    let (journal, _) = Journal::open(&root.join("append"), Durability::Process).unwrap();
    let record = Record {
        exchange: Some(model::ExchangeId::from_bytes([7; 16])),
        tenant: Some(scene.facts.tenant.clone()),
        session: scene.facts.session.clone(),
        host: Some(scene.destination.host().clone()),
        ..Record::new(Kind::SessionCreated)
    };
    let (began, cpu) = (Instant::now(), cpu_time());
    for n in 0..exchanges() {
        journal.append(record.clone());
        if n % 4000 == 0 {
            std::thread::sleep(Duration::from_millis(25));
        }
    }
    journal.close();
    report("append of a small record", began.elapsed(), cpu_time() - cpu, exchanges());
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn report(what: &str, wall: Duration, cpu: Duration, records: usize) {
    let each = |time: Duration| time.as_nanos() / records as u128;
    println!("{what:<36} {:>6} ns of CPU, {:>6} ns of time a record", each(cpu), each(wall));
}
