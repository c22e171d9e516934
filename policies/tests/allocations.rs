//! Whether allowing allocates: counted, in a program of its own, because the allocator is the program's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;

use egret_policies::{ConnectQuery, PolicySource, Question, Subject, compile};
use model::{Destination, Host, RequestPath, Scheme, TenantId, Timestamp};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "the trait is unsafe; every call goes to the system's allocator as it came")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.get();
    let result = work();
    (ALLOCATIONS.get() - before, result)
}

#[test]
fn allowing_allocates_nothing() {
    let text = "policy: p\nrules:\n  - {id: a, allow: {host: \"**.example.com\", methods: [GET], path: [/x, /v1/**/b*d, /v1/**]}, use: [c]}\n  - {id: b, deny: {host: \"**\", path: /v1/*/secret/**}}\n";
    let set = compile(&[PolicySource { name: "p.yaml".to_owned(), text: text.to_owned() }]).unwrap();
    let names = ["p".into()];
    let (tenant, labels) = (TenantId::default(), BTreeMap::new());
    let subject = Subject { tenant: &tenant, agent: None, labels: &labels, policies: &names };
    let rules = set.rules_for_session(&subject).unwrap();
    let destination = Destination::new(Scheme::Https, Host::parse("a.b.example.com").unwrap(), 443);
    let ask = |target: &str| {
        let path = RequestPath::parse(target).unwrap();
        let question = Question {
            destination: &destination,
            method: "GET",
            path: &path,
            websocket: false,
            tool: None,
            now: Timestamp::UNIX_EPOCH,
        };
        allocations(|| rules.authorize(&question))
    };
    // The first paths that a thread brings to a glob build the glob, and the engine's cache of this thread.
    let warm = ["/v1/a/b/c/bcd", "/v1/%61/x//y?z"];
    assert!(warm.iter().all(|target| ask(target).1.is_ok()));
    for target in ["/v1/a/b/c/bcd", "/v1/%61/x//y?z", "/v1/other/path/bxd", "/v1/%62/q%252F"] {
        assert_eq!(
            allocations(|| rules
                .decide(&ConnectQuery { host: destination.host(), port: 443, now: Timestamp::UNIX_EPOCH })
                .is_ok()),
            (0, true)
        );
        let (count, permit) = ask(target);
        assert_eq!((count, permit.unwrap().rule().unwrap().as_str()), (0, "a"), "{target}");
        assert_eq!(allocations(|| set.rules_for_session(&subject).is_ok()), (0, true));
    }
}

#[test]
fn allowing_by_query_tool_and_under_ceilings_allocates_nothing() {
    let texts = [
        "policy: p\nrules:\n  - {id: a, allow: {host: a.example.com, path: /v1/*/refs, query: {ref: [main, \"release-*\"]}, tool: \"read_*\"}, limits: {requests: 9/s}}\n  - {id: q, ask: {host: a.example.com, methods: [POST]}}\n  - {id: w, allow: {host: a.example.com, path: /live, upgrade: websocket}, until: 2030-01-01}\n",
        "policy: everywhere\napplies_to: {agents: \"c*\", labels: {team: [red, blue]}}\nrules:\n  - {id: d, deny: {host: \"**\", query: {force: \"*\"}}}\n",
        "policy: top\nceiling: true\nrules:\n  - {id: c, allow: {host: \"**\", path: [\"/*/*/refs\", /live]}, limits: {requests: 5/s}}\n  - {id: u, allow: {host: \"**\", upgrade: websocket}}\n",
        "policy: tenants\nceiling: true\napplies_to: {tenants: \"*\"}\nrules:\n  - {id: t, allow: {host: \"**.example.com\"}}\n  - {id: u, allow: {host: \"**\", upgrade: websocket}}\n",
        "policy: watch\nmode: observe\nuntil: 2030-01-01\n",
    ];
    let source = |(n, text): (usize, &&str)| PolicySource { name: format!("{n}.yaml"), text: (*text).to_owned() };
    let set = compile(&texts.iter().enumerate().map(source).collect::<Vec<_>>()).unwrap();
    let names = ["p".into(), "watch".into()];
    let tenant = TenantId::default();
    let labels = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
    let subject = Subject { tenant: &tenant, agent: Some("coder"), labels: &labels, policies: &names };
    let rules = set.rules_for_session(&subject).unwrap();
    let destination = Destination::new(Scheme::Https, Host::parse("a.example.com").unwrap(), 443);
    let asked =
        [("/v1/x/refs?a=b&ref=release-2", false, "a"), ("/v1/%61/refs?ref=main", false, "a"), ("/live", true, "w")];
    let judge = |target: &str, websocket| {
        let path = RequestPath::parse(target).unwrap();
        let question = Question {
            destination: &destination,
            method: "GET",
            path: &path,
            websocket,
            tool: Some("read_file"),
            now: Timestamp::UNIX_EPOCH,
        };
        allocations(|| rules.authorize(&question))
    };
    // The first paths build the globs.
    assert!(asked.iter().all(|(target, websocket, _)| judge(target, *websocket).1.is_ok()));
    for (target, websocket, rule) in asked {
        let (count, permit) = judge(target, websocket);
        let permit = permit.unwrap();
        assert_eq!((count, permit.rule().unwrap().as_str()), (0, rule), "{target}");
        let (count, rate) = allocations(|| permit.limits().requests.map(|rate| rate.count));
        assert_eq!((count, rate), (0, if websocket { None } else { Some(5) }), "{target}");
        assert_eq!(allocations(|| set.rules_for_session(&subject).is_ok()), (0, true));
    }
}
