//! One greedy session, one hostile stranger and one modest session. CI asserts counts and codes over a few seconds;
//! `cargo xtask fairness` runs it long, prints what the modest session gets, and asserts its throughput and latency.

mod attacks;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use egret_tests::client::Tunnel;
use egret_tests::egret::Session;
use egret_tests::wait;

use crate::world::World;
use attacks::{ATTACKS, Attack, Counterpart, Door, HOSTS};

const POLICY: &str = r#"
policy: contention
rules:
  - id: modest
    allow: {host: modest.origin.test, port: PORT, LOCAL}
  - id: greedy
    allow: {host: greedy.origin.test, port: GREEDY, path: /open/**, LOCAL}
  - id: bodies
    allow: {host: greedy.origin.test, port: GREEDY, path: [/hash, /sized/*], LOCAL}
  - id: interim
    allow: {host: interim.origin.test, port: GREEDY, LOCAL}
"#;

/// Clients of the modest session, and how often each of them asks in a second.
const CLIENTS: usize = 4;
const PACE: u32 = 100;

/// How long the index may take to read what a long run has written.
const CATCHES_UP: Duration = Duration::from_secs(300);

/// After so much quiet everything must be as it was before an attack.
const QUIET: Duration = Duration::from_secs(10);

/// What the modest session got in one period.
#[derive(Debug, Default)]
struct Served {
    seconds: f64,
    /// Microseconds from request to answer.
    latencies: Vec<u64>,
    failed: usize,
    control_calls: usize,
}

impl Served {
    fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.latencies.len()).unwrap()) / self.seconds
    }

    fn milliseconds(&self, percentile: usize) -> f64 {
        let at = (self.latencies.len() * percentile / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(0.0, |micros| f64::from(u32::try_from(*micros).unwrap()) / 1000.0)
    }
}

/// One client of the modest session: asks at its pace until the end.
fn modest_client(world: &World, session: &Session, end: Instant) -> Served {
    let target = world.target("modest.origin.test");
    let mut served = Served::default();
    let mut wire = Tunnel::to(&target).open(&world.egret, session);
    let request = format!("GET /modest HTTP/1.1\r\nHost: {target}\r\n\r\n");
    while Instant::now() < end {
        let began = Instant::now();
        wire.send(&request);
        match wire.try_answer_to("GET") {
            Some(answer) if answer.status == 200 => {
                served.latencies.push(u64::try_from(began.elapsed().as_micros()).unwrap());
            }
            _ => {
                served.failed += 1;
                wire = Tunnel::to(&target).open(&world.egret, session);
            }
        }
        std::thread::park_timeout((began + Duration::from_secs(1) / PACE).saturating_duration_since(Instant::now()));
    }
    served
}

/// The modest session for so long, beside an attack that goes through this door.
fn period(world: &World, sessions: [&Session; 2], attack: &Attack, door: &Door, length: Duration) -> Served {
    let [greedy, modest] = sessions;
    let (stop, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..attack.connections {
            scope.spawn(|| attack.run(door, greedy, &stop, &begun));
        }
        for _ in 0..4 {
            scope.spawn(|| attacks::stranger(door, &stop));
        }
        // Where attackers cannot even begin, there is nothing to compare.
        wait::until(attack.name, || (begun.load(Ordering::Relaxed) > 0).then_some(()));
        let began = Instant::now();
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(move || modest_client(world, modest, began + length))).collect();
        let mut all = Served::default();
        while clients.iter().any(|client| !client.is_finished()) {
            world.egret.ok(&["session", "list"], "");
            all.control_calls += 1;
            std::thread::park_timeout(Duration::from_millis(500));
        }
        for client in clients {
            let served = client.join().unwrap();
            all.latencies.extend(served.latencies);
            all.failed += served.failed;
        }
        all.seconds = began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        all.latencies.sort_unstable();
        all
    })
}

/// Bytes of the data folder.
fn disk(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_gone) => 0,
        })
        .sum()
}

#[test]
fn t209_a_modest_session_is_served_beside_a_greedy_one_and_a_stranger() {
    let long: Option<u64> =
        std::env::var_os("EGRET_FAIRNESS_SECONDS").map(|text| text.to_string_lossy().parse().unwrap());
    let periods = u64::try_from(2 * ATTACKS.len()).unwrap();
    let length = long
        .map_or(Duration::from_millis(300), |seconds| Duration::from_secs(seconds) / u32::try_from(periods).unwrap());
    let counterpart = Counterpart::start();
    let policy = POLICY.replace("GREEDY", &counterpart.port.to_string());
    let hosts = ["modest.origin.test", HOSTS[0], HOSTS[1]];
    let world = World::new(&hosts, &[&policy], |mut setup| {
        let file = setup.ca_file.as_mut().unwrap();
        let both = [&*file, &counterpart.ca_file].map(|file| std::fs::read_to_string(file).unwrap()).concat();
        *file = file.with_file_name("both-cas.pem");
        std::fs::write(file, both).unwrap();
        setup.logging("warn")
    });
    let (greedy, modest) = (world.egret.session(&["contention"], &[]), world.egret.session(&["contention"], &[]));
    let port = counterpart.port;
    let egret = Door { address: world.egret.proxy(), ca: world.egret.ca_file(), port };
    let nowhere = Door { address: counterpart.proxy, ca: counterpart.ca_file.clone(), port };
    // Caches, pools and tables fill first: what the long run adds to them would be a leak.
    let fresh = world.egret.memory();
    let warm_up = if long.is_some() { Duration::from_millis(500) } else { Duration::from_millis(50) };
    for attack in ATTACKS {
        period(&world, [&greedy, &modest], attack, &egret, warm_up);
    }
    let idle = if long.is_some() {
        until_idle(&world);
        least(&world)
    } else {
        (0, 0)
    };
    let mut table =
        String::from("attack | req/s alone | beside | % | p50 ms | p99 ms | RSS KiB | descriptors | disk KiB\n");
    let mut worst: (f64, f64) = (100.0, 0.0);
    for attack in ATTACKS {
        let alone = period(&world, [&greedy, &modest], attack, &nowhere, length);
        let beside = period(&world, [&greedy, &modest], attack, &egret, length);
        if long.is_none() {
            assert_eq!((alone.failed, beside.failed), (0, 0), "{}: every request is answered", attack.name);
            assert!(beside.latencies.len() > 1 && beside.control_calls > 0, "{}", attack.name);
        }
        let part = 100.0 * beside.per_second() / alone.per_second();
        worst = (worst.0.min(part), worst.1.max(beside.milliseconds(99)));
        writeln!(
            table,
            "{} | {:.0} | {:.0} | {part:.0} | {:.1} | {:.1} | {} | {} | {}",
            attack.name,
            alone.per_second(),
            beside.per_second(),
            beside.milliseconds(50),
            beside.milliseconds(99),
            world.egret.memory(),
            world.egret.descriptors(),
            disk(&world.egret.data()) >> 10,
        )
        .unwrap();
    }
    if long.is_some() {
        judge(&world, &format!("fresh: {fresh} KiB\n{table}"), worst, idle);
    }
}

/// Waits until the sidecar does nothing: the index follows the journal at its own pace, and while it has records to read the sidecar
/// is not idle.
fn until_idle(world: &World) {
    let mut seen = world.egret.processor_ticks();
    let idle = wait::within(CATCHES_UP, "", || {
        std::thread::park_timeout(Duration::from_secs(1));
        let before = std::mem::replace(&mut seen, world.egret.processor_ticks());
        (seen - before <= 1).then_some(())
    });
    assert!(idle.is_some(), "the sidecar still works {CATCHES_UP:?} after the load");
}

/// The least memory and descriptors that the sidecar comes down to in a time of quiet.
fn least(world: &World) -> (u64, usize) {
    let mut least = (u64::MAX, usize::MAX);
    let _all_of_the_time = wait::within(QUIET, "", || {
        least = (least.0.min(world.egret.memory()), least.1.min(world.egret.descriptors()));
        None::<()>
    });
    least
}

/// The figures of a long run: printed, and held to what is promised.
#[expect(clippy::print_stdout, reason = "the figures are what the long task is run for")]
fn judge(world: &World, table: &str, worst: (f64, f64), idle: (u64, usize)) {
    until_idle(world);
    let back = wait::within(QUIET, "", || {
        let (memory, descriptors) = (world.egret.memory(), world.egret.descriptors());
        (memory <= idle.0 + idle.0 / 20 && descriptors <= idle.1 + idle.1 / 20 + 2).then_some(())
    });
    println!(
        "{table}idle before: {} KiB, {} descriptors; 10 s after: {} KiB, {} descriptors",
        idle.0,
        idle.1,
        world.egret.memory(),
        world.egret.descriptors()
    );
    assert!(worst.0 >= 80.0, "the modest session kept {:.0} % of its throughput", worst.0);
    assert!(worst.1 <= 250.0, "its slowest hundredth took {:.0} ms", worst.1);
    assert!(back.is_some(), "memory and descriptors are not back to idle");
}
