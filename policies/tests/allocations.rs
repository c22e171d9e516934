//! Whether allowing allocates: counted, in a program of its own, because the allocator is the program's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;

use egret_policies::{Knock, PolicySource, Question, Subject, compile};
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
    let rules = set.rules_for(&subject).unwrap();
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
    let warm = ["/v1/a/b/c/bcd", "/v1/%61/./x//y?z"];
    assert!(warm.iter().all(|target| ask(target).1.is_ok()));
    for target in ["/v1/a/b/c/bcd", "/v1/%61/./x//y?z", "/v1/other/path/bxd", "/v1/%62/./q"] {
        assert_eq!(
            allocations(|| rules
                .decide(&Knock { host: destination.host(), port: 443, now: Timestamp::UNIX_EPOCH })
                .is_ok()),
            (0, true)
        );
        let (count, permit) = ask(target);
        assert_eq!((count, permit.unwrap().rule().unwrap().as_str()), (0, "a"), "{target}");
        assert_eq!(allocations(|| set.rules_for(&subject).is_ok()), (0, true));
    }
}
